package netsetup

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"azimds/test/netns"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// Whoever dials the backend directly takes source ports away from the owner: behind REDIRECT the server sees another one
// than the client has, so that the client cannot be found. The guard prevents it, from the first moment there is a listener.
func TestDirectDials(t *testing.T) {
	p := rootPlan
	unguard := func(t *testing.T, ns *netns.NS) {
		do(t, ns, func() error { return p.guards()[0].remove(t.Context(), NewHost(Options{}).kernel) })
	}
	tests := []struct {
		name     string
		steps    string // of: guard, listen, up, unguard, dial
		taken    bool   // the owner loses the source ports of the dials
		accepted bool   // the dials are
	}{
		{"before the listener", "dial listen up", false, false},
		{"after Up", "listen up dial", false, false},
		{"after Guard", "guard listen dial up", false, false},
		// What the guard is for: these show that the test can fail.
		{"before Up without Guard", "listen dial up", true, true},
		{"after Up, guard gone", "listen up unguard dial", true, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			backends(t, func(t *testing.T, ns *netns.NS) {
				var ln *net.TCPListener
				for step := range strings.FieldsSeq(tt.steps) {
					switch step {
					case "guard":
						guard(t, ns, p)
					case "unguard":
						unguard(t, ns)
					case "up":
						up(t, ns, p)
					case "listen":
						ln = listening(t, ns, p)
					case "dial":
						dialDirectly(t, ns, p, ln, tt.accepted)
					}
				}
				for _, port := range strangersPorts {
					conn := dialFrom(t, ns, port, p.Endpoint)
					if conn == nil {
						t.Fatalf("the owner's port %d: not connected", port)
					}
					if seen := accept(t, ln); (seen != port) != tt.taken {
						t.Errorf("the owner's port %d: the server sees %d", port, seen)
					}
				}
			})
		})
	}
}

// strangersPorts are the source ports of a stranger's dials, and then of the owner's.
var strangersPorts = []uint16{40001, 40002, 40003, 40004, 40005}

func dialDirectly(t *testing.T, ns *netns.NS, p Plan, ln *net.TCPListener, accepted bool) {
	t.Helper()
	for _, port := range strangersPorts {
		conn := dialFrom(t, ns, port, p.Backend)
		if (conn != nil) != accepted {
			t.Fatalf("dialling %s directly from port %d: accepted %v, want %v", p.Backend, port, !accepted, accepted)
		}
		if accepted {
			accept(t, ln)
		}
	}
}

// dialFrom connects from a source port that may have another connection, to elsewhere, and closes when the test ends. It
// is nil when the dial is refused.
func dialFrom(t *testing.T, ns *netns.NS, port uint16, to netip.AddrPort) (conn net.Conn) {
	t.Helper()
	dialer := net.Dialer{
		Timeout:   dialTime,
		LocalAddr: &net.TCPAddr{IP: backendAddr.AsSlice(), Port: int(port)},
		Control: func(_, _ string, c syscall.RawConn) (err error) {
			return errors.Join(c.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
			}), err)
		},
	}
	do(t, ns, func() (err error) {
		conn, err = dialer.DialContext(t.Context(), "tcp4", to.String())
		if errors.Is(err, syscall.ECONNREFUSED) {
			conn, err = nil, nil
		}
		return err
	})
	if conn != nil {
		t.Cleanup(func() { conn.Close() })
	}
	return conn
}

// listening opens the plan's listener, whose connections the test accepts.
func listening(t *testing.T, ns *netns.NS, p Plan) (ln *net.TCPListener) {
	t.Helper()
	do(t, ns, func() (err error) {
		ln, err = Listen(t.Context(), p)
		return err
	})
	t.Cleanup(func() { ln.Close() })
	return ln
}

// accept waits for a connection, keeps it until the test ends, and says which source port it has for the server.
func accept(t *testing.T, ln *net.TCPListener) uint16 {
	t.Helper()
	if err := ln.SetDeadline(time.Now().Add(dialTime)); err != nil {
		t.Fatal(err)
	}
	conn, err := ln.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.RemoteAddr().(*net.TCPAddr).AddrPort().Port()
}

// Guard makes the first step of Up, once, and Up goes on from there.
func TestGuard(t *testing.T) {
	var got []string
	h := newFakeHost()
	i := h.interceptor(Options{After: func(phase string, step int, name string) {
		program, _, _ := strings.Cut(name, " 1")
		got = append(got, fmt.Sprint(phase, " ", step, " ", program))
	}})
	if err := i.Guard(t.Context(), iptablesPlan); err != nil {
		t.Fatal(err)
	}
	if err := i.Up(t.Context(), iptablesPlan); err != nil {
		t.Fatal(err)
	}
	for range 2 { // nothing to do any more
		if err := i.Guard(t.Context(), iptablesPlan); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{
		"up 0 iptables -t filter -I OUTPUT",
		"up 1 iptables -t filter -I OUTPUT 2 -d",
		"up 2 ip route add local",
		"up 3 ip rule add iif lo to",
		"up 4 iptables -t nat -N AZIMDS",
		"up 5 iptables -t nat -I AZIMDS",
		"up 6 iptables -t nat -I OUTPUT",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	if err := i.Guard(t.Context(), Plan{}); err == nil {
		t.Error("Guard of nothing is no error")
	}
}

// Guard of mode dummy makes the link, and not the address.
func TestGuardDummy(t *testing.T) {
	var got []string
	h := newFakeHost()
	h.noFirewall = ErrNoIPTables
	i := h.interceptor(Options{After: func(phase string, step int, name string) {
		got = append(got, fmt.Sprint(phase, " ", step, " ", name))
	}})
	for _, step := range []func(context.Context, Plan) error{i.Guard, i.Up, i.Guard, i.Up} { // the last two have nothing to do
		if err := step(t.Context(), dummyPlan); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{
		"up 0 ip link add azimds0 group 169254 type dummy",
		"up 1 ip link set azimds0 up",
		"up 2 ip addr add 169.254.169.254/32 dev azimds0 scope host label azimds0:azimds",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	_, foreign := errors.AsType[*ForeignError](foreignLink().interceptor(Options{}).Guard(t.Context(), dummyPlan))
	if !foreign {
		t.Error("Guard took somebody else's link for ours")
	}
	bare := newFakeHost()
	bare.noDummy = true
	if err := bare.interceptor(Options{}).Guard(t.Context(), dummyPlan); !errors.Is(err, ErrNoDummy) {
		t.Errorf("Guard without the module: %v, want ErrNoDummy", err)
	}
}

// Guard of mode loopback has nothing to do, also where there is no iptables.
func TestGuardLoopback(t *testing.T) {
	h := newFakeHost()
	h.noFirewall = ErrNoIPTables
	if err := h.interceptor(Options{}).Guard(t.Context(), loopbackPlan); err != nil || h.calls > 0 {
		t.Errorf("Guard: %v, after %d calls", err, h.calls)
	}
	if err := h.interceptor(Options{}).Guard(t.Context(), iptablesPlan); !errors.Is(err, ErrNoIPTables) {
		t.Errorf("Guard of mode iptables: %v, want ErrNoIPTables", err)
	}
}

func guardFailures(t *testing.T, name string, start *fakeHost, p Plan) {
	t.Helper()
	for n := 1; ; n++ {
		h := start.clone()
		h.calls, h.failAt = 0, n
		err := h.interceptor(Options{}).Guard(t.Context(), p)
		if h.calls < n {
			return
		}
		if !errors.Is(err, errInjected) {
			t.Fatalf("%s, %s, call %d: error %v, want the injected one", name, p.Mode, n, err)
		}
		if diff := cmp.Diff(start.String(), h.String()); diff != "" {
			t.Fatalf("%s, %s, call %d (-before +after):\n%s", name, p.Mode, n, diff)
		}
	}
}

// A call that fails, or a context that ends, leaves Guard with what was before.
func TestGuardFailure(t *testing.T) {
	for name, start := range starts(t) {
		for _, p := range []Plan{exemptPlan, dummyPlan} {
			guardFailures(t, name, start, p)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	h := newFakeHost()
	if err := h.interceptor(Options{}).Guard(ended, iptablesPlan); !errors.Is(err, context.Canceled) {
		t.Errorf("Guard under an ended context: %v", err)
	}
}
