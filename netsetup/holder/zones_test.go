package holder

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"azimds/netsetup"
	"azimds/test/netns"

	"github.com/google/go-cmp/cmp"
)

// zoneDialTime bounds a dial whose packets may be lost.
const zoneDialTime = 2 * time.Second

// bridgeOptions are those of a holder that serves bridges.
func bridgeOptions(t *testing.T, mode netsetup.Mode, bridges ...string) Options {
	o := options(t, "janitor")
	o.Want = netsetup.Want{Mode: mode, Bridges: bridges}
	return o
}

// container makes a bridge 10.8.N.1 with a container that has 10.8.N.2.
func container(t *testing.T, ns *netns.NS, bridge string, n int) *netns.NS {
	t.Helper()
	c := netns.New(t)
	ns.Bridge(t, bridge, fmt.Sprintf("10.8.%d.1/24", n))
	ns.Plug(t, bridge, c, fmt.Sprintf("10.8.%d.2/24", n), fmt.Sprintf("10.8.%d.1", n))
	return c
}

// zone is the next message, which must be a zone's, and its listener, nil where there is none. Each connection is told word.
func (s *fakeServer) zone(word string) (Zone, net.Listener) {
	s.t.Helper()
	m, files, err := s.link.Receive()
	if err != nil {
		s.t.Fatalf("waiting for a zone: %v", err)
	}
	defer closeAll(files)
	if m.Kind != KindZone || m.Zone == nil || len(files) > 1 {
		s.t.Fatalf("received %+v with %d files, want a zone", m, len(files))
	}
	if served := m.Zone.Problem == "" && !m.Zone.Gone; served != (len(files) == 1) {
		s.t.Fatalf("zone %+v came with %d files", m.Zone, len(files))
	}
	if len(files) == 0 {
		return *m.Zone, nil
	}
	ln := s.listener(files[0])
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, word) // who does not hear it says so
			conn.Close()
		}
	}()
	s.t.Cleanup(func() { ln.Close(); <-ended })
	return *m.Zone, ln
}

// awaitZone is the first zone that is as wanted; on the way there may be others.
func (s *fakeServer) awaitZone(word string, is func(Zone) bool) (Zone, net.Listener) {
	s.t.Helper()
	for {
		if z, ln := s.zone(word); is(z) {
			return z, ln
		}
	}
}

func servedZone(z Zone) bool { return z.Problem == "" && !z.Gone }

// hears dials the endpoint and returns what it is told, or why nothing.
func hears(t *testing.T, ns *netns.NS) (word string) {
	t.Helper()
	err := ns.Do(func() error {
		conn, err := net.DialTimeout("tcp4", netsetup.Endpoint.String(), zoneDialTime)
		if err != nil {
			word = err.Error()
			return nil
		}
		defer conn.Close()
		heard, err := io.ReadAll(conn)
		word = string(heard)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return word
}

// ready goes on from the zones of the start.
func (s *fakeServer) ready() {
	s.t.Helper()
	s.receive(KindCheck)
	s.answer(400, s.called(), Message{Kind: KindSeen, UID: s.offer.Owner.UID})
	s.send(Message{Kind: KindExpect})
	s.receive(KindReady)
}

// end makes the holder stop.
func (r *run) end() {
	r.t.Helper()
	r.send(Message{Kind: KindStop})
	for {
		m, files, err := r.link.Receive()
		closeAll(files)
		if err != nil {
			r.t.Fatal(err)
		}
		if m.Kind == KindStopped {
			break
		}
	}
	if err := <-r.ended; err != nil {
		r.t.Errorf("Run returned %v", err)
	}
}

// A bridge that is there is handed over before the check, and its container is served, in each mode; then it goes, and is made
// again with a listener of its own.
func TestZoneFollowsItsBridge(t *testing.T) {
	for _, mode := range []netsetup.Mode{netsetup.Loopback, netsetup.IPTables} {
		t.Run(string(mode), func(t *testing.T) {
			inNamespace(t, func(ns *netns.NS) {
				client, other := container(t, ns, "br0", 0), container(t, ns, "br1", 1)
				r := startRun(t, ns, bridgeOptions(t, mode, "br0"))
				r.send(Message{Kind: KindHello})
				r.receive(KindOffer)
				first, old := r.zone("first")
				want := Zone{Name: "br0", Index: first.Index, Subnets: []netip.Prefix{netip.MustParsePrefix("10.8.0.0/24")},
					Addresses: []netip.Addr{netip.MustParseAddr("10.8.0.1")}}
				if diff := cmp.Diff(fmt.Sprint(want), fmt.Sprint(first)); diff != "" || first.Index == 0 {
					t.Errorf("zone (-want +got):\n%s", diff)
				}
				r.ready()
				if word := hears(t, client); word != "first" {
					t.Errorf("the container hears %q", word)
				}
				if word := hears(t, other); word == "first" {
					t.Error("the container of another bridge hears it, too")
				}

				ns.Run(t, "ip", "link", "del", "br0")
				gone, _ := r.awaitZone("", func(z Zone) bool { return z.Gone })
				if gone.Name != "br0" || gone.Index != first.Index {
					t.Errorf("gone is %+v", gone)
				}
				old.Close()
				client = container(t, ns, "br0", 2)
				again, _ := r.awaitZone("second", servedZone)
				if again.Index == first.Index || fmt.Sprint(again.Subnets) != "[10.8.2.0/24]" {
					t.Errorf("made again it is %+v", again)
				}
				if word := hears(t, client); word != "second" {
					t.Errorf("the new container hears %q", word)
				}
				r.end()
			})
		})
	}
}

// A bridge made while we run is served by its pattern; what changes of it is told, with the same listener.
func TestZoneChanges(t *testing.T) {
	inNamespace(t, func(ns *netns.NS) {
		r := startRun(t, ns, bridgeOptions(t, netsetup.Loopback, "br-*"))
		r.send(Message{Kind: KindHello})
		r.receive(KindOffer)
		r.ready()
		client := container(t, ns, "br-0", 0)
		made, first := r.awaitZone("served", servedZone)
		ns.Run(t, "ip", "addr", "add", "10.8.9.1/24", "dev", "br-0")
		changed, second := r.awaitZone("served", func(z Zone) bool { return len(z.Subnets) == 2 })
		if changed.Index != made.Index || second == nil {
			t.Errorf("with another address it is %+v, listener %v", changed, second)
		}
		first.Close() // a duplicate
		if word := hears(t, client); word != "served" {
			t.Errorf("the container hears %q", word)
		}

		// The bridge gets a port by which strangers come: the listener is closed, whatever the server does.
		ns.Run(t, "sh", "-ec", "ip link add vx0 type vxlan id 7 dstport 4789; ip link set vx0 master br-0")
		bad, _ := r.awaitZone("", func(z Zone) bool { return z.Problem != "" })
		if !strings.Contains(bad.Problem, "vx0") {
			t.Errorf("problem %q", bad.Problem)
		}
		if word := hears(t, client); !strings.Contains(word, "connection refused") {
			t.Errorf("with such a port the container hears %q", word)
		}
		ns.Run(t, "ip", "link", "del", "vx0")
		if _, ln := r.awaitZone("served again", servedZone); ln == nil {
			t.Error("no listener")
		}
		if word := hears(t, client); word != "served again" {
			t.Errorf("without it the container hears %q", word)
		}
		r.end()
	})
}

// What cannot be served is told before the check, and why; the session goes on.
func TestZoneProblems(t *testing.T) {
	inNamespace(t, func(ns *netns.NS) {
		ns.Run(t, "sh", "-ec", "ip link add br0 type bridge; ip link add br2 type veth peer name br3; ip addr add 10.8.1.1/24 dev br2")
		_ = container(t, ns, "br1", 0)
		var server net.Listener
		if err := ns.Do(func() (err error) {
			server, err = net.Listen("tcp4", "10.8.0.1:981")
			return err
		}); err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		r := startRun(t, ns, bridgeOptions(t, netsetup.IPTables, "br0", "br1", "br2"))
		r.send(Message{Kind: KindHello})
		r.receive(KindOffer)
		for _, want := range []string{"it has no IPv4 address", "address already in use: ", "it is not a bridge but a device of type veth"} {
			if z, _ := r.zone(""); !strings.Contains(z.Problem, want) {
				t.Errorf("zone %+v, want %q", z, want)
			}
		}
		r.ready()
		server.Close()
		ns.Run(t, "ip", "link", "set", "br3", "up") // it is tried again whenever something changes
		if z, _ := r.awaitZone("", servedZone); z.Name != "br1" {
			t.Errorf("served is %+v", z)
		}
		r.end()
	})
}

// Each server that attaches gets the zones that are there then; between servers, containers wait.
func TestHoldKeepsZones(t *testing.T) {
	inNamespace(t, func(ns *netns.NS) {
		h := startHold(t, ns, bridgeOptions(t, netsetup.Loopback, "br0", "br1"))
		first := container(t, ns, "br0", 0)
		s := attach(t, h.socket)
		s.send(Message{Kind: KindHello})
		s.receive(KindOffer)
		_, ln := s.zone("one")
		s.ready()
		second := container(t, ns, "br1", 1)
		_, other := s.awaitZone("one", servedZone)
		for n, client := range []*netns.NS{first, second} {
			if word := hears(t, client); word != "one" {
				t.Errorf("container %d hears %q", n, word)
			}
		}
		s.send(Message{Kind: KindStop})
		s.receive(KindStopped)
		ln.Close()
		other.Close()
		s.leave()

		waiting := make(chan string, 1)
		go func() { waiting <- hears(t, second) }()
		ns.Run(t, "ip", "link", "del", "br0")
		s = attach(t, h.socket)
		s.send(Message{Kind: KindHello})
		s.receive(KindOffer)
		m, _ := s.awaitZone("two", func(z Zone) bool { return z.Name == "br1" })
		if !servedZone(m) {
			t.Errorf("zone %+v", m)
		}
		if word := <-waiting; word != "two" {
			t.Errorf("the container that waited hears %q", word)
		}
		if err := h.stop(); err != nil {
			t.Errorf("Hold returned %v", err)
		}
	})
}

// When bridges can no longer be followed, they are no longer served.
func TestZonesFail(t *testing.T) {
	inNamespace(t, func(ns *netns.NS) {
		client := container(t, ns, "br0", 0)
		err := ns.Do(func() error {
			var z zones
			plan := netsetup.Plan{Mode: netsetup.Loopback, Endpoint: netsetup.Endpoint, Backend: netsetup.Endpoint, Bridges: []string{"br0"}}
			if err := z.start(t.Context(), plan, options(t, "")); err != nil {
				return err
			}
			defer z.stop()
			z.fail(os.ErrClosed)
			if o := z.open["br0"]; o.file != nil || !strings.Contains(o.Problem, "it cannot be followed: file already closed") {
				t.Errorf("zone %+v", o)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		if word := hears(t, client); word == "" {
			t.Error("the container is still served")
		}
	})
}
