package e2e

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"azimds/test/agent"
	"azimds/test/netns"
)

// diagnosis is what doctor prints with --json.
type diagnosis struct {
	Findings []struct {
		ID, Severity string
		Mend         []string
	}
	Unseen []struct{ What string }
}

// diagnosed reads it, and wants the exit code that goes with it: 3 for a problem, and 0 for none.
func diagnosed(t testing.TB, out string, code int) (d diagnosis) {
	t.Helper()
	err := json.Unmarshal([]byte(out), &d)
	want := 0
	for _, f := range d.Findings {
		if f.Severity == "problem" {
			want = 3
		}
	}
	if err != nil || code != want {
		t.Fatalf("doctor ended with %d, want %d, %v: %s", code, want, err, out)
	}
	return d
}

// mends are the commands of all findings of an id.
func (d diagnosis) mends(id string) (commands []string, found bool) {
	for _, f := range d.Findings {
		if f.ID == id {
			commands, found = append(commands, f.Mend...), true
		}
	}
	return commands, found
}

// TestDoctor wants a doctor to find nothing of the interception where it can be made and while it is, what is missing of it, what a
// dead agent left and what would refuse a start; and the network to be as it was after it looked.
func TestDoctor(t *testing.T) {
	netns.Root(t)
	ns := netns.New(t)
	before := state(t, ns)
	found := func(args ...string) []string {
		t.Helper()
		out, code := azimds(t, ns, append([]string{"doctor", "--json"}, args...)...)
		d := diagnosed(t, out, code)
		var ids []string
		for _, f := range d.Findings {
			if slices.Contains([]string{"interception", "residue", "missing", "no-tokens"}, f.ID) { // the rest is the machine's
				ids = append(ids, f.ID)
			}
		}
		return ids
	}
	for _, mode := range []string{"iptables", "loopback"} {
		if ids := found("--mode", mode, "--credential", "emulated"); len(ids) > 0 {
			t.Errorf("mode %s: found %q", mode, ids)
		}
	}
	same(t, before, state(t, ns))
	if out, _ := agent.Output(t, ns, agent.As(t, ownerUID, command("doctor"))); strings.Count(out, "sudo azimds doctor") != 3 {
		t.Errorf("without root: %s", out)
	}
	ns.Run(t, "ip", "address", "add", "169.254.169.254/32", "dev", "lo")
	if ids := found("--mode", "loopback", "--credential", "emulated"); !slices.Equal(ids, []string{"interception"}) {
		t.Errorf("with somebody else's address: found %q", ids)
	}
	ns.Run(t, "ip", "address", "delete", "169.254.169.254/32", "dev", "lo")
	a := unhealed(t, ns, "iptables")
	if ids := found(); len(ids) > 0 {
		t.Errorf("with an agent: found %q", ids)
	}
	ns.Run(t, "iptables", "-t", "nat", "-F", "AZIMDS")
	if ids := found(); !slices.Contains(ids, "missing") {
		t.Errorf("with a damaged interception: found %q", ids)
	}
	a.Stop()
	ns.Run(t, "iptables", "-t", "nat", "-N", "AZIMDS")
	if ids := found("--credential", "emulated"); !slices.Equal(ids, []string{"residue"}) {
		t.Errorf("with a dead agent's chain: found %q", ids)
	}
	if out, code := azimds(t, ns, "cleanup"); code != 0 {
		t.Errorf("cleanup ended with %d: %s", code, out)
	}
	same(t, before, state(t, ns))
}
