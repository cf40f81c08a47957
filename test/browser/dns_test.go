package browser

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"

	"azimds/test/netns"
)

// resolver is the attacker's name server: it answers for every name there is, with what it is told last.
type resolver struct {
	mu      sync.Mutex
	answers map[string][]netip.Addr
}

// answer changes what a name resolves to from now on.
func (r *resolver) answer(name string, addrs ...netip.Addr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answers[name] = addrs
}

// serveDNS answers on 127.0.0.1:53 of the namespace until the test ends.
func serveDNS(t *testing.T, ns *netns.NS) *resolver {
	t.Helper()
	r := &resolver{answers: map[string][]netip.Addr{}}
	var conn net.PacketConn
	if err := ns.Do(func() (err error) {
		conn, err = net.ListenPacket("udp4", "127.0.0.1:53")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		query := make([]byte, 1500)
		for {
			n, client, err := conn.ReadFrom(query)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				continue
			}
			if reply, ok := r.reply(query[:n]); ok {
				_, _ = conn.WriteTo(reply, client)
			}
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return r
}

// The header of a DNS message (RFC 1035, 4.1.1) and the types of this test.
const (
	headerLen    = 12
	typeA        = 1
	classIN      = 1
	flagsReply   = 0x8580 // a response, authoritative, with recursion as desired and available
	pointToQuery = 0xc00c // compressed name: the one at offset 12
)

// reply makes the answer to one query: addresses for type A with a time to live of 0, nothing for any other.
func (r *resolver) reply(query []byte) ([]byte, bool) {
	name, end, ok := question(query)
	if !ok {
		return nil, false
	}
	r.mu.Lock()
	addrs := r.answers[name]
	r.mu.Unlock()
	if binary.BigEndian.Uint16(query[end-4:]) != typeA {
		addrs = nil
	}
	reply := append([]byte{}, query[:2]...)
	for _, field := range []uint16{flagsReply, 1, uint16(len(addrs)), 0, 0} {
		reply = binary.BigEndian.AppendUint16(reply, field)
	}
	reply = append(reply, query[headerLen:end]...)
	for _, a := range addrs {
		for _, field := range []uint16{pointToQuery, typeA, classIN, 0, 0, 4} {
			reply = binary.BigEndian.AppendUint16(reply, field)
		}
		reply = append(reply, a.AsSlice()...)
	}
	return reply, true
}

// question cuts the name out of a query and says where its question ends.
func question(query []byte) (name string, end int, ok bool) {
	for at := headerLen; at < len(query); {
		n := int(query[at])
		at++
		if n == 0 {
			return name, at + 4, at+4 <= len(query)
		}
		if at+n > len(query) {
			return "", 0, false
		}
		if name != "" {
			name += "."
		}
		name += string(query[at : at+n])
		at += n
	}
	return "", 0, false
}
