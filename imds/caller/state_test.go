package caller

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"azimds/test/netns"
)

func TestResolveSocketState(t *testing.T) {
	tests := []struct {
		name   string
		change func(client, server *net.TCPConn) error
		named  bool
	}{
		{"connected", func(_, _ *net.TCPConn) error { return nil }, true},
		{"client has closed its sending half", func(client, server *net.TCPConn) error {
			return errors.Join(client.CloseWrite(), readEnd(server))
		}, true},
		{"server has closed its sending half", func(client, server *net.TCPConn) error {
			return errors.Join(server.CloseWrite(), readEnd(client))
		}, true},
		{"both have closed their sending halves", func(client, server *net.TCPConn) error {
			return errors.Join(client.CloseWrite(), readEnd(server), server.CloseWrite(), readEnd(client))
		}, false},
		{"client has closed", func(client, server *net.TCPConn) error {
			return errors.Join(client.Close(), readEnd(server))
		}, false},
		{"client is in TIME_WAIT", func(client, server *net.TCPConn) error {
			return errors.Join(client.Close(), readEnd(server), server.CloseWrite())
		}, false},
		{"client has reset", func(client, server *net.TCPConn) error {
			err := errors.Join(client.SetLinger(0), client.Close())
			if e := readEnd(server); !errors.Is(e, unix.ECONNRESET) {
				return errors.Join(err, errors.New("no reset arrived"), e)
			}
			return err
		}, false},
	}
	z := newZone(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			client, conn := z.dial(t, nil)
			want := self(t, client)
			if err := tt.change(client, conn); err != nil {
				t.Fatal(err)
			}
			got, err := z.Resolve(remote(conn), imds)
			got.Cgroup = 0
			if tt.named && (got != want || err != nil) {
				t.Errorf("Resolve = %+v, %v; want %+v", got, err, want)
			}
			if !tt.named && (got != Caller{} || !errors.Is(err, ErrUnknown)) {
				t.Errorf("Resolve = %+v, %v; want %v", got, err, ErrUnknown)
			}
			t.Log(err)
		})
	}
}

// readEnd reads until the other end has closed.
func readEnd(c *net.TCPConn) error {
	_, err := io.Copy(io.Discard, c)
	return err
}

// A stranger that has died is not root, although the kernel says uid 0 of a socket in TIME_WAIT.
func TestResolveDeadStranger(t *testing.T) {
	netns.Root(t)
	z := newZone(t)
	client := start(t, z.NS, as(stranger), "dial", imds.String())
	conn := z.accept(t)
	client.end()
	if err := errors.Join(readEnd(conn), conn.CloseWrite()); err != nil {
		t.Fatal(err)
	}
	s, err := z.diag.find(remote(conn), imds, anyDevice)
	if s.inode != 0 || err != nil {
		t.Errorf("the trap is gone: the kernel says %+v, %v", s, err)
	}
	t.Logf("the kernel says uid %d, state %d", s.uid, s.state) // uid 0 in TIME_WAIT, state 6
	if got, err := z.Resolve(remote(conn), imds); !errors.Is(err, ErrUnknown) {
		t.Errorf("Resolve = %+v, %v; want %v", got, err, ErrUnknown)
	}
}

// Whoever listens on the port that a stranger connected from is not the stranger, although the kernel names the listener
// once the stranger's socket is gone.
func TestResolveListenerOnSourcePort(t *testing.T) {
	netns.Root(t)
	for _, on := range []string{"0.0.0.0", imds.Addr().String()} {
		t.Run(on, func(t *testing.T) {
			z := newZone(t)
			client, conn := z.dial(t, nil)
			if err := errors.Join(client.SetLinger(0), client.Close()); err != nil {
				t.Fatal(err)
			}
			if err := readEnd(conn); !errors.Is(err, unix.ECONNRESET) {
				t.Fatalf("reading from a client that reset: %v", err)
			}
			port := remote(conn).Port()
			start(t, z.NS, as(owner), "listen", netip.AddrPortFrom(netip.MustParseAddr(on), port).String())

			if s, err := z.diag.find(remote(conn), imds, anyDevice); s.uid != owner || s.inode == 0 || err != nil {
				t.Errorf("the trap is gone: the kernel says %+v, %v", s, err)
			}
			if got, err := z.Resolve(remote(conn), imds); !errors.Is(err, ErrUnknown) || !errors.Is(err, errNoSocket) {
				t.Errorf("Resolve = %+v, %v; want %v: %v", got, err, ErrUnknown, errNoSocket)
			}
		})
	}
}

// A client bound to lo leaves its port to others: one listens there, and is not taken for the client.
func TestResolveClientBesideListener(t *testing.T) {
	netns.Root(t)
	z := newZone(t)
	client, conn := z.dial(t, func(fd int) error {
		return errors.Join(unix.BindToDevice(fd, "lo"), unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
	})
	port := remote(conn).Port()
	start(t, z.NS, as(owner), "listen", netip.AddrPortFrom(netip.IPv4Unspecified(), port).String())
	if s, err := z.diag.find(remote(conn), imds, anyDevice); s.uid != owner || err != nil {
		t.Errorf("the trap is gone: the kernel says %+v, %v", s, err)
	}
	got, err := z.Resolve(remote(conn), imds)
	if want := self(t, client); got.UID != want.UID || got.Inode != want.Inode || err != nil {
		t.Errorf("Resolve = %+v, %v; want %+v", got, err, want)
	}
}

// Two sockets can have the same addresses, one bound to lo and one not: the second takes the connection from the first.
// Then the second is named; and the kernel lets the unbound one be second and not the other.
func TestResolveTwoSocketsOfOneAddress(t *testing.T) {
	z := newZone(t)
	from := &unix.SockaddrInet4{Port: 40000, Addr: imds.Addr().As4()}
	bind := func(fd int) error {
		return errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1), unix.Bind(fd, from))
	}
	bindToLoopback := func(fd int) error { return errors.Join(unix.BindToDevice(fd, "lo"), bind(fd)) }

	first, conn := z.dial(t, bindToLoopback)
	if got, err := z.Resolve(remote(conn), imds); got.Inode != inode(t, first) || err != nil {
		t.Errorf("Resolve = %+v, %v; want inode %d of the first", got, err, inode(t, first))
	}
	second, again := z.dial(t, bind)
	if remote(again) != remote(conn) {
		t.Fatalf("the second comes from %s, the first from %s", remote(again), remote(conn))
	}
	if got, err := z.Resolve(remote(again), imds); got.Inode != inode(t, second) || err != nil {
		t.Errorf("Resolve = %+v, %v; want inode %d of the second", got, err, inode(t, second))
	}
	if err := readEnd(conn); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("the first connection goes on: %v", err)
	}
	third := z.Do(func() error {
		d := dialer(bindToLoopback)
		c, err := d.Dial("tcp4", imds.String())
		if err == nil {
			c.Close()
		}
		return err
	})
	if !errors.Is(third, unix.EADDRNOTAVAIL) && !errors.Is(third, unix.EADDRINUSE) {
		t.Errorf("a bound socket beside an unbound one: %v", third)
	}
}
