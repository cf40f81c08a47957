package caller

import (
	"context"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"azimds/test/netns"
)

// imds is the address that every client dials.
var imds = netip.MustParseAddrPort("169.254.169.254:80")

// zone is a network namespace with a listener, and a Resolver that asks about this namespace.
type zone struct {
	*netns.NS
	*Resolver
	ln *net.TCPListener
}

// newZone makes one whose loopback device has the metadata address, with a listener on it.
func newZone(t testing.TB) *zone {
	t.Helper()
	ns := netns.New(t)
	ns.Run(t, "ip", "address", "add", imds.Addr().String()+"/32", "dev", "lo", "scope", "host")
	return zoneWith(t, ns, imds)
}

// zoneWith listens on addr in the namespace, and opens a Resolver there.
func zoneWith(t testing.TB, ns *netns.NS, addr netip.AddrPort) *zone {
	t.Helper()
	z := &zone{NS: ns, Resolver: NewResolver()}
	z.do(t, func() error {
		var lc net.ListenConfig
		lc.SetMultipathTCP(false)
		ln, err := lc.Listen(context.Background(), "tcp4", addr.String())
		if err != nil {
			return err
		}
		z.ln = ln.(*net.TCPListener)
		z.diag, err = openDiag()
		return err
	})
	t.Cleanup(func() {
		z.ln.Close()
		if err := z.Close(); err != nil {
			t.Error(err)
		}
	})
	return z
}

// do runs f in the namespace.
func (z *zone) do(t testing.TB, f func() error) {
	t.Helper()
	if err := z.Do(f); err != nil {
		t.Fatal(err)
	}
}

// dial connects to imds from within this process and returns both ends. control may be nil.
func (z *zone) dial(t testing.TB, control func(fd int) error) (client, server *net.TCPConn) {
	t.Helper()
	d := dialer(control)
	z.do(t, func() error {
		c, err := d.Dial("tcp4", imds.String())
		if err != nil {
			return err
		}
		client = c.(*net.TCPConn)
		return nil
	})
	t.Cleanup(func() { client.Close() })
	return client, z.accept(t)
}

// dialer lets control, unless it is nil, prepare the descriptor.
func dialer(control func(fd int) error) *net.Dialer {
	return &net.Dialer{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		if control == nil {
			return nil
		}
		if e := raw.Control(func(fd uintptr) { err = control(int(fd)) }); e != nil {
			return e
		}
		return err
	}}
}

// accept takes the next connection.
func (z *zone) accept(t testing.TB) *net.TCPConn {
	t.Helper()
	c, err := z.ln.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// remote is the client's address as the server sees it.
func remote(c *net.TCPConn) netip.AddrPort { return plain(c.RemoteAddr().(*net.TCPAddr).AddrPort()) }

// inode is the socket's number, read from the descriptor itself.
func inode(t testing.TB, c *net.TCPConn) uint64 {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if e := raw.Control(func(fd uintptr) { err = unix.Fstat(int(fd), &st) }); e != nil || err != nil {
		t.Fatal(e, err)
	}
	return st.Ino
}

// self is what a connection made by this process is expected to yield, its control group aside.
func self(t testing.TB, c *net.TCPConn) Caller {
	t.Helper()
	return Caller{UID: uint32(os.Geteuid()), Inode: inode(t, c)}
}
