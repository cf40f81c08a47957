package holder

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	"azimds/test/netns"

	"golang.org/x/sys/unix"
)

// The server's answer is not read for longer than an answer is.
func TestProbeReadsABoundedAnswer(t *testing.T) {
	inNamespace(t, func(ns *netns.NS) {
		r := startRun(t, ns, options(t, "janitor"))
		r.send(Message{Kind: KindHello})
		r.receive(KindOffer)
		r.receive(KindCheck)
		r.send(Message{Kind: KindExpect})
		conn, err := r.endpoint.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		r.send(Message{Kind: KindSeen})
		endless := slices.Concat([]byte("HTTP/1.1 400 Bad Request\r\nServer: IMDS/"), make([]byte, 1<<20))
		_, err = conn.Write(endless) // ends when the other side closes
		for err == nil {
			_, err = conn.Write(endless)
		}
		if got := r.receive(KindFailed); !strings.Contains(got.Failure.Message, "reading the answer") {
			t.Errorf("failed with %q", got.Failure.Message)
		}
		if err := <-r.ended; err == nil {
			t.Error("Run returned nil")
		}
	})
}

// The probe is the owner's to the kernel, and stays the thread's only act as the owner.
func TestProbeIsTheOwners(t *testing.T) {
	netns.Root(t)
	err := netns.New(t).Do(func() error {
		ln, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer ln.Close()
		for _, uid := range []uint32{1234, 0, 65534} {
			p, err := newProbe(Owner{UID: uid})
			if err != nil {
				return err
			}
			defer p.file.Close()
			addr := ln.Addr().(*net.TCPAddr)
			if err := unix.Connect(int(p.file.Fd()), &unix.SockaddrInet4{Addr: addr.AddrPort().Addr().As4(), Port: addr.Port}); err != nil {
				return err
			}
			got, err := uidOf(p.inode)
			if err != nil {
				return err
			}
			if got != uid {
				t.Errorf("the kernel says that the probe is of uid %d, want %d", got, uid)
			}
			if now, err := unix.SetfsuidRetUid(-1); err != nil || now != 0 {
				t.Errorf("the thread's filesystem uid is %d: %v", now, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// uidOf is whose socket has an inode, as proc_net_tcp says for the thread's namespace.
func uidOf(inode uint64) (uint32, error) {
	table, err := os.ReadFile("/proc/thread-self/net/tcp")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		var uid uint32
		if len(fields) > 9 && fields[9] == fmt.Sprint(inode) {
			_, err := fmt.Sscan(fields[7], &uid)
			return uid, err
		}
	}
	return 0, fmt.Errorf("no socket %d in\n%s", inode, table)
}
