//go:build azimdsvm

package netsetup

import (
	"errors"
	"io"
	"net"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"azimds/test/netns"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// The tests in this file need a kernel with links of type dummy. test/vm runs them in a machine that has one, together with
// those of the other files that then include mode dummy.

// inMachine tells that the tests run in the machine of test/vm, where each takes ten times as long.
const inMachine = true

func TestKernelHasDummy(t *testing.T) {
	if !hasDummy() {
		t.Fatal("this kernel has no links of type dummy")
	}
}

// listenOn opens a listener on the endpoint that is bound to a device, or to none.
func listenOn(t *testing.T, device string) func() (net.Listener, error) {
	return func() (net.Listener, error) {
		config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
			return errors.Join(c.Control(func(fd uintptr) {
				if device != "" {
					err = unix.BindToDevice(int(fd), device)
				}
			}), err)
		}}
		return config.Listen(t.Context(), "tcp4", Endpoint.String())
	}
}

// The kernel reports the device that holds an address as the one on which local connections to it come in, and answers
// neighbours for it as well: only a listener bound to that very device has the one and not the other.
func TestDummyDevice(t *testing.T) {
	const refused = "connection refused"
	for _, tt := range []struct{ device, local, neighbour string }{
		{"", "ours", "ours"},
		{loopbackDevice, refused, refused},
		{"veth0", refused, "ours"},
		{dummyDevice, "ours", refused},
	} {
		t.Run("listener on "+tt.device, func(t *testing.T) {
			host, neighbour := netns.New(t), netns.New(t)
			connect(t, host, neighbour)
			up(t, host, dummyPlan)
			answer(t, host, "ours", listenOn(t, tt.device))
			if word := whoAnswers(t, host); !strings.Contains(word, tt.local) {
				t.Errorf("a local client: %q, want %q", word, tt.local)
			}
			if word := whoAnswers(t, neighbour); !strings.Contains(word, tt.neighbour) {
				t.Errorf("the neighbour: %q, want %q", word, tt.neighbour)
			}
		})
	}
}

func listenerOf(t *testing.T, p Plan) func() (net.Listener, error) {
	return func() (net.Listener, error) { return Listen(t.Context(), p) }
}

// While the link is down, answers are lost. Up mends that, and the listener goes on.
func TestDummyLinkDown(t *testing.T) {
	ns := netns.New(t)
	up(t, ns, dummyPlan)
	answer(t, ns, "ours", listenerOf(t, dummyPlan))
	ns.Run(t, "ip", "link", "set", dummyDevice, "down")
	if word := whoAnswers(t, ns); !strings.Contains(word, "timeout") {
		t.Errorf("link down: %q", word)
	}
	if diff := cmp.Diff(Report{Delta: []string{"ip link set azimds0 up"}}, check(t, ns, dummyPlan)); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
	up(t, ns, dummyPlan)
	if word := whoAnswers(t, ns); word != "ours" {
		t.Errorf("after Up: %q", word)
	}
}

// A listener ends with its link: with another of the same name a new one is needed.
func TestDummyLinkMadeAgain(t *testing.T) {
	ns := netns.New(t)
	up(t, ns, dummyPlan)
	old := answer(t, ns, "ours", listenerOf(t, dummyPlan))
	ns.Run(t, "ip", "link", "del", dummyDevice)
	if diff := cmp.Diff(strings.Fields(dummyPlan.String()), strings.Fields(strings.Join(check(t, ns, dummyPlan).Delta, "\n"))); diff != "" {
		t.Errorf("delta (-want +got):\n%s", diff)
	}
	up(t, ns, dummyPlan)
	if word := whoAnswers(t, ns); !strings.Contains(word, "connection refused") {
		t.Errorf("the old listener: %q", word)
	}
	old.Close()
	answer(t, ns, "ours", listenerOf(t, dummyPlan))
	if word := whoAnswers(t, ns); word != "ours" {
		t.Errorf("a new listener: %q", word)
	}
}

// A link that somebody deleted is made again, with a listener that is handed over and answers; one that is down is set up, and its
// listener kept.
func TestDummyMended(t *testing.T) {
	ns := netns.New(t)
	p := preceding(refusing(dummyPlan))
	up(t, ns, p)
	ln := listening(t, ns, p)
	for _, damage := range []string{"ip link set azimds0 down", "ip link del azimds0"} {
		ns.Run(t, "sh", "-ec", damage)
		var next *net.TCPListener
		do(t, ns, func() error {
			found, err := NewHost(Options{}).Mend(t.Context(), p, ln, func(ln *net.TCPListener) error {
				if now := check(t, ns, p); !slices.Contains(now.Delta, p.addresses()[0].adding()) {
					t.Errorf("%s: the listener is handed over late: %+v", damage, now)
				}
				next = ln
				return nil
			})
			if len(found.Missing) == 0 {
				t.Errorf("%s: nothing was missing", damage)
			}
			return err
		})
		if deleted := damage == "ip link del azimds0"; deleted != (next != nil) {
			t.Fatalf("%s: the new listener is %v", damage, next)
		}
		if next != nil {
			ln = next
			t.Cleanup(func() { next.Close() })
		}
		if said := dialIn(t, ns, p.Endpoint.String()); said != "connected" {
			t.Errorf("%s: a client: %s", damage, said)
		}
		accept(t, ln)
	}
	if r := check(t, ns, p); !r.OK() {
		t.Errorf("left %+v", r)
	}
}

// What has our name or our group alone is somebody else's, and so is an address that somebody put on our link.
func TestDummyForeign(t *testing.T) {
	tests := []struct {
		name, make, want string
	}{
		{"link of our name", "ip link add azimds0 type dummy", "device azimds0, a link of type dummy in group 0"},
		{"link of our name and group", "ip link add azimds0 group 169254 type veth peer name other0",
			"device azimds0, a link of type veth in group 169254"},
		{"link of our name with an alias", "ip link add azimds0 type dummy; ip link set azimds0 alias azimds up",
			"device azimds0, a link of type dummy in group 0"},
		{"link of our group", "ip link add other0 group 169254 type dummy", ""},
		{"address elsewhere", "ip link add other0 type dummy; ip addr add 169.254.169.254/32 dev other0",
			"address 169.254.169.254/32 of device other0"},
		{"label of ours elsewhere", "ip link add other0 type dummy; ip addr add 10.1.1.1/24 dev other0 label other0:azimds", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ns := netns.New(t)
			ns.Run(t, "sh", "-ec", tt.make)
			before := ns.Run(t, "ip", "-d", "addr")
			err := ns.Do(func() error { return NewHost(Options{}).Up(t.Context(), dummyPlan) })
			foreign, refused := errors.AsType[*ForeignError](err)
			if refused != (tt.want != "") || refused && foreign.Error() != (&ForeignError{What: []string{tt.want}}).Error() || !refused && err != nil {
				t.Errorf("Up: %v, want %q", err, tt.want)
			}
			down(t, ns, dummyPlan)
			if diff := cmp.Diff(before, ns.Run(t, "ip", "-d", "addr")); diff != "" {
				t.Errorf("devices (-before +after):\n%s", diff)
			}
		})
	}
}

func TestDummyLinkShared(t *testing.T) {
	ns := netns.New(t)
	up(t, ns, dummyPlan)
	ns.Run(t, "ip", "addr", "add", "10.1.1.1/24", "dev", dummyDevice)
	err := ns.Do(func() error { return NewHost(Options{}).Down(t.Context(), dummyPlan) })
	const want = "refusing to touch what is not ours: address 10.1.1.1/24 of our device azimds0"
	if err == nil || err.Error() != want {
		t.Errorf("Down: %v, want %s", err, want)
	}
	if addrs := ns.Run(t, "ip", "-4", "addr", "show", dummyDevice); !strings.Contains(addrs, "10.1.1.1/24") || strings.Contains(addrs, "169.254.169.254") {
		t.Errorf("addresses after Down:\n%s", addrs)
	}
}

// With a wider scope than the host's the address would become the source of other traffic.
func TestDummyScope(t *testing.T) {
	for scope, taken := range map[string]bool{"host": false, "global": true} {
		ns := netns.New(t)
		ns.Run(t, "sh", "-ec", "ip link add other0 up type dummy; ip route add default dev other0")
		up(t, ns, dummyPlan)
		ns.Run(t, "sh", "-ec", "ip addr del 169.254.169.254/32 dev azimds0; ip addr add 169.254.169.254/32 dev azimds0 scope "+scope)
		route := ns.Run(t, "ip", "route", "get", "192.0.2.1")
		if strings.Contains(route, "169.254.169.254") != taken {
			t.Errorf("scope %s: %s", scope, route)
		}
	}
}

// The client's address is the endpoint's own, and a client needs no route.
func TestDummyClientAddress(t *testing.T) {
	ns := netns.New(t)
	up(t, ns, dummyPlan)
	answer(t, ns, "ours", listenerOf(t, dummyPlan))
	do(t, ns, func() error {
		conn, err := net.DialTimeout("tcp4", Endpoint.String(), dialTime)
		if err != nil {
			return err
		}
		defer conn.Close()
		if got := conn.LocalAddr().(*net.TCPAddr).AddrPort().Addr(); got != Endpoint.Addr() {
			t.Errorf("client's address %s", got)
		}
		_, err = io.ReadAll(conn)
		return err
	})
}

// Where the kernel has no netfilter, auto chooses a mode without, also when there is an iptables program. Only in a machine
// whose modules were taken away: it is run by its name.
func TestNoNetfilter(t *testing.T) {
	named(t, func() (string, error) { return "/usr/sbin/iptables-nft", nil })
	for _, program := range []string{"/usr/sbin/iptables-nft", "/usr/sbin/iptables-legacy"} {
		if out, err := exec.Command(program, "-t", "nat", "-S").CombinedOutput(); err == nil || !lacking(string(out)) {
			t.Fatalf("%s: %v\n%s", program, err, out)
		}
	}
	ns := netns.New(t)
	before := ns.Run(t, "ip", "-d", "addr")
	p, reason := begin(t, ns, Want{Mode: Auto})
	if !reflect.DeepEqual(p, loopbackPlan) || !strings.Contains(reason, ErrNoNetfilter.Error()) {
		t.Errorf("plan %+v, %s", p, reason)
	}
	if word := whoAnswers(t, ns); word != "ours" {
		t.Errorf("%q answers", word)
	}
	down(t, ns, p)
	if diff := cmp.Diff(before, ns.Run(t, "ip", "-d", "addr")); diff != "" {
		t.Errorf("devices (-before +after):\n%s", diff)
	}
}

// What mode iptables left is replaced, and the other way round.
func TestDummyAfterIPTables(t *testing.T) {
	ns := netns.New(t)
	before := ns.Run(t, "ip", "-d", "addr") + ns.Run(t, "ip", "rule")
	for _, p := range []Plan{rootPlan, dummyPlan, rootPlan} {
		up(t, ns, p)
		if report := check(t, ns, p); !report.OK() {
			t.Errorf("%s: report %+v", p.Mode, report)
		}
	}
	down(t, ns, rootPlan)
	if diff := cmp.Diff(before, ns.Run(t, "ip", "-d", "addr")+ns.Run(t, "ip", "rule")); diff != "" {
		t.Errorf("namespace (-before +after):\n%s", diff)
	}
}
