package netsetup

import (
	"slices"
	"strings"
	"testing"

	"azimds/test/netns"

	"github.com/google/go-cmp/cmp"
)

// While guards are put in another place, there is no moment without: neither for the guards of a backend nor for that of an
// address. Without stand-ins there is one.
func TestGuardsAreMovedWithoutAGap(t *testing.T) {
	for _, p := range []Plan{iptablesPlan, severalByIPTables, refusing(loopbackPlan)} {
		h := newFakeHost()
		if err := h.interceptor(Options{}).Up(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		whole := h.String()
		for _, c := range []chain{filterOutput, filterInput} {
			h.chains[c] = slices.Insert(h.chains[c], 0, "-o lo -j ACCEPT")
		}
		gap := func() bool {
			return slices.ContainsFunc(p.guards(), func(r rule) bool {
				return !slices.ContainsFunc(h.chains[r.chain], func(spec string) bool {
					return strings.HasPrefix(spec, strings.TrimSuffix(r.spec, guardAnswer))
				})
			})
		}
		steps := 0
		i := h.interceptor(Options{After: func(_ string, _ int, name string) {
			steps++
			if gap() {
				t.Errorf("after %q a guard is missing:\n%s", name, h)
			}
		}})
		if err := i.Up(t.Context(), p); err != nil || steps == 0 {
			t.Fatalf("%d steps, %v", steps, err)
		}
		for _, c := range []chain{filterOutput, filterInput} {
			h.chains[c] = slices.DeleteFunc(h.chains[c], func(spec string) bool { return spec == "-o lo -j ACCEPT" })
		}
		want := strings.ReplaceAll(whole, "  -o lo -j ACCEPT\n", "")
		if diff := cmp.Diff(want, h.String()); diff != "" {
			t.Errorf("host (-want +moved):\n%s", diff)
		}

		bare := h.clone()
		bare.chains[filterOutput] = slices.Insert(bare.chains[filterOutput], 0, "-o lo -j ACCEPT")
		d, err := bare.interceptor(Options{}).kernel.surveyGuard(t.Context(), p)
		if err != nil || len(d.standIns) == 0 {
			t.Fatalf("stand-ins %v, %v", d.standIns, err)
		}
		d.standIns = nil
		if first := d.changes()[0]; !first.remove {
			t.Errorf("without stand-ins the first change is %q", first)
		}
	}
}

// In the kernel a stand-in refuses as a guard does: a stranger's dial of the backend is refused at each step of a move.
func TestStandInsRefuse(t *testing.T) {
	backends(t, func(t *testing.T, ns *netns.NS) {
		guard(t, ns, rootPlan)
		listen(t, ns, rootPlan)
		up(t, ns, rootPlan)
		ns.Run(t, "iptables", "-I", "OUTPUT", "-p", "udp", "-j", "ACCEPT")
		steps := 0
		i := NewHost(Options{After: func(_ string, _ int, name string) {
			steps++
			if said := dial(rootPlan.Backend.String()); !strings.Contains(said, "connection refused") {
				t.Errorf("after %q: %s", name, said)
			}
		}})
		do(t, ns, func() error { return i.Up(t.Context(), rootPlan) })
		if steps < 4 {
			t.Errorf("moved in %d steps", steps)
		}
		if r := check(t, ns, rootPlan); !r.OK() {
			t.Errorf("left: %+v", r)
		}
	})
}

// A stand-in that a crash left is removed by whoever comes next.
func TestStandInsAreOurs(t *testing.T) {
	for _, p := range []Plan{iptablesPlan, severalByIPTables, refusing(loopbackPlan)} {
		h := newFakeHost()
		before := h.String()
		for _, r := range standIns(difference{stale: asPieces(p.guards()), missing: asPieces(p.guards())}) {
			if err := r.add(t.Context(), h.interceptor(Options{}).kernel); err != nil {
				t.Fatal(err)
			}
		}
		if h.String() == before {
			t.Error("no stand-ins")
		}
		if _, err := h.interceptor(Options{}).Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, h.String()); diff != "" {
			t.Errorf("host (-before +after):\n%s", diff)
		}
	}
}
