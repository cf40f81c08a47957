package caller

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"testing"

	"github.com/google/go-cmp/cmp"

	"azimds/test/netns"
)

// A client behind NAT is found under what it dialled, and not under what the server was told to be.
func TestResolveBehindNAT(t *testing.T) {
	t.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	_, err := exec.LookPath("iptables")
	netns.Need(t, "iptables", err)
	t.Setenv("XTABLES_LOCKFILE", t.TempDir()+"/lock")
	backend := netip.MustParseAddrPort("127.0.0.1:981")
	ns := netns.New(t)
	ns.Run(t, "ip", "address", "add", "10.99.0.2/32", "dev", "lo")
	ns.Run(t, "ip", "route", "add", imds.Addr().String(), "dev", "lo", "src", "10.99.0.2")
	ns.Run(t, "iptables", "-w", "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "-d", imds.Addr().String(),
		"--dport", "80", "-j", "DNAT", "--to-destination", backend.String())
	z := zoneWith(t, ns, backend)
	client, conn := z.dial(t, nil)

	dialed, err := OriginalDst(conn)
	if dialed != imds || err != nil {
		t.Fatalf("OriginalDst = %s, %v; want %s", dialed, err, imds)
	}
	got, err := z.Resolve(remote(conn), dialed)
	if want := self(t, client); got.UID != want.UID || got.Inode != want.Inode || err != nil {
		t.Errorf("by the original destination: %+v, %v; want %+v", got, err, want)
	}

	local, err := LocalAddr(conn)
	if local != backend || err != nil {
		t.Fatalf("LocalAddr = %s, %v; want %s", local, err, backend)
	}
	if got, err := z.Resolve(remote(conn), local); !errors.Is(err, ErrUnknown) {
		t.Errorf("by the local address: %+v, %v; want %v", got, err, ErrUnknown)
	}

	t.Run("dialled directly", func(t *testing.T) {
		z.do(t, func() error {
			c, err := net.Dial("tcp4", backend.String())
			if err == nil {
				t.Cleanup(func() { c.Close() })
			}
			return err
		})
		if dialed, err := OriginalDst(z.accept(t)); dialed != backend || err != nil {
			t.Errorf("OriginalDst = %s, %v; want %s", dialed, err, backend)
		}
	})
}

func TestOriginalDstWithoutNAT(t *testing.T) {
	z := newZone(t)
	client, conn := z.dial(t, nil)
	if dialed, err := LocalAddr(conn); dialed != imds || err != nil {
		t.Errorf("LocalAddr = %s, %v; want %s", dialed, err, imds)
	}
	if dialed, err := OriginalDst(conn); err == nil {
		t.Errorf("OriginalDst = %s where nothing tracks connections", dialed)
	}
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if dialed, err := OriginalDst(client); !errors.Is(err, net.ErrClosed) {
		t.Errorf("OriginalDst of a closed connection = %s, %v; want %v", dialed, err, net.ErrClosed)
	}
}

// An accepted connection of a dual-stack listener has mapped addresses.
func TestLocalAddrIsNeverMapped(t *testing.T) {
	ns := netns.New(t)
	z := &zone{NS: ns}
	var client net.Conn
	z.do(t, func() (err error) {
		var lc net.ListenConfig
		ln, err := lc.Listen(context.Background(), "tcp", ":0")
		if err != nil {
			return err
		}
		z.ln = ln.(*net.TCPListener)
		port := z.ln.Addr().(*net.TCPAddr).Port
		client, err = net.DialTCP("tcp4", nil, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		return err
	})
	defer z.ln.Close()
	defer client.Close()
	want := client.RemoteAddr().(*net.TCPAddr).AddrPort()
	got, err := LocalAddr(z.accept(t))
	if diff := cmp.Diff(want.String(), got.String()); diff != "" || err != nil {
		t.Errorf("LocalAddr: %v, -want +got:\n%s", err, diff)
	}
}
