package netsetup

import (
	"context"
	"errors"
	"testing"

	"azimds/test/netns"

	"github.com/google/go-cmp/cmp"
)

func TestHostUpDown(t *testing.T) {
	backends(t, func(t *testing.T, ns *netns.NS) {
		before := snapshot(t, ns)
		for _, p := range hostPlans(t) {
			up(t, ns, p)
			once := snapshot(t, ns)
			if once == before {
				t.Errorf("%s: Up changed nothing", p)
			}
			up(t, ns, p)
			if diff := cmp.Diff(once, snapshot(t, ns)); diff != "" {
				t.Errorf("%s: the second Up (-before +after):\n%s", p, diff)
			}
			if report := check(t, ns, p); !report.OK() {
				t.Errorf("%s: report %+v", p, report)
			}
			for range 2 {
				down(t, ns, p)
				if diff := cmp.Diff(before, snapshot(t, ns)); diff != "" {
					t.Errorf("%s: Down (-before +after):\n%s", p, diff)
				}
			}
		}
	})
}

// The lines that a plan prints make it, and Sweep finds all that they made.
func TestHostPrintedPlan(t *testing.T) {
	backends(t, func(t *testing.T, ns *netns.NS) {
		before := snapshot(t, ns)
		for _, p := range hostPlans(t) {
			ns.Run(t, "sh", "-ec", p.String())
			if report := check(t, ns, p); !report.OK() {
				t.Errorf("%s: report %+v", p, report)
			}
			var removed []string
			do(t, ns, func() (err error) {
				removed, err = Sweep(t.Context())
				return err
			})
			if got, want := len(removed), len(p.pieces()); got != want {
				t.Errorf("Sweep removed %q, want %d things", removed, want)
			}
			if diff := cmp.Diff(before, snapshot(t, ns)); diff != "" {
				t.Errorf("%s: Sweep (-before +after):\n%s", p, diff)
			}
		}
	})
}

// What a run left is replaced by the next one, whatever its mode, owner and port.
func TestHostLeftovers(t *testing.T) {
	plans := hostPlans(t)
	backends(t, func(t *testing.T, ns *netns.NS) {
		before := snapshot(t, ns)
		for _, first := range plans {
			for _, second := range plans {
				up(t, ns, first)
				up(t, ns, second)
				if report := check(t, ns, second); !report.OK() {
					t.Errorf("%s then %s: report %+v", first, second, report)
				}
				down(t, ns, second)
				if diff := cmp.Diff(before, snapshot(t, ns)); diff != "" {
					t.Errorf("%s then %s: Down (-before +after):\n%s", first, second, diff)
				}
			}
		}
	})
}

// A rule that somebody put before our jump is not removed: the jump moves.
func TestHostJumpMoves(t *testing.T) {
	backends(t, func(t *testing.T, ns *netns.NS) {
		up(t, ns, rootPlan)
		ns.Run(t, "iptables", "-t", "nat", "-I", "OUTPUT", "1", "-m", "addrtype", "--dst-type", "LOCAL", "-j", "OTHER")
		want := Report{Delta: []string{rootPlan.jumps()[0].adding()}}
		if diff := cmp.Diff(want, check(t, ns, rootPlan)); diff != "" {
			t.Errorf("report (-want +got):\n%s", diff)
		}
		up(t, ns, rootPlan)
		if report := check(t, ns, rootPlan); !report.OK() {
			t.Errorf("report %+v", report)
		}
		got := ns.Run(t, "iptables", "-t", "nat", "-S", "OUTPUT")
		wantRules := "-P OUTPUT ACCEPT\n-A OUTPUT " + rootPlan.jumps()[0].spec + `
-A OUTPUT -m addrtype --dst-type LOCAL -j OTHER
-A OUTPUT -d 192.0.2.1/32 -j OTHER
-A OUTPUT -m comment --comment azimds -j RETURN
`
		if diff := cmp.Diff(wantRules, got); diff != "" {
			t.Errorf("OUTPUT (-want +got):\n%s", diff)
		}
	})
}

// A rule of somebody else inside our chain stays, and the chain with it; what is ours goes.
func TestHostForeignRule(t *testing.T) {
	backends(t, func(t *testing.T, ns *netns.NS) {
		up(t, ns, rootPlan)
		ns.Run(t, "iptables", "-t", "nat", "-A", chainName, "-p", "udp", "-j", "ACCEPT")
		err := ns.Do(func() error { return NewHost(Options{}).Down(t.Context(), rootPlan) })
		if _, foreign := errors.AsType[*ForeignError](err); !foreign {
			t.Errorf("Down: %v, want a ForeignError", err)
		}
		want := "-N AZIMDS\n-A AZIMDS -p udp -j ACCEPT\n"
		if diff := cmp.Diff(want, ns.Run(t, "iptables", "-t", "nat", "-S", chainName)); diff != "" {
			t.Errorf("chain (-want +got):\n%s", diff)
		}
		if report := check(t, ns, Plan{}); len(report.Residue) > 0 {
			t.Errorf("residue %q", report.Residue)
		}
	})
}

func TestHostForeignAddress(t *testing.T) {
	ns := netns.New(t)
	ns.Run(t, "ip", "addr", "add", "169.254.169.254/32", "dev", "lo")
	before := ns.Run(t, "ip", "addr")
	err := ns.Do(func() error {
		return errors.Join(NewHost(Options{}).Up(t.Context(), loopbackPlan), NewHost(Options{}).Down(t.Context(), loopbackPlan))
	})
	const want = "refusing to touch what is not ours: address 169.254.169.254/32 of device lo"
	if err == nil || err.Error() != want {
		t.Errorf("Up and Down: %v, want %s", err, want)
	}
	if diff := cmp.Diff(before, ns.Run(t, "ip", "addr")); diff != "" {
		t.Errorf("addresses (-before +after):\n%s", diff)
	}
}

func TestHostLoopbackDown(t *testing.T) {
	ns := netns.New(t)
	ns.Run(t, "ip", "link", "set", "lo", "down")
	for _, p := range []Plan{loopbackPlan, rootPlan} {
		err := ns.Do(func() error { return NewHost(Options{}).Up(t.Context(), p) })
		if !errors.Is(err, ErrLoopbackDown) {
			t.Errorf("%s: Up: %v, want ErrLoopbackDown", p.Mode, err)
		}
	}
}

// withoutIPTables takes the program away from this package for the time of a test.
func withoutIPTables(t *testing.T) {
	t.Helper()
	named(t, func() (string, error) { return findProgram([]string{t.TempDir()}, "") })
}

func TestHostSweepWithoutIPTables(t *testing.T) {
	withoutIPTables(t)
	ns := netns.New(t)
	up(t, ns, loopbackPlan)
	var removed []string
	do(t, ns, func() (err error) {
		removed, err = Sweep(context.Background())
		return err
	})
	want := []string{"ip addr del 169.254.169.254/32 dev lo label lo:azimds"}
	if diff := cmp.Diff(want, removed); diff != "" {
		t.Errorf("removed (-want +got):\n%s", diff)
	}
	err := ns.Do(func() error { return NewHost(Options{}).Up(t.Context(), rootPlan) })
	if !errors.Is(err, ErrNoIPTables) {
		t.Errorf("Up in mode iptables: %v, want ErrNoIPTables", err)
	}
}

// Two processes may take down at once: a holder and its janitor.
func TestHostDownInParallel(t *testing.T) {
	backends(t, func(t *testing.T, ns *netns.NS) {
		plans := hostPlans(t)
		p := plans[len(plans)-1]
		before := snapshot(t, ns)
		up(t, ns, p)
		const n = 4
		errs := make(chan error, n)
		for range n {
			go func() {
				errs <- ns.Do(func() error { return NewHost(Options{}).Down(t.Context(), p) })
			}()
		}
		for range n {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		if diff := cmp.Diff(before, snapshot(t, ns)); diff != "" {
			t.Errorf("namespace (-before +after):\n%s", diff)
		}
	})
}
