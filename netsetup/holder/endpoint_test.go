package holder

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"azimds/netsetup"
	"azimds/test/netns"
)

// says is a log that can be read while it is written.
type says struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *says) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *says) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// proof goes through the holder's own connection after a repair.
func (s *fakeServer) proof() {
	s.t.Helper()
	s.receive(KindCheck)
	s.send(Message{Kind: KindExpect})
}

// answered dials the endpoint in a namespace and wants an answer.
func answered(t *testing.T, ns *netns.NS) {
	t.Helper()
	err := ns.Do(func() error {
		conn, err := net.DialTimeout("tcp4", netsetup.Endpoint.String(), zoneDialTime)
		if err != nil {
			return err
		}
		defer conn.Close()
		return exchange(t.Context(), conn, netsetup.Endpoint)
	})
	if err != nil {
		t.Error(err)
	}
}

// In each mode what others take away is put back while a holder lives, with a server and without one; the holder dials itself
// then, and a report says what happened.
func TestHolderRepairs(t *testing.T) {
	for mode, damage := range map[netsetup.Mode]string{
		netsetup.Loopback: "ip addr del 169.254.169.254/32 dev lo",
		netsetup.IPTables: "ip rule del pref 40000 proto 169",
	} {
		t.Run(string(mode), func(t *testing.T) {
			inNamespace(t, func(ns *netns.NS) {
				o := options(t, "janitor")
				o.Want.Mode = mode
				h := startHold(t, ns, o)
				for range 2 {
					s := attach(t, h.socket)
					s.send(Message{Kind: KindHello})
					s.receive(KindOffer)
					s.ready()
					ns.Run(t, "sh", "-ec", damage)
					s.proof()
					answered(t, ns)
					s.send(Message{Kind: KindAsk, ID: 1})
					got := s.receive(KindAnswer)
					for got.ID != 1 { // to what was seen of the client
						got = s.receive(KindAnswer)
					}
					if r := got.Repairs; !got.Report.OK() || r == nil || len(r.Missing) != 1 || r.Error != "" {
						t.Errorf("report %+v, repairs %+v", got.Report, r)
					}
					s.leave()
				}
				if err := h.stop(); err != nil {
					t.Errorf("Hold returned %v", err)
				}
			})
		})
	}
}

// A server that does not see the holder's connection after a repair is told to expect it no more, and goes on serving.
func TestHolderProofFails(t *testing.T) {
	inNamespace(t, func(ns *netns.NS) {
		log := new(says)
		o := options(t, "janitor")
		o.Log = slog.New(slog.NewTextHandler(log, nil))
		r := startRun(t, ns, o)
		r.send(Message{Kind: KindHello})
		r.receive(KindOffer)
		r.receive(KindCheck)
		seen := Message{Kind: KindSeen, UID: r.offer.Owner.UID}
		conns := make(chan net.Conn)
		go func() {
			for {
				conn, err := r.endpoint.Accept()
				if err != nil {
					return
				}
				conns <- conn
			}
		}()
		r.send(Message{Kind: KindExpect})
		conn := <-conns
		r.send(seen)
		if _, err := conn.Write([]byte("HTTP/1.1 400 Bad Request\r\nServer: IMDS/1\r\nContent-Length: 0\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		r.receive(KindReady)
		ns.Run(t, "ip", "addr", "del", "169.254.169.254/32", "dev", "lo")
		if m := r.receive(KindCheck); m.Inode == 0 {
			t.Error("nothing to expect")
		}
		r.send(Message{Kind: KindExpect})
		(<-conns).Close() // without an answer
		r.send(seen)
		if m := r.receive(KindCheck); m.Inode != 0 {
			t.Errorf("expect %d once more", m.Inode)
		}
		r.send(Message{Kind: KindExpect})
		r.send(Message{Kind: KindAsk})
		r.receive(KindAnswer)
		if !strings.Contains(log.String(), "the endpoint does not answer after the repair") {
			t.Errorf("the log says:\n%s", log)
		}
		r.send(Message{Kind: KindStop})
		r.receive(KindStopped)
		if err := <-r.ended; err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
}

// A listener that ended with its device is replaced, and the server that is attached gets the new one before anybody reaches it.
func TestHolderReplacesListener(t *testing.T) {
	inNamespace(t, func(ns *netns.NS) {
		ours, theirs, err := Pair()
		if err != nil {
			t.Fatal(err)
		}
		s := &fakeServer{t: t, link: open(t, theirs)}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		serving, p := follow(ctx, open(t, ours))
		started, ended := make(chan *Holder, 1), make(chan error, 1)
		go func() {
			ended <- ns.Do(func() error {
				h, err := lock(options(t, "janitor"))
				if err != nil {
					return err
				}
				if err := h.start(ctx); err != nil {
					return err
				}
				started <- h
				return h.finish(ctx, p, h.attend(serving, p))
			})
		}()
		s.check()
		h := <-started
		if err := s.endpoint.Close(); err != nil { // else its place is taken
			t.Fatal(err)
		}
		ns.Run(t, "ip", "link", "add", "br0", "type", "bridge")
		if err := ns.Do(func() error { return onDevice(h, "br0") }); err != nil {
			t.Fatal(err)
		}
		s.another()
		ns.Run(t, "sh", "-ec", "ip link del br0; ip addr del 169.254.169.254/32 dev lo")
		s.another()
		s.answer(http.StatusBadRequest, "IMDS/1", Message{Kind: KindSeen})
		s.proof()
		answered(t, ns)
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the holder returned %v", err)
		}
	})
}

// another takes the endpoint's new listener.
func (s *fakeServer) another() {
	s.t.Helper()
	m, files, err := s.link.Receive()
	defer closeAll(files)
	if err != nil || m.Kind != KindEndpoint || len(files) != 1 {
		s.t.Fatalf("received %+v with %d files, %v; want a listener", m, len(files), err)
	}
	s.endpoint = s.listener(files[0])
}

// onDevice puts a listener on a device in the place of the endpoint's.
func onDevice(h *Holder, device string) error {
	ln, err := netsetup.ListenBridge(context.Background(), h.Plan(), netsetup.Bridge{Name: device})
	if err != nil {
		return err
	}
	return h.replace(ln)
}
