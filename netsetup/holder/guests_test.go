package holder

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"azimds/netsetup"
	"azimds/test/netns"
)

// patience bounds waits for what must happen.
const patience = time.Minute

// accepts tells whether a socket listens: SO_ACCEPTCONN in socket(7).
func accepts(t *testing.T, file *os.File) bool {
	t.Helper()
	raw, err := file.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var yes int
	if err := errors.Join(raw.Control(func(fd uintptr) { yes, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ACCEPTCONN) }), err); err != nil {
		t.Fatal(err)
	}
	return yes == 1
}

// lodge knows where a guest's connections go from now on.
func (s *fakeServer) lodge(id uint64, file *os.File) {
	s.t.Helper()
	outlet, err := OpenOutlet(file)
	if err != nil {
		s.t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.outlets == nil {
		s.outlets, s.asks = map[uint64]*Outlet{}, map[uint64]chan Message{}
	}
	s.outlets[id] = outlet
	s.t.Cleanup(func() { outlet.Close() })
}

// passing is a listener whose guests' connections are passed on.
type passing struct {
	net.Listener
	s *fakeServer
}

func (p passing) Accept() (net.Conn, error) {
	for {
		c, err := p.Listener.Accept()
		if err != nil {
			return nil, err
		}
		dialing.Lock()
		dialing.Unlock() //nolint:staticcheck // it is known now
		s := p.s
		s.mu.Lock()
		if len(s.outlets) == 0 || !s.follows {
			s.mu.Unlock()
			return c, nil
		}
		answer, id := make(chan Message, 1), uint64(len(s.asks)+1000)
		s.asks[id] = answer
		s.mu.Unlock()
		if err := s.link.Send(Message{Kind: KindWhose, ID: id, Inode: inodeOf(c.RemoteAddr().(*net.TCPAddr).Port)}); err != nil {
			return nil, err
		}
		m := <-answer
		s.mu.Lock()
		outlet := s.outlets[m.Guest]
		s.mu.Unlock()
		if m.Error != "" || m.Guest == 0 {
			return c, nil
		}
		if err := errors.Join(outlet.Pass(c.(*net.TCPConn)), c.Close()); err != nil {
			return nil, err
		}
	}
}

// inodeOf is the inode of this process's socket that is connected from a port to the endpoint; 0 is none.
func inodeOf(port int) uint64 {
	for fd := range 1024 {
		from, err := unix.Getsockname(fd)
		if err != nil {
			continue
		}
		to, err := unix.Getpeername(fd)
		if err != nil {
			continue
		}
		own, ok := from.(*unix.SockaddrInet4)
		peer, isInet := to.(*unix.SockaddrInet4)
		var st unix.Stat_t
		if ok && isInet && own.Port == port && peer.Addr == netsetup.Endpoint.Addr().As4() && unix.Fstat(fd, &st) == nil {
			return st.Ino
		}
	}
	return 0
}

// host follows what the holder says to a server that is ready, until its link ends. Of what is no guest's or an answer it tells by a
// channel.
func (s *fakeServer) host() <-chan Message {
	said := make(chan Message, 16)
	s.mu.Lock()
	s.follows = true
	s.mu.Unlock()
	go func() {
		defer close(said)
		for {
			m, files, err := s.link.Receive()
			if err != nil {
				return
			}
			switch {
			case m.Kind == KindGuest && len(files) == 1:
				s.lodge(m.Guest, files[0])
				if err := s.link.Send(Message{Kind: KindGuest, Guest: m.Guest}); err != nil {
					s.t.Error(err)
				}
			case m.Kind == KindGuest:
				s.mu.Lock()
				delete(s.outlets, m.Guest)
				s.mu.Unlock()
				said <- m
			case m.Kind == KindAnswer:
				s.mu.Lock()
				if asked := s.asks[m.ID]; asked != nil { // or it is to what was seen of a client
					asked <- m
				}
				s.mu.Unlock()
			case m.Kind == KindEndpoint:
				s.accept(m, files)
				s.answer(http.StatusBadRequest, s.name, Message{Kind: KindSeen})
				said <- m
			default:
				said <- m
			}
			closeAll(files)
		}
	}()
	return said
}

// next is what the holder says, which must be of a kind; of guests it may say more.
func next(t *testing.T, said <-chan Message, want Kind) Message {
	t.Helper()
	late := time.After(patience)
	for {
		select {
		case m := <-said:
			if m.Kind == KindGuest && m.Kind != want {
				continue
			}
			if m.Kind != want {
				t.Fatalf("the holder said %+v, want %q", m, want)
			}
			return m
		case <-late:
			t.Fatalf("the holder did not say %q", want)
		}
	}
}

// tree is a holder of a command's tree: whose sockets are those of the test that are in it.
type tree struct {
	*run
	said   <-chan Message
	mu     sync.Mutex
	inodes []uint64
}

func (x *tree) has(inode uint64) (bool, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Contains(x.inodes, inode), nil
}

// startTree starts a holder for a tree, which is the host or a guest, and a server that calls itself by a name.
func startTree(t *testing.T, ns *netns.NS, pid int, name string, change func(*Options)) *tree {
	t.Helper()
	x := beginTree(t, ns, pid, name, change)
	x.check()
	x.said = x.host()
	return x
}

func beginTree(t *testing.T, ns *netns.NS, pid int, name string, change func(*Options)) *tree {
	t.Helper()
	x := new(tree)
	o := options(t, "janitor")
	o.Tree, o.InTree, o.Mine = pid, x.has, x.has
	if change != nil {
		change(&o)
	}
	x.run = startRun(t, ns, o)
	x.name = "IMDS/" + name
	x.send(Message{Kind: KindHello})
	return x
}

// dialing is locked while a client connects of which is not known yet in which trees it is.
var dialing sync.Mutex

// asks makes a request from inside some trees and wants the server of a name to answer.
func asks(t *testing.T, ns *netns.NS, want string, in ...*tree) {
	t.Helper()
	dialing.Lock()
	conn := dialEndpoint(t, ns)
	defer conn.Close()
	inode := inodeOf(conn.LocalAddr().(*net.TCPAddr).Port)
	for _, x := range in {
		x.mu.Lock()
		x.inodes = append(x.inodes, inode)
		x.mu.Unlock()
	}
	dialing.Unlock()
	if _, err := fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("asking %q: %v", want, err)
	}
	defer resp.Body.Close()
	if got := strings.TrimPrefix(resp.Header.Get("Server"), "IMDS/"); got != want {
		t.Errorf("answered by %q, want %q", got, want)
	}
}

// proves lets the holder dial itself.
func (x *tree) proves(t *testing.T) {
	t.Helper()
	if m := next(t, x.said, KindCheck); m.Inode == 0 {
		t.Error("there is nothing to expect")
	}
	select {
	case <-x.requests: // one before
	default:
	}
	x.send(Message{Kind: KindExpect})
	<-x.requests
}

// stop asks the holder to stop, as its server does.
func (x *tree) stop(t *testing.T) {
	t.Helper()
	x.endpoint.Close()
	x.send(Message{Kind: KindStop})
	next(t, x.said, KindStopped)
	if err := <-x.ended; err != nil {
		t.Errorf("Run returned %v", err)
	}
}

// A guest's server answers what is in its tree, the innermost first, and the host's what is in none. When a guest has ended, the host
// answers, and when the host ends, a guest goes on, with what is in the kernel as it is.
func TestGuests(t *testing.T) {
	for _, mode := range []netsetup.Mode{netsetup.Loopback, netsetup.IPTables} {
		t.Run(string(mode), func(t *testing.T) {
			inNamespace(t, func(ns *netns.NS) {
				wants := func(o *Options) { o.Want.Mode = mode }
				host := startTree(t, ns, 101, "host", wants)
				outer := startTree(t, ns, 102, "outer", func(o *Options) { o.Want.Mode = netsetup.Auto })
				inner := startTree(t, ns, 103, "inner", wants)
				if outer.offer.Host != os.Getpid() || outer.offer.Tree != 102 || host.offer.Host != 0 {
					t.Errorf("offered %+v", outer.offer)
				}
				asks(t, ns, "host")
				asks(t, ns, "host", host)
				asks(t, ns, "outer", outer, host)
				asks(t, ns, "inner", inner, host, outer)

				before := inKernel(t, ns)
				host.stop(t)
				next(t, outer.said, KindEndpoint)
				next(t, inner.said, KindEndpoint)
				if after := inKernel(t, ns); !slices.Equal(after, before) {
					t.Errorf("in the kernel is %q, was %q", after, before)
				}
				if outer.offer.Host != 0 || inner.offer.Host == 0 {
					t.Errorf("offered %+v and %+v", outer.offer, inner.offer)
				}
				asks(t, ns, "outer", outer)
				asks(t, ns, "inner", inner)
				asks(t, ns, "inner", inner, outer)
				third := startTree(t, ns, 104, "third", wants)
				asks(t, ns, "third", third, outer)

				inner.link.Close()
				if err := <-inner.ended; err == nil {
					t.Error("Run without a server returned nil")
				}
				next(t, outer.said, KindGuest)
				asks(t, ns, "outer", inner, outer)
				third.stop(t)
				outer.stop(t)
			})
		})
	}
}

// A guest that wants something else in the kernel than the host lets the host take its own down, and begins anew.
func TestGuestBeginsAnew(t *testing.T) {
	inNamespace(t, func(ns *netns.NS) {
		host := startTree(t, ns, 101, "host", nil)
		guest := startTree(t, ns, 102, "guest", func(o *Options) { o.Want.Mode, o.Want.Admitted = netsetup.Auto, []uint32{9} })
		asks(t, ns, "guest", guest)
		host.stop(t)
		next(t, guest.said, KindEndpoint)
		guest.proves(t)
		if guest.offer.Host != 0 || !slices.Equal(guest.offer.Plan.Admitted, []uint32{9}) {
			t.Errorf("offered %+v", guest.offer)
		}
		asks(t, ns, "guest", guest)
		guest.stop(t)
	})
}

// A holder that ends while its guest starts hands over to that, too: its connection is answered, later.
func TestGuestThatStartsTakesOver(t *testing.T) {
	inNamespace(t, func(ns *netns.NS) {
		host := startTree(t, ns, 101, "host", nil)
		guest := beginTree(t, ns, 102, "guest", nil)
		guest.receive(KindOffer)
		guest.receive(KindCheck)
		host.stop(t)
		guest.send(Message{Kind: KindExpect})
		m, files, err := guest.link.Receive()
		if err != nil || m.Kind != KindEndpoint {
			t.Fatalf("received %+v, %v", m, err)
		}
		guest.accept(m, files)
		closeAll(files)
		guest.answer(http.StatusBadRequest, guest.name, Message{Kind: KindSeen})
		guest.receive(KindReady)
		guest.said = guest.host()
		guest.stop(t)
	})
}

// Only the same owner's holder of a command's tree, in the same mode, is a guest; one that is lets others be none.
func TestGuestsRefused(t *testing.T) {
	inNamespace(t, func(ns *netns.NS) {
		host := startTree(t, ns, 101, "host", nil)
		other := Owner{UID: 4242, GID: 4242, Name: "other"}
		for name, tt := range map[string]struct {
			change func(*Options)
			want   LockedError
		}{
			"another owner": {func(o *Options) { o.Owner = other }, LockedError{Owner: &root}},
			"another mode":  {func(o *Options) { o.Want.Mode = netsetup.Dummy }, LockedError{Mode: netsetup.Loopback}},
			"no tree":       {func(o *Options) { o.Tree = 0 }, LockedError{}},
		} {
			x := beginTree(t, ns, 102, "guest", tt.change)
			x.receive(KindFailed)
			locked, ok := errors.AsType[*LockedError](<-x.ended)
			if !ok || locked.PID != os.Getpid() || (locked.Owner == nil) != (tt.want.Owner == nil) || locked.Mode != tt.want.Mode {
				t.Errorf("%s: Run returned %+v", name, locked)
			}
		}
		guest := startTree(t, ns, 103, "guest", nil)
		asks(t, ns, "guest", guest)
		guest.stop(t)
		host.stop(t)
	})
}

// The guests of a holder that is restarted wait for the one that follows, whose server knows them from the beginning: it answers none of
// their clients.
func TestGuestsOfARestart(t *testing.T) {
	inNamespace(t, func(ns *netns.NS) {
		k := newKeeper(t)
		o := options(t, "janitor")
		o.Keeper = k
		h := startHold(t, ns, o)
		s := attach(t, h.socket)
		s.name = "IMDS/host"
		s.send(Message{Kind: KindHello})
		s.check()
		said := s.host()
		guest := startTree(t, ns, os.Getpid(), "guest", nil)
		asks(t, ns, "guest", guest)
		asks(t, ns, "host")
		s.endpoint.Close()
		if err := h.stop(); err != nil {
			t.Errorf("Hold returned %v", err)
		}
		next(t, said, KindStopped)

		o.Kept = k.kept()
		h = startHold(t, ns, o)
		s = attach(t, h.socket)
		s.name = "IMDS/next"
		s.send(Message{Kind: KindHello})
		s.receive(KindOffer)
		if len(s.offer.Guests) != 1 {
			t.Errorf("offered %+v", s.offer)
		}
		s.ready()
		s.host()
		next(t, guest.said, KindEndpoint)
		guest.proves(t)
		asks(t, ns, "guest", guest)
		asks(t, ns, "next")
		k.restarts = false
		guest.stop(t)
		s.link.Close()
		if err := h.stop(); err != nil {
			t.Errorf("Hold returned %v", err)
		}
	})
}

// Where a connection goes that is passed on: to the server at the other end, as it came; without one it is reset.
func TestPass(t *testing.T) {
	in, out, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	defer out.Close()
	outlet, err := OpenOutlet(out)
	if err != nil {
		t.Fatal(err)
	}
	defer outlet.Close()
	inlet, err := OpenListener(in)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	pass := func() net.Conn {
		t.Helper()
		client, err := net.Dial("tcp4", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { client.Close() })
		server, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(outlet.Pass(server.(*net.TCPConn)), server.Close()); err != nil {
			t.Fatal(err)
		}
		return client
	}
	if _, err := outlet.conn.Write([]byte("nothing in it")); err != nil {
		t.Fatal(err)
	}
	client := pass()
	conn, err := inlet.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := conn.RemoteAddr().String(), client.LocalAddr().String(); got != want {
		t.Errorf("a connection from %s, want %s", got, want)
	}
	if _, err := conn.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	var got [2]byte
	if n, err := client.Read(got[:]); n != 1 || err != nil {
		t.Errorf("read %d bytes, %v", n, err)
	}
	if _, err := client.Read(got[:]); errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("then %v, want the end", err)
	}

	lost := pass()
	if err := errors.Join(inlet.Close(), in.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := lost.Read(got[:]); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("nobody took it, and it is not reset: %v", err)
	}
	late, err := net.Dial("tcp4", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if err := outlet.Pass(server.(*net.TCPConn)); err == nil {
		t.Error("passed on to nobody")
	}
}
