package holder

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"azimds/netsetup"
	"azimds/test/netns"
)

// keeper keeps listeners as systemd does, as duplicates.
type keeper struct {
	t        *testing.T
	files    map[string]*os.File
	restarts bool
	err      error // of the question
}

func newKeeper(t *testing.T) *keeper {
	k := &keeper{t: t, files: map[string]*os.File{}, restarts: true}
	t.Cleanup(func() {
		for _, f := range k.files {
			f.Close()
		}
	})
	return k
}

func (k *keeper) Keep(name string, listener *os.File) error {
	k.files[name] = k.duplicate(listener)
	return nil
}

func (k *keeper) Forget(name string) error {
	if f := k.files[name]; f != nil {
		f.Close()
	}
	delete(k.files, name)
	return nil
}

func (k *keeper) Restarts(context.Context) (bool, error) { return k.restarts, k.err }

// kept is what the next holder gets.
func (k *keeper) kept() map[string]*os.File {
	files := map[string]*os.File{}
	for name, f := range k.files {
		files[name] = k.duplicate(f)
	}
	return files
}

func (k *keeper) duplicate(f *os.File) *os.File {
	k.t.Helper()
	ln, err := net.FileListener(f) // duplicates
	if err != nil {
		k.t.Fatal(err)
	}
	defer ln.Close()
	file, err := ln.(*net.TCPListener).File()
	if err != nil {
		k.t.Fatal(err)
	}
	return file
}

// Who connects while a holder is restarted waits, and is answered by the server that comes then: nothing is taken down in between,
// and nothing is left in the end.
func TestHoldResumes(t *testing.T) {
	for _, mode := range []netsetup.Mode{netsetup.Loopback, netsetup.IPTables} {
		t.Run(string(mode), func(t *testing.T) {
			inNamespace(t, func(ns *netns.NS) {
				ns.Bridge(t, "br-test", "10.9.0.1/24")
				k := newKeeper(t)
				o := options(t, "janitor")
				o.Want = netsetup.Want{Mode: mode, Bridges: []string{"br-*"}}
				o.Keeper = k
				h := startHold(t, ns, o)
				before := inKernel(t, ns)
				if err := h.stop(); err != nil {
					t.Fatalf("Hold returned %v", err)
				}
				same := func(want ...string) {
					t.Helper()
					if got := slices.Sorted(maps.Keys(k.files)); !slices.Equal(got, want) {
						t.Errorf("kept %q, want %q", got, want)
					}
					if after := inKernel(t, ns); !slices.Equal(after, before) {
						t.Errorf("in the kernel is %q, was %q", after, before)
					}
				}
				same("bridge-br-test", "endpoint")

				client := dialEndpoint(t, ns)
				o.Kept = k.kept()
				h = startHold(t, ns, o)
				same("bridge-br-test", "endpoint")
				s := attach(t, h.socket)
				s.send(Message{Kind: KindHello})
				s.receive(KindOffer)
				answersWaiting(t, client, s)
				s.link.Close()

				k.restarts = false
				if err := h.stop(); err != nil {
					t.Errorf("Hold returned %v", err)
				}
			})
		})
	}
}

// What does not fit is not gone on with, and the listeners that were kept are in nobody's way: another configuration, a host that
// somebody has added to, a file that says nothing, and no listener.
func TestHoldBeginsAnew(t *testing.T) {
	for _, tt := range []struct {
		name string
		mode netsetup.Mode
		do   func(t *testing.T, ns *netns.NS, o *Options, dir string)
	}{
		{"nothing", netsetup.IPTables, nil},
		{"another mode", netsetup.Loopback, func(_ *testing.T, _ *netns.NS, o *Options, _ string) { o.Want.Mode = netsetup.IPTables }},
		{"another group", netsetup.IPTables, func(_ *testing.T, _ *netns.NS, o *Options, _ string) { o.ExemptGroup = 65530 }},
		{"another user is admitted", netsetup.Loopback, func(_ *testing.T, _ *netns.NS, o *Options, _ string) { o.Want.Admitted = []uint32{9} }},
		{"residue", netsetup.IPTables, func(t *testing.T, ns *netns.NS, _ *Options, _ string) {
			ns.Run(t, "ip", "addr", "add", "169.254.169.254/32", "dev", "lo", "label", "lo:azimds")
		}},
		{"no plan", netsetup.Loopback, func(t *testing.T, _ *netns.NS, _ *Options, dir string) {
			if err := os.WriteFile(dir+"/"+bequestFile, []byte("{"), 0o600); err != nil {
				t.Fatal(err)
			}
		}},
		{"no listener", netsetup.Loopback, func(_ *testing.T, _ *netns.NS, o *Options, _ string) {
			o.Kept[endpointName].Close()
			delete(o.Kept, endpointName)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inNamespace(t, func(ns *netns.NS) {
				k := newKeeper(t)
				o := options(t, "janitor")
				o.Want.Mode = tt.mode
				o.Keeper = k
				h := startHold(t, ns, o)
				if err := h.stop(); err != nil {
					t.Fatalf("Hold returned %v", err)
				}
				o.Kept = k.kept()
				if tt.name == "no listener" {
					if err := k.Forget(endpointName); err != nil {
						t.Fatal(err)
					}
				}
				if tt.do != nil {
					var dir string
					if err := ns.Do(func() (err error) { dir, err = Dir(); return err }); err != nil {
						t.Fatal(err)
					}
					tt.do(t, ns, &o, dir)
				}
				client := dialUnlessGone(ns)
				h = startHold(t, ns, o)
				s := attach(t, h.socket)
				s.send(Message{Kind: KindHello})
				if tt.do == nil {
					s.receive(KindOffer)
					answersWaiting(t, client, s)
					s.link.Close()
				} else {
					if client != nil {
						defer client.Close()
						expectEnd(t, client)
					}
					s.check()
					s.leave()
				}
				k.restarts = false
				if err := h.stop(); err != nil {
					t.Errorf("Hold returned %v", err)
				}
			})
		})
	}
}

// A bridge that was made again while the holder was restarted gets a listener of its own.
func TestHoldResumesWithAnotherBridge(t *testing.T) {
	inNamespace(t, func(ns *netns.NS) {
		ns.Bridge(t, "br-test", "10.9.0.1/24")
		k := newKeeper(t)
		o := options(t, "janitor")
		o.Want.Bridges = []string{"br-*"}
		o.Keeper = k
		h := startHold(t, ns, o)
		if err := h.stop(); err != nil {
			t.Fatalf("Hold returned %v", err)
		}
		ns.Run(t, "ip", "link", "del", "br-test")
		ns.Bridge(t, "br-test", "10.9.0.1/24")
		o.Kept = k.kept()
		h = startHold(t, ns, o)
		s := attach(t, h.socket)
		s.send(Message{Kind: KindHello})
		s.receive(KindOffer)
		m, files, err := s.link.Receive()
		if err != nil || m.Kind != KindZone || len(files) != 1 || m.Zone.Problem != "" {
			t.Errorf("received %+v with %d files, %v", m, len(files), err)
		}
		closeAll(files)
		if f := k.files[bridgeName+"br-test"]; f == nil || netsetup.ListensForBridge(s.offer.Plan, netsetup.Bridge{Name: "br-test"}, f) != nil {
			t.Error("the new listener is not kept")
		}
		s.link.Close()
		k.restarts = false
		if err := h.stop(); err != nil {
			t.Errorf("Hold returned %v", err)
		}
	})
}

// A holder that is not restarted, or cannot tell, takes everything down.
func TestHoldDoesNotLeave(t *testing.T) {
	for name, k := range map[string]*keeper{"stopped": {}, "not told": {restarts: true, err: errors.New("nobody answers")}} {
		t.Run(name, func(t *testing.T) {
			inNamespace(t, func(ns *netns.NS) { // looks for what is left
				k.t, k.files = t, map[string]*os.File{}
				o := options(t, "janitor")
				o.Keeper = k
				if err := startHold(t, ns, o).stop(); err != nil {
					t.Errorf("Hold returned %v", err)
				}
				for _, f := range k.files {
					f.Close()
				}
			})
		})
	}
}

// A plan that has been written down and read again is the same wish, and every part of it counts.
func TestBequestSame(t *testing.T) {
	was := bequest{Want: netsetup.Want{Mode: netsetup.Loopback, Admitted: []uint32{1}}, Owner: root, Reason: "asked for"}
	text, err := json.Marshal(was)
	if err != nil {
		t.Fatal(err)
	}
	var read bequest
	if err := json.Unmarshal(text, &read); err != nil {
		t.Fatal(err)
	}
	if !same(was, read) {
		t.Errorf("%+v is not the same as %+v", read, was)
	}
	for name, change := range map[string]func(*bequest){
		"bridges": func(b *bequest) { b.Want.Bridges = []string{"br0"} },
		"owner":   func(b *bequest) { b.Owner.UID = 1 },
		"group":   func(b *bequest) { b.ExemptGroup = 1 },
		"plan":    func(b *bequest) { b.Plan.Refuses = true },
	} {
		other := read
		if change(&other); same(was, other) {
			t.Errorf("%s: %+v is the same as %+v", name, other, was)
		}
	}
}

func inKernel(t *testing.T, ns *netns.NS) (there []string) {
	t.Helper()
	err := ns.Do(func() (err error) {
		there, err = netsetup.NewHost(netsetup.Options{}).Present(t.Context())
		return err
	})
	if err != nil || len(there) == 0 {
		t.Fatalf("there is %q, %v", there, err)
	}
	return there
}

func dialEndpoint(t *testing.T, ns *netns.NS) net.Conn {
	t.Helper()
	client := dialUnlessGone(ns)
	if client == nil {
		t.Fatal("nobody listens between two holders")
	}
	return client
}

// dialUnlessGone connects where somebody listens.
func dialUnlessGone(ns *netns.NS) (client net.Conn) {
	_ = ns.Do(func() (err error) {
		client, err = net.DialTimeout("tcp4", netsetup.Endpoint.String(), time.Minute)
		return err
	})
	return client
}

// answersWaiting has a client that has connected before answered by the server, which then passes the holder's check.
func answersWaiting(t *testing.T, client net.Conn, s *fakeServer) {
	t.Helper()
	defer client.Close()
	if _, err := client.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	for {
		m, files, err := s.link.Receive()
		if err != nil {
			t.Fatal(err)
		}
		closeAll(files)
		if m.Kind == KindCheck {
			break
		}
	}
	s.answer(400, "IMDS/1", Message{})
	answer := make([]byte, len("HTTP/1.1 400"))
	if _, err := client.Read(answer); err != nil || string(answer) != "HTTP/1.1 400" {
		t.Errorf("the client that waited got %q, %v", answer, err)
	}
}

// expectEnd waits until a connection has ended.
func expectEnd(t *testing.T, client net.Conn) {
	t.Helper()
	if err := client.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if n, err := client.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read %d, %v from a listener that is of no use", n, err)
	}
}
