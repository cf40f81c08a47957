package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"azimds/imds"
	"azimds/imds/caller"
	"azimds/imds/policy"
	"azimds/imds/token"
	"azimds/netsetup"
	"azimds/netsetup/holder"
	"azimds/test/netns"
)

// linked is an agent on a machine, and the holder's end of its link.
func linked(t *testing.T, m *machine) (*agent, *holder.Link) {
	t.Helper()
	holders, servers, err := holder.Pair()
	if err != nil {
		t.Fatal(err)
	}
	ours, err := holder.OpenLink(servers)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := holder.OpenLink(holders)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(ours.Close(), theirs.Close()); err != nil {
			t.Error(err)
		}
	})
	a := &agent{
		server: &server{link: ours, log: slog.New(slog.DiscardHandler)}, keeper: m.gatekeeper,
		asks: map[uint64]chan holder.Message{}, stopped: make(chan struct{}), lost: make(chan struct{}),
	}
	a.offered.Store(&holder.Offer{Owner: m.owner})
	return a, theirs
}

// receive is the next message of a kind.
func receive(t *testing.T, from *holder.Link, want holder.Kind) holder.Message {
	t.Helper()
	m, _, err := from.Receive()
	if err != nil || m.Kind != want {
		t.Fatalf("received %+v, %v; want %q", m, err, want)
	}
	return m
}

// The holder's own connection is known by its socket, is nobody's request, and is the only one: a socket that gets its number
// later is looked at like any other.
func TestHoldersConnectionIsKnownOnce(t *testing.T) {
	m := newMachine(t, "", "", policy.Admission{Owner: owner, Groups: []uint32{5}})
	a, theirs := linked(t, m)
	if _, err := a.act(holder.Message{Kind: holder.KindCheck, Inode: 70}); err != nil {
		t.Fatal(err)
	}
	receive(t, theirs, holder.KindExpect)
	self := caller.Caller{UID: owner, Inode: 70, Cgroup: 1} // of no group in sight, as it may be
	if err := a.admit(self); err != nil {
		t.Fatal(err)
	}
	if seen := receive(t, theirs, holder.KindSeen); seen.UID != owner {
		t.Errorf("seen %+v", seen)
	}
	if d, err := a.screen(nil, self); err != nil || d != (caller.Detail{}) {
		t.Errorf("screened: %+v, %v", d, err)
	}
	a.observe(imds.Event{Caller: self, Route: "token", Status: 400})
	if n := a.requests.Load() + a.refused.Load(); n != 0 || len(a.recent) != 0 {
		t.Errorf("it was counted %d times", n)
	}

	later := caller.Caller{UID: another, Inode: 70, Cgroup: 1}
	if err := a.admit(later); err != nil { // it may be a group's
		t.Fatal(err)
	}
	if _, err := a.screen(nil, later); err == nil {
		t.Error("another user's socket of this number is taken for the holder's")
	}
	a.observe(imds.Event{Caller: later})
	if a.refused.Load() != 1 || len(a.recent) != 1 {
		t.Error("nothing is said of it")
	}
}

// A holder that gave its connection up says so: no socket that gets its number later is taken for it, seen before or not.
func TestHoldersConnectionIsForgotten(t *testing.T) {
	for _, seen := range []bool{false, true} {
		m := newMachine(t, "", "", policy.Admission{Owner: owner})
		a, theirs := linked(t, m)
		self := caller.Caller{UID: owner, Inode: 70, Cgroup: 1}
		for _, inode := range []uint64{70, 0} {
			if _, err := a.act(holder.Message{Kind: holder.KindCheck, Inode: inode}); err != nil {
				t.Fatal(err)
			}
			receive(t, theirs, holder.KindExpect)
			if inode == 0 || !seen {
				continue
			}
			if err := a.admit(self); err != nil || !a.ours(self) {
				t.Errorf("the holder's own: %v", err)
			}
			receive(t, theirs, holder.KindSeen)
		}
		if a.expected.Load() != 0 || a.ours(self) {
			t.Errorf("seen %v: the socket's number is still the holder's", seen)
		}
	}
}

// A server that sees somebody else's connection where the holder's was to come says so, and serves it no better for that.
func TestHoldersConnectionOfAnotherUser(t *testing.T) {
	a, theirs := linked(t, newMachine(t, "", "", policy.Admission{Owner: owner}))
	a.expected.Store(70)
	if err := a.admit(caller.Caller{UID: another, Inode: 70}); err == nil {
		t.Error("another user's connection is admitted")
	}
	if seen := receive(t, theirs, holder.KindSeen); seen.UID != another {
		t.Errorf("seen %+v", seen)
	}
}

// The control socket gives a container's process no more than the endpoint does.
func TestTokenForContainer(t *testing.T) {
	m := newMachine(t, "", "", policy.Admission{Owner: owner})
	m.process(20, "/usr/bin/azimds", 70)
	m.write("20/cgroup", "0::/lxc/web\n")
	a, _ := linked(t, m)
	_, err := a.Token(t.Context(), 20, token.Request{Resource: armScope})
	if known, ok := errors.AsType[*token.Error](err); !ok || known.Message != "a process of container web is not user pat, although it has uid 60001" {
		t.Errorf("Token: %v", err)
	}
	if _, err := a.Token(t.Context(), 21, token.Request{Resource: armScope}); err == nil {
		t.Error("a process that cannot be looked at gets a token")
	}
}

// What the holder cannot say, or says too late, leaves a process unknown.
func TestFind(t *testing.T) {
	m := newMachine(t, "", "", policy.Admission{Owner: owner})
	a, theirs := linked(t, m)
	client := netip.MustParseAddrPort("127.0.0.1:4711")
	c := caller.Caller{UID: another, Inode: 70, Client: client}
	curl := holder.Process{PID: 5, Executable: "/usr/bin/curl", Command: "curl"}
	for _, tt := range []struct {
		name   string
		answer holder.Message
		want   caller.Process
	}{
		{"found", holder.Message{Process: &curl}, caller.Process(curl)},
		{"not found", holder.Message{}, caller.Process{}},
		{"failed", holder.Message{Error: "no", Process: &curl}, caller.Process{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			answered := make(chan struct{})
			go func() {
				defer close(answered)
				asked, _, err := theirs.Receive()
				if err != nil || asked.Kind != holder.KindFind || asked.Inode != 70 || asked.UID != another || asked.Client != client {
					t.Errorf("asked %+v, %v", asked, err)
				}
				tt.answer.Kind, tt.answer.ID = holder.KindAnswer, asked.ID
				if _, err := a.act(tt.answer); err != nil {
					t.Error(err)
				}
			}()
			if got, ok := a.find(c); got != tt.want || ok != (tt.want != caller.Process{}) {
				t.Errorf("found %+v, %t", got, ok)
			}
			<-answered
			if len(a.asks) != 0 {
				t.Error("the question is still waited for")
			}
		})
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.ask(ended, holder.Message{Kind: holder.KindFind}); !errors.Is(err, context.Canceled) {
		t.Errorf("not answered in time: %v", err)
	}
	close(a.lost)
	if _, ok := a.find(c); ok {
		t.Error("found without a holder")
	}
}

// The holder tells the owner's server whose a client's socket is, and nothing of other sockets: neither one that is connected elsewhere,
// nor one of whose connection the server knows wrongly.
func TestFindProcess(t *testing.T) {
	netns.Root(t)
	zone := netns.New(t)
	zone.Run(t, "ip", "address", "add", netsetup.Endpoint.Addr().String()+"/32", "dev", "lo")
	dial := func(listen netip.AddrPort) (netip.AddrPort, uint64) {
		var conn *net.TCPConn
		if err := zone.Do(func() error {
			l, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(listen))
			if err != nil {
				return err
			}
			t.Cleanup(func() { l.Close() })
			conn, err = net.DialTCP("tcp4", nil, net.TCPAddrFromAddrPort(listen))
			return err
		}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		raw, err := conn.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		var st unix.Stat_t
		if err := errors.Join(raw.Control(func(fd uintptr) { err = unix.Fstat(int(fd), &st) }), err); err != nil {
			t.Fatal(err)
		}
		return conn.LocalAddr().(*net.TCPAddr).AddrPort(), st.Ino
	}
	client, inode := dial(netsetup.Endpoint)
	elsewhere, other := dial(netip.MustParseAddrPort("127.0.0.1:8080"))
	uid := uint32(os.Getuid())
	for _, tt := range []struct {
		name   string
		inode  uint64
		uid    uint32
		client netip.AddrPort
		want   int // the process; 0 for none
	}{
		{"client", inode, uid, client, os.Getpid()},
		{"another socket", other, uid, client, 0},
		{"another user's", inode, another, client, 0},
		{"connected elsewhere", other, uid, elsewhere, 0},
		{"connected from nowhere", inode, uid, netip.MustParseAddrPort("127.0.0.1:1"), 0},
		{"no address", inode, uid, netip.AddrPort{}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got holder.Process
			var ok bool
			if err := zone.Do(func() error { got, ok = findProcess()(tt.inode, tt.uid, tt.client); return nil }); err != nil {
				t.Fatal(err)
			}
			if got.PID != tt.want || ok != (tt.want != 0) {
				t.Errorf("found %+v, %t; want process %d", got, ok, tt.want)
			}
		})
	}
}
