package caller

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// The committed corpus has datagrams as a kernel sent them (Linux 6.18, little-endian), each in answer to question 7.
func FuzzParseReply(f *testing.F) {
	f.Add(answer(7, named), uint32(7))
	f.Add(append(answer(6, named), refusal(7, unix.ENOENT)...), uint32(7))
	f.Fuzz(func(t *testing.T, b []byte, seq uint32) {
		s, err := parseReply(b, seq)
		var errno unix.Errno
		switch {
		case err == nil:
			if !s.src.IsValid() || !s.dst.IsValid() || s.src.Addr().Is4In6() || s.dst.Addr().Is4In6() {
				t.Errorf("a socket without plain addresses: %+v", s)
			}
			if len(b) < headerLen+messageLen {
				t.Errorf("a socket out of %d bytes: %+v", len(b), s)
			}
		case s != socket{}:
			t.Errorf("both a socket and an error: %+v, %v", s, err)
		case errors.As(err, &errno):
			if errno == 0 || errno == unix.ENOENT {
				t.Errorf("errno %d", errno)
			}
		case !errors.Is(err, errStray) && !errors.Is(err, errNoSocket) && !errors.Is(err, errMalformed):
			t.Errorf("an error of no kind: %v", err)
		}
	})
}

// What a socket's fields are survives the way through the kernel's format, whatever stands before it.
func FuzzParseReplyRoundTrip(f *testing.F) {
	f.Add([]byte{169, 254, 169, 254}, []byte{10, 0, 0, 7}, uint16(80), uint16(40000), uint8(1), uint32(1000), uint32(77), uint64(5))
	f.Fuzz(func(t *testing.T, src, dst []byte, sport, dport uint16, state uint8, uid, inode uint32, cgroup uint64) {
		if len(src) != 4 || len(dst) != 4 {
			return // not IPv4
		}
		want := socket{state: state, uid: uid, inode: inode, cgroup: cgroup,
			src: addrPort(src, sport), dst: addrPort(dst, dport)}
		b := append(answer(1, named), answer(2, want)...)
		if got, err := parseReply(b, 2); got != want || err != nil {
			t.Errorf("parseReply = %+v, %v; want %+v", got, err, want)
		}

		var request [requestLen]byte
		putRequest(&request, 2, want.src, want.dst, loopbackDevice)
		id := answer(2, want)[headerLen+4:][:36] // ports and addresses stand alike in question and answer
		if got := request[headerLen+8:][:36]; string(got) != string(id) {
			t.Errorf("putRequest asks for % x, want % x", got, id)
		}
		if size := binary.NativeEndian.Uint32(request[:]); size != requestLen {
			t.Errorf("a request of %d bytes says %d", requestLen, size)
		}
	})
}

func addrPort(addr []byte, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(addr)), port)
}

func FuzzParseStat(f *testing.F) {
	f.Add("1 (systemd) S 0 1 1 0 -1", 4, "comm) S 5")
	f.Fuzz(func(t *testing.T, stat string, parent int, comm string) {
		if p, err := parseStat([]byte(stat)); p.parent < 0 || err != nil && p != (process{}) {
			t.Errorf("parseStat(%q) = %+v, %v", stat, p, err)
		}
		// No name that a process gives itself changes its parent.
		if parent < 0 || parent > 1<<31-1 {
			return
		}
		line := fmt.Sprintf("7 (%s) S %d 7 0 -1\n", comm, parent)
		if p, err := parseStat([]byte(line)); p != (process{parent: parent}) || err != nil {
			t.Errorf("parseStat(%q) = %+v, %v; want parent %d", line, p, err, parent)
		}
	})
}
