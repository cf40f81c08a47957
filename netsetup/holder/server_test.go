package holder

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"testing"

	"azimds/netsetup"
	"azimds/test/netns"
)

// fakeServer is the other end of a link, one step a method. Its answers on the endpoint are those of a metadata server.
type fakeServer struct {
	t        *testing.T
	link     *Link
	offer    Offer
	endpoint net.Listener
	control  net.Listener
	name     string // what it calls itself; "" as the real service does

	mu       sync.Mutex
	outlets  map[uint64]*Outlet // where guests' connections go
	asks     map[uint64]chan Message
	requests chan struct{} // has one in it when a request was answered
	follows  bool          // what the holder answers is looked for
}

// run is a holder under test with its fake server.
type run struct {
	*fakeServer
	cancel context.CancelFunc
	ended  chan error // what Run or Hold returned
}

// startRun runs a holder in ns for a fake server.
func startRun(t *testing.T, ns *netns.NS, o Options) *run {
	t.Helper()
	ours, theirs, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r := &run{fakeServer: &fakeServer{t: t, link: open(t, theirs), requests: make(chan struct{}, 1)}, cancel: cancel, ended: make(chan error, 1)}
	link := open(t, ours)
	go func() { r.ended <- ns.Do(func() error { return Run(ctx, link, o) }) }()
	return r
}

func open(t *testing.T, end *os.File) *Link {
	t.Helper()
	link, err := OpenLink(end)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { link.Close() })
	return link
}

func (s *fakeServer) send(m Message) {
	s.t.Helper()
	if err := s.link.Send(m); err != nil {
		s.t.Fatal(err)
	}
}

// receive is the next message, which must be of a kind.
func (s *fakeServer) receive(want Kind) Message {
	s.t.Helper()
	m, files, err := s.link.Receive()
	if err != nil {
		s.t.Fatalf("waiting for message %q: %v", want, err)
	}
	defer closeAll(files)
	if m.Kind != want {
		s.t.Fatalf("received %+v, want a message %q", m, want)
	}
	if want == KindOffer {
		s.accept(m, files)
	}
	return m
}

// accept takes what an offer brings.
func (s *fakeServer) accept(m Message, files []*os.File) {
	s.t.Helper()
	if m.Offer == nil || len(files) != 2+len(m.Offer.Guests) {
		s.t.Fatalf("received offer %+v with %d files", m.Offer, len(files))
	}
	s.offer = *m.Offer
	s.endpoint, s.control = s.listener(files[0]), s.listener(files[1])
	for i, id := range m.Offer.Guests {
		s.lodge(id, files[2+i])
	}
}

func (s *fakeServer) listener(file *os.File) net.Listener {
	s.t.Helper()
	ln, err := OpenListener(file)
	if domain, _ := domainOf(file); domain == syscall.AF_UNIX && accepts(s.t, file) {
		ln, err = net.FileListener(file)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	if unix, ok := ln.(*net.UnixListener); ok {
		unix.SetUnlinkOnClose(false)
	}
	s.t.Cleanup(func() { ln.Close() })
	return ln
}

// answer serves the endpoint until it is closed, with a status, as a server of a name, and tells of each connection what
// seen says.
func (s *fakeServer) answer(status int, name string, seen Message) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if seen.Kind != "" {
			if err := s.link.Send(seen); err != nil && !errors.Is(err, net.ErrClosed) {
				s.t.Error(err)
			}
		}
		w.Header().Set("Server", name)
		w.WriteHeader(status)
		select {
		case s.requests <- struct{}{}:
		default:
		}
	})
	endpoint := passing{s.endpoint, s}
	ended := make(chan error, 1)
	go func() { ended <- http.Serve(endpoint, handler) }()
	s.t.Cleanup(func() {
		endpoint.Close()
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			s.t.Error(err)
		}
	})
}

// check takes the offer and goes through the holder's own connection, with the answers that a good server gives.
func (s *fakeServer) check() {
	s.t.Helper()
	s.receive(KindOffer)
	s.receive(KindCheck)
	s.answer(http.StatusBadRequest, s.called(), Message{Kind: KindSeen, UID: s.offer.Owner.UID})
	s.send(Message{Kind: KindExpect})
	s.receive(KindReady)
}

// called is what it calls itself.
func (s *fakeServer) called() string { return cmp.Or(s.name, "IMDS/150.870.65.2010") }

// leave lets go of everything that a server has.
func (s *fakeServer) leave() {
	s.t.Helper()
	for _, c := range []interface{ Close() error }{s.endpoint, s.control, s.link} {
		if err := c.Close(); err != nil {
			s.t.Error(err)
		}
	}
}

// present is what of ours is in the kernel.
func present(t *testing.T, ns *netns.NS) []string {
	t.Helper()
	var there []string
	err := ns.Do(func() (err error) {
		there, err = netsetup.NewHost(netsetup.Options{}).Present(context.Background())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return there
}
