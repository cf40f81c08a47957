package netsetup

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"reflect"
	"strings"
	"sync"
	"testing"

	"azimds/test/netns"

	"github.com/google/go-cmp/cmp"
)

// answer opens a listener whose every connection is told a word, until the test ends.
func answer(t *testing.T, ns *netns.NS, word string, open func() (net.Listener, error)) net.Listener {
	t.Helper()
	return answerWith(t, ns, func(*net.TCPConn) string { return word }, open)
}

// answerWith opens a listener whose every connection is told a word of its own, until the test ends.
func answerWith(t *testing.T, ns *netns.NS, word func(*net.TCPConn) string, open func() (net.Listener, error)) net.Listener {
	t.Helper()
	var ln net.Listener
	do(t, ns, func() (err error) {
		ln, err = open()
		return err
	})
	var ended sync.WaitGroup
	ended.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, word(conn.(*net.TCPConn))) // who does not hear it says so
			conn.Close()
		}
	})
	t.Cleanup(func() { ln.Close(); ended.Wait() })
	return ln
}

// others answers on an address as somebody else.
func others(t *testing.T, ns *netns.NS, addr string) {
	t.Helper()
	answer(t, ns, "another's", func() (net.Listener, error) { return net.Listen("tcp4", addr) })
}

// whoAnswers dials the endpoint and returns the word, or why there is none.
func whoAnswers(t *testing.T, ns *netns.NS) string {
	t.Helper()
	return hears(t, ns, Endpoint.String())
}

// begin does what a holder does from a wish to the interception: choose, plan, guard, listen, up.
func begin(t *testing.T, ns *netns.NS, w Want) (p Plan, reason string) {
	t.Helper()
	do(t, ns, func() error {
		mode, why, err := Choose(t.Context(), w)
		if err != nil {
			return err
		}
		p, reason = Plan{Mode: mode, Endpoint: Endpoint, Backend: Endpoint}, why
		if mode == IPTables {
			if p.Backend, err = FreeBackendPort(t.Context()); err != nil {
				return err
			}
		}
		if p, err = Adapt(t.Context(), p, w); err != nil {
			return err
		}
		return NewHost(Options{}).Guard(t.Context(), p)
	})
	answer(t, ns, "ours", func() (net.Listener, error) { return Listen(t.Context(), p) })
	up(t, ns, p)
	return p, reason
}

// docker publishes port 80 of another namespace as Docker and the portmap plugin of CNI do. The first rule stands before
// those of plantCanaries, one of which would end the matter.
func docker(t *testing.T, host *netns.NS) {
	t.Helper()
	container := netns.New(t)
	connect(t, host, container)
	others(t, container, "10.9.0.2:80")
	for _, command := range []string{
		"iptables -t nat -N DOCKER",
		"iptables -t nat -I OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER",
		"iptables -t nat -A DOCKER ! -i veth0 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.9.0.2:80",
	} {
		host.Run(t, "sh", "-c", command)
	}
}

// emulator answers at the endpoint from an address that is not ours.
func emulator(t *testing.T, ns *netns.NS) {
	t.Helper()
	ns.Run(t, "ip", "addr", "add", "169.254.169.254/32", "dev", "lo")
	others(t, ns, Endpoint.String())
}

// What Choose chooses works: a client of the owner's comes to our listener and to nobody else's, and afterwards everything is
// as it was.
func TestChosenModeWorks(t *testing.T) {
	const shadowed = "as this network namespace is not the host's"
	tests := []struct {
		name   string
		wish   Mode
		around func(*testing.T, *netns.NS)
		want   Plan // without its backend
		says   string
	}{
		{"no route at all", Auto, nil, Plan{Mode: IPTables}, "leaves other users"},
		{"no route at all", Loopback, nil, Plan{Mode: Loopback, Precedes: true, Refuses: true}, "asked for"},
		{"no route at all", Dummy, nil, Plan{Mode: Dummy, Precedes: true, Refuses: true}, "asked for"},
		{"server on port 80", Auto, func(t *testing.T, ns *netns.NS) { others(t, ns, "0.0.0.0:80") }, Plan{Mode: IPTables}, "port 80 alone"},
		{"Docker's published port", Auto, docker, Plan{Mode: IPTables}, "works here"},
		{"Docker's published port", Loopback, docker, Plan{Mode: Loopback, Precedes: true, Refuses: true}, "asked for"},
		{"Docker's published port", Dummy, docker, Plan{Mode: Dummy, Precedes: true, Refuses: true}, "asked for"},
		{"another's emulator", Auto, emulator, Plan{Mode: IPTables, Shadows: true}, shadowed},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%s, mode %s", tt.name, tt.wish), func(t *testing.T) {
			if tt.wish == Dummy && !hasDummy() {
				return // TestDummyOnThisKernel says what then is so, and test/vm runs this where it is not
			}
			backends(t, func(t *testing.T, ns *netns.NS) {
				if tt.around != nil {
					tt.around(t, ns)
				}
				before := snapshot(t, ns)
				p, reason := begin(t, ns, Want{Mode: tt.wish})
				if !strings.Contains(reason, tt.says) {
					t.Errorf("reason %q, want %q in it", reason, tt.says)
				}
				if word := whoAnswers(t, ns); word != "ours" {
					t.Errorf("%q answers", word)
				}
				if report := check(t, ns, p); !report.OK() {
					t.Errorf("report %+v", report)
				}
				down(t, ns, p)
				if diff := cmp.Diff(before, snapshot(t, ns)); diff != "" {
					t.Errorf("namespace (-before +after):\n%s", diff)
				}
				p.Endpoint, p.Backend = tt.want.Endpoint, tt.want.Backend
				if diff := cmp.Diff(tt.want, p, planText); diff != "" {
					t.Errorf("plan (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestChosenModeWorksWithoutIPTables(t *testing.T) {
	_, err := exec.LookPath("iptables-save")
	netns.Need(t, "iptables-save", err)
	withoutIPTables(t)
	ns := netns.New(t)
	before := snapshot(t, ns)
	p, reason := begin(t, ns, Want{Mode: Auto})
	if !reflect.DeepEqual(p, loopbackPlan) || !strings.Contains(reason, "no iptables program") {
		t.Errorf("plan %+v, %s", p, reason)
	}
	if word := whoAnswers(t, ns); word != "ours" {
		t.Errorf("%q answers", word)
	}
	down(t, ns, p)
	if diff := cmp.Diff(before, snapshot(t, ns)); diff != "" {
		t.Errorf("namespace (-before +after):\n%s", diff)
	}
}

// What Precedes is for: this shows that the test above can fail.
func TestDockerTakesLocalAddresses(t *testing.T) {
	backends(t, func(t *testing.T, ns *netns.NS) {
		docker(t, ns)
		answer(t, ns, "ours", func() (net.Listener, error) { return Listen(t.Context(), loopbackPlan) })
		up(t, ns, loopbackPlan)
		if word := whoAnswers(t, ns); word != "another's" {
			t.Errorf("without a rule before Docker's %q answers, want another's", word)
		}
		up(t, ns, preceding(loopbackPlan))
		if word := whoAnswers(t, ns); word != "ours" {
			t.Errorf("with it %q answers", word)
		}
	})
}

// Somebody else's emulator is left alone in the host's namespace, and by a mode asked for by name, unless told otherwise.
func TestChooseBesideEmulator(t *testing.T) {
	_, err := exec.LookPath("iptables")
	netns.Need(t, "iptables", err)
	ns := netns.New(t)
	emulator(t, ns)
	for _, host := range []bool{false, true} {
		if host {
			onHost(t)
		}
		for _, mode := range []Mode{Auto, IPTables} {
			refused := host || mode != Auto
			if _, err := choose(t, ns, Want{Mode: mode}); errors.Is(err, ErrMetadataService) != refused {
				t.Errorf("Choose %s, in the host's namespace %v: %v", mode, host, err)
			}
			if got, err := choose(t, ns, Want{Mode: mode, ShadowMetadata: true}); got != IPTables || err != nil {
				t.Errorf("Choose %s, shadowing, in the host's namespace %v: %q, %v", mode, host, got, err)
			}
		}
	}
}

func TestAdapt(t *testing.T) {
	bare := newFakeHost()
	bare.noFirewall = ErrNoIPTables
	empty := newFakeHost()
	empty.chains[natOutput] = nil
	failing := func(call int) *fakeHost {
		h := newFakeHost()
		h.failAt = call
		return h
	}
	everybody, bridged := loopbackPlan, loopbackPlan
	everybody.AnyLocal, bridged.Bridges = true, []string{"docker0"}
	own := newFakeHost()
	own.chains[natOutput] = []string{pass(Endpoint), iptablesPlan.jumps()[0].spec}
	onHost(t)
	tests := []struct {
		name string
		host *fakeHost
		plan Plan
		want Want
		is   Plan
		err  error
	}{
		{"other rules", newFakeHost(), loopbackPlan, Want{}, refusing(preceding(loopbackPlan)), nil},
		{"other rules, dummy", newFakeHost(), dummyPlan, Want{ShadowMetadata: true}, refusing(preceding(dummyPlan)), nil},
		{"other rules, iptables", newFakeHost(), iptablesPlan, Want{}, iptablesPlan, nil},
		{"rules of ours alone", own, loopbackPlan, Want{}, refusing(loopbackPlan), nil},
		{"no rule", empty, dummyPlan, Want{}, refusing(dummyPlan), nil},
		{"other rules for bridges", empty, bridged, Want{}, refusing(preceding(bridged)), nil},
		{"every local user", empty, everybody, Want{}, everybody, nil},
		{"no iptables", bare, dummyPlan, Want{}, dummyPlan, nil},
		{"shadowing", newFakeHost(), iptablesPlan, Want{ShadowMetadata: true}, shadowing(iptablesPlan), nil},
		{"failure", failing(1), loopbackPlan, Want{}, loopbackPlan, errInjected},
		{"failure for bridges", failing(2), bridged, Want{}, preceding(bridged), errInjected},
		{"no owner match", failing(2), loopbackPlan, Want{}, preceding(loopbackPlan), nil},
		{"trial stays", failing(3), loopbackPlan, Want{}, refusing(preceding(loopbackPlan)), errInjected},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.host.interceptor(Options{}).adapt(t.Context(), tt.plan, tt.want)
			if !errors.Is(err, tt.err) {
				t.Errorf("error %v, want %v", err, tt.err)
			}
			if diff := cmp.Diff(tt.is, got, planText); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
		})
	}
}
