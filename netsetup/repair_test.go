package netsetup

import (
	"context"
	"errors"
	"net"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"azimds/test/netns"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// mend mends a plan in a fake host, whose listener is well or nil.
func mend(t *testing.T, h *fakeHost, p Plan, ln syscall.Conn) (Mended, error) {
	t.Helper()
	return h.interceptor(Options{}).Mend(t.Context(), p, ln, func(ln *net.TCPListener) error {
		t.Error("another listener")
		return ln.Close()
	})
}

// listener is one that is bound to no device.
func listener(t *testing.T) syscall.Conn {
	t.Helper()
	ln, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

// Each piece of each plan that is taken away is named and put back; where nothing is missing, nothing is done.
func TestMendEachPiece(t *testing.T) {
	ln := listener(t)
	for name, p := range map[string]Plan{
		"loopback": refusing(preceding(loopbackPlan)), "dummy": preceding(dummyPlan), "iptables": exemptPlan, "several": severalByIPTables,
	} {
		whole := newFakeHost()
		if err := whole.interceptor(Options{}).Up(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		for _, lost := range p.pieces() {
			t.Run(name+": "+lost.adding(), func(t *testing.T) {
				h := whole.clone()
				if c, ok := lost.(chain); ok { // with what is in it and leads to it
					delete(h.chains, c)
					h.chains[natOutput] = slices.DeleteFunc(h.chains[natOutput], isOurJump)
				} else if err := lost.remove(t.Context(), h.interceptor(Options{}).kernel); err != nil {
					t.Fatal(err)
				}
				found, err := mend(t, h, p, ln)
				if err != nil || !slices.Contains(found.Missing, lost.adding()) || !reflect.DeepEqual(p, found.Plan) {
					t.Errorf("mended %+v, %v", found, err)
				}
				if diff := cmp.Diff(whole.String(), h.String()); diff != "" {
					t.Errorf("host (-whole +mended):\n%s", diff)
				}
				if found, err := mend(t, h, p, ln); err != nil || len(found.Missing) > 0 {
					t.Errorf("mended again: %+v, %v", found, err)
				}
			})
		}
	}
}

// What comes before a rule of ours is noticed, and comes after it then. Rules that no plan had to precede are preceded from
// then on, and stay so when they have gone.
func TestMendOrder(t *testing.T) {
	ln := listener(t)
	for _, tt := range []struct {
		name    string
		plan    Plan
		chain   chain
		missing bool
	}{
		{"before the jump", iptablesPlan, natOutput, true},
		{"before the guards", iptablesPlan, filterOutput, true},
		{"before a bridge's guard", severalByIPTables, filterInput, true},
		{"before a bridge's redirection", severalByIPTables, natPrerouting, true},
		{"before the guard of an address", refusing(loopbackPlan), filterOutput, true},
		{"in OUTPUT, later", loopbackPlan, natOutput, true},
		{"in PREROUTING, later", with(loopbackPlan, func(p *Plan) { p.Bridges = []string{"br0"} }), natPrerouting, true},
		{"in PREROUTING, where no bridge is served", loopbackPlan, natPrerouting, false},
		{"in filter, where nothing is refused", loopbackPlan, filterOutput, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newFakeHost()
			h.chains[natOutput], h.chains[natPrerouting] = nil, nil
			if err := h.interceptor(Options{}).Up(t.Context(), tt.plan); err != nil {
				t.Fatal(err)
			}
			h.chains[tt.chain] = slices.Insert(h.chains[tt.chain], 0, "-p tcp -j ACCEPT")
			found, err := mend(t, h, tt.plan, ln)
			if err != nil || (len(found.Missing) > 0) != tt.missing {
				t.Fatalf("mended %+v, %v", found, err)
			}
			if first := h.chains[tt.chain][0]; strings.Contains(first, "azimds") != tt.missing {
				t.Errorf("first is %q", first)
			}
			h.chains[tt.chain] = slices.DeleteFunc(h.chains[tt.chain], func(spec string) bool { return spec == "-p tcp -j ACCEPT" })
			if found, err := mend(t, h, found.Plan, ln); err != nil || len(found.Missing) > 0 {
				t.Errorf("without it, mended %+v, %v", found, err)
			}
		})
	}
}

// What cannot be mended is said, with what is missing.
func TestMendFails(t *testing.T) {
	ln := listener(t)
	h := newFakeHost()
	p := preceding(loopbackPlan)
	if err := h.interceptor(Options{}).Up(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	h.objects = append(h.objects, address{p.prefix(), "eth0", "eth0"})
	found, err := mend(t, h, p, ln)
	if _, ok := errors.AsType[*ForeignError](err); !ok || !slices.Equal(found.Missing, []string{"address 169.254.169.254/32 of device eth0"}) {
		t.Errorf("beside somebody else's address: %+v, %v", found, err)
	}
	h.objects = h.objects[:len(h.objects)-1]
	if _, err := mend(t, h, p, closed(t)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("with a closed listener: %v", err)
	}
	for n := 1; ; n++ {
		broken := newFakeHost()
		broken.failAt = n
		_, err := mend(t, broken, loopbackPlan, ln)
		if broken.calls < n {
			break // it never came to that call
		}
		if !errors.Is(err, errInjected) {
			t.Errorf("failure of call %d: %v", n, err)
		}
	}
}

// A listener whose device has gone is replaced by one on the plan's device, on which a client is answered; one that is well is kept.
func TestMendListener(t *testing.T) {
	ns := netns.New(t)
	p := loopbackPlan
	up(t, ns, p)
	ns.Run(t, "ip", "link", "add", "br0", "type", "bridge")
	var ended *net.TCPListener
	do(t, ns, func() (err error) {
		ended, err = listenOnDevice(t.Context(), p.Endpoint, "br0")
		return err
	})
	defer ended.Close()
	var got *net.TCPListener
	try := func() (found Mended) {
		do(t, ns, func() (err error) {
			found, err = NewHost(Options{}).Mend(context.Background(), p, ended, func(ln *net.TCPListener) error {
				got = ln
				return nil
			})
			return err
		})
		return found
	}
	if found := try(); len(found.Missing) > 0 || got != nil {
		t.Errorf("with its device: %+v, listener %v", found, got)
	}
	ns.Run(t, "ip", "link", "del", "br0")
	ns.Run(t, "ip", "link", "add", "br0", "type", "bridge") // under the same name, and another
	if found := try(); !slices.Equal(found.Missing, []string{goneListener}) || got == nil {
		t.Fatalf("without: %+v, listener %v", found, got)
	}
	defer got.Close()
	if said := dialIn(t, ns, p.Endpoint.String()); said != "connected" {
		t.Errorf("a client: %s", said)
	}
	if yes, err := attached(got); !yes || err != nil {
		t.Errorf("the new listener is attached: %v, %v", yes, err)
	}
	if _, err := attached(closed(t)); err == nil {
		t.Error("a closed listener is attached or not")
	}
	do(t, ns, func() error {
		err := NewHost(Options{}).relisten(t.Context(), p, func(*net.TCPListener) error { return nil })
		if !errors.Is(err, unix.EADDRINUSE) {
			t.Errorf("beside the new one: %v", err)
		}
		return nil
	})
}

func closed(t *testing.T) syscall.Conn {
	t.Helper()
	ln := listener(t).(*net.TCPListener)
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	return ln
}

// What others take away in the kernel, by each back end of iptables, is noticed, and a client is answered after the repair and not
// before, where the owner depends on it.
func TestMendHost(t *testing.T) {
	const jumped = "-d 169.254.169.254/32 -p tcp -j ACCEPT"
	for _, tt := range []struct {
		plan    Plan
		damage  string
		answers bool // before the repair
	}{
		{rootPlan, "iptables -t nat -F", false},
		{rootPlan, "iptables -t nat -F AZIMDS", false},
		{rootPlan, "iptables -t nat -F; iptables -t nat -X", false},
		{rootPlan, "iptables -t nat -I OUTPUT " + jumped, false},
		{rootPlan, "iptables -F", true},
		{rootPlan, "iptables -I OUTPUT " + jumped, true},
		{rootPlan, "ip rule del pref 40000 proto 169", false},
		{rootPlan, "ip route flush table 169254 proto 169", false},
		{refusing(preceding(loopbackPlan)), "ip addr del 169.254.169.254/32 dev lo", false},
		{refusing(preceding(loopbackPlan)), "iptables -t nat -F", true},
		{refusing(preceding(loopbackPlan)), "iptables -t nat -I OUTPUT -p tcp --dport 80 -j REDIRECT --to-ports 9", false},
		{refusing(preceding(loopbackPlan)), "iptables -F", true},
	} {
		t.Run(string(tt.plan.Mode)+" "+tt.damage, func(t *testing.T) {
			backends(t, func(t *testing.T, ns *netns.NS) {
				up(t, ns, tt.plan)
				ln := listening(t, ns, tt.plan)
				ns.Run(t, "sh", "-ec", tt.damage)
				if said := dialIn(t, ns, Endpoint.String()); (said == "connected") != tt.answers {
					t.Errorf("damaged: %s", said)
				}
				for n := range 2 {
					var found Mended
					do(t, ns, func() (err error) {
						found, err = NewHost(Options{}).Mend(t.Context(), tt.plan, ln, func(*net.TCPListener) error { return errInjected })
						return err
					})
					if (len(found.Missing) > 0) != (n == 0) {
						t.Errorf("mended %d: %q", n, found.Missing)
					}
				}
				if said := dialIn(t, ns, Endpoint.String()); said != "connected" {
					t.Errorf("mended: %s", said)
				}
			})
		})
	}
}
