package netsetup

import (
	"fmt"
	"io"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"azimds/test/netns"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// bridged is a machine with bridges, a container on each, and a neighbour.
type bridged struct {
	host, named, matched, unnamed, neighbour *netns.NS
}

// newBridged gives the host the bridges br0 and br-1, which bridgedPlan names, and br1, which it does not, with one container
// each, and a neighbour who routes the endpoint by the host.
func newBridged(t *testing.T) bridged {
	t.Helper()
	b := bridged{netns.New(t), netns.New(t), netns.New(t), netns.New(t), netns.New(t)}
	b.build(t)
	return b
}

func (b bridged) build(t *testing.T) {
	t.Helper()
	for n, c := range []struct {
		bridge    string
		container *netns.NS
	}{{"br0", b.named}, {"br-1", b.matched}, {"br1", b.unnamed}} {
		b.host.Bridge(t, c.bridge, fmt.Sprintf("10.8.%d.1/24", n))
		b.host.Plug(t, c.bridge, c.container, fmt.Sprintf("10.8.%d.2/24", n), fmt.Sprintf("10.8.%d.1", n))
	}
	connect(t, b.host, b.neighbour)
}

func bridgedPlan(p Plan) Plan {
	p.Bridges = []string{"br0", "br-*"}
	return p
}

// answerBridges answers with "ours" to local clients and with the bridge's name to its container, with what that dialled.
func answerBridges(t *testing.T, host *netns.NS, p Plan) {
	t.Helper()
	answer(t, host, "ours", listenerFor(t, p))
	var bridges []Bridge
	do(t, host, func() (err error) {
		bridges, err = Bridges(t.Context(), p.Bridges)
		return err
	})
	for _, b := range bridges {
		answerWith(t, host, func(conn *net.TCPConn) string { return b.Name + ": " + dialled(t, conn) },
			func() (net.Listener, error) { return ListenBridge(t.Context(), p, b) })
	}
}

func listenerFor(t *testing.T, p Plan) func() (net.Listener, error) {
	return func() (net.Listener, error) { return Listen(t.Context(), p) }
}

// dialled is what a client dialled: SO_ORIGINAL_DST, where there was a redirection, else the connection's own address.
func dialled(t *testing.T, conn *net.TCPConn) string {
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Error(err)
		return ""
	}
	local := conn.LocalAddr().String()
	if err := raw.Control(func(fd uintptr) {
		// A struct sockaddr_in, which has the size of the struct that this call is for.
		original, err := unix.GetsockoptIPv6Mreq(int(fd), unix.SOL_IP, unix.SO_ORIGINAL_DST)
		if err != nil {
			return // no connection tracker
		}
		a := original.Multiaddr
		local = fmt.Sprintf("%s:%d", net.IP(a[4:8]), int(a[2])<<8|int(a[3]))
	}); err != nil {
		t.Error(err)
	}
	return local
}

// hears dials an address and returns the word, or why there is none.
func hears(t *testing.T, ns *netns.NS, addr string) (word string) {
	t.Helper()
	do(t, ns, func() error {
		conn, err := net.DialTimeout("tcp4", addr, dialTime)
		if err != nil {
			word = err.Error()
			return nil
		}
		defer conn.Close()
		heard, err := io.ReadAll(conn)
		word = string(heard)
		return err
	})
	return word
}

// A container on a bridge that is named comes to its bridge's listener, in each mode; nobody else does, by whichever way.
func TestBridgeReach(t *testing.T) {
	for _, p := range append(addressPlans(), rootPlan) {
		p := bridgedPlan(p)
		if p.onAddress() {
			p = refusing(preceding(p))
		}
		t.Run(string(p.Mode), func(t *testing.T) {
			backends(t, func(t *testing.T, ns *netns.NS) {
				b := bridged{ns, netns.New(t), netns.New(t), netns.New(t), netns.New(t)}
				b.build(t)
				before := snapshot(t, ns)
				guard(t, ns, p)
				answerBridges(t, ns, p)
				up(t, ns, p)
				reached(t, b, p)
				if report := check(t, ns, p); !report.OK() {
					t.Errorf("report %+v", report)
				}
				do(t, ns, func() error {
					_, err := Sweep(t.Context())
					return err
				})
				if diff := cmp.Diff(before, snapshot(t, ns)); diff != "" {
					t.Errorf("Sweep left (-before +after):\n%s", diff)
				}
			})
		})
	}
}

// reached dials from everywhere.
func reached(t *testing.T, b bridged, p Plan) {
	t.Helper()
	endpoint := Endpoint.String()
	for _, served := range []struct {
		name string
		from *netns.NS
		want string
	}{
		{"a local client", b.host, "ours"},
		{"the container of br0", b.named, "br0: " + endpoint},
		{"the container of br-1", b.matched, "br-1: " + endpoint},
	} {
		if word := hears(t, served.from, endpoint); word != served.want {
			t.Errorf("%s hears %q, want %q", served.name, word, served.want)
		}
	}
	for _, refused := range []struct {
		name string
		from *netns.NS
	}{{"the container of br1", b.unnamed}, {"the neighbour", b.neighbour}} {
		if word := hears(t, refused.from, endpoint); unheard(word) != nil {
			t.Errorf("%s, by route: %v", refused.name, unheard(word))
		}
	}
	b.neighbour.Run(t, "ip", "route", "replace", "169.254.169.254/32", "dev", "veth1") // it asks who has the address, by ARP
	if word := hears(t, b.neighbour, endpoint); unheard(word) != nil {
		t.Errorf("the neighbour, by ARP: %v", unheard(word))
	}
	if p.Mode != IPTables {
		return
	}
	for name, from := range map[string]*netns.NS{
		"the host": b.host, "the container of br0": b.named, "the container of br-1": b.matched, "the container of br1": b.unnamed, "the neighbour": b.neighbour,
	} {
		for _, addr := range []string{"10.8.0.1", "10.8.1.1", "10.8.2.1", "10.9.0.1", "127.0.0.1"} {
			if word := hears(t, from, fmt.Sprintf("%s:%d", addr, p.Backend.Port())); unheard(word) != nil {
				t.Errorf("%s dials the backend on %s: %v", name, addr, unheard(word))
			}
		}
	}
}

// unheard is nil for a dial that did not come to a server.
func unheard(word string) error {
	for _, refused := range []string{"connection refused", "i/o timeout", "no route to host", "network is unreachable"} {
		if strings.Contains(word, refused) {
			return nil
		}
	}
	return fmt.Errorf("it hears %q", word)
}

// What the guards of a bridge's backend are for: this shows that the test above can fail.
func TestBridgeUnguarded(t *testing.T) {
	_, err := exec.LookPath("iptables")
	netns.Need(t, "iptables", err)
	b, p := newBridged(t), bridgedPlan(rootPlan)
	answerBridges(t, b.host, p)
	up(t, b.host, p)
	do(t, b.host, func() error {
		for _, g := range slices.Backward(p.guards()) {
			if err := g.remove(t.Context(), NewHost(Options{}).kernel); err != nil {
				return err
			}
		}
		return nil
	})
	for name, from := range map[string]*netns.NS{"host": b.host, "container of br0": b.named} {
		if word := hears(t, from, "10.8.0.1:981"); word != "br0: 10.8.0.1:981" {
			t.Errorf("the %s hears %q", name, word)
		}
	}
}

// Docker's rule for published ports takes what containers dial on a local address, too, which the endpoint is in these modes.
func TestBridgePrecedesDocker(t *testing.T) {
	for _, p := range addressPlans() {
		for _, precedes := range []bool{false, true} {
			p := bridgedPlan(p)
			p.Precedes = precedes
			t.Run(fmt.Sprintf("%s, %v", p.Mode, precedes), func(t *testing.T) {
				_, err := exec.LookPath("iptables")
				netns.Need(t, "iptables", err)
				b := newBridged(t)
				others(t, b.neighbour, "10.9.0.2:80")
				b.host.Run(t, "sh", "-ec", `
					echo 1 >/proc/sys/net/ipv4/ip_forward
					iptables -t nat -A PREROUTING -m addrtype --dst-type LOCAL -p tcp --dport 80 -j DNAT --to-destination 10.9.0.2:80
					iptables -t nat -A POSTROUTING -o veth0 -j MASQUERADE`)
				guard(t, b.host, p)
				answerBridges(t, b.host, p)
				up(t, b.host, p)
				want := map[bool]string{false: "another's", true: "br0: " + Endpoint.String()}[precedes]
				if word := hears(t, b.named, Endpoint.String()); word != want {
					t.Errorf("the container of br0 hears %q, want %q", word, want)
				}
			})
		}
	}
}
