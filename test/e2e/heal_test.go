package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"azimds/test/agent"
	"azimds/test/netns"
)

// damage is what others do to an interception.
type damage struct {
	name    string
	command string // for a shell
	breaks  bool   // the owner is not served then
	new     bool   // it came after the plan was made, which says nothing of it
}

// damages are, by mode, each piece taken away, and what makes one useless.
var damages = map[string][]damage{
	"iptables": {
		{"nat flushed", "iptables -t nat -F", true, false},
		{"nat flushed, and our chain removed", "iptables -t nat -F; iptables -t nat -X", true, false},
		{"the jump deleted", "iptables -t nat -D OUTPUT 1", true, false},
		{"another rule before the jump", "iptables -t nat -I OUTPUT -d 169.254.0.0/16 -j RETURN", true, false},
		{"the policy rule deleted", "ip rule del pref 40000", true, false},
		{"the route deleted", "ip route flush table 169254", true, false},
		{"filter flushed", "iptables -F", false, false},
		{"another rule before the guards", "iptables -I OUTPUT -o lo -j ACCEPT", false, false},
	},
	"loopback": {
		{"the address deleted", "ip address del 169.254.169.254/32 dev lo", true, false},
		{"the address deleted, and the guard", "ip address del 169.254.169.254/32 dev lo; iptables -F", true, false},
		{"filter flushed", "iptables -F", false, false},
		{"another rule before the guard", "iptables -I OUTPUT -o lo -j ACCEPT", false, false},
		{"Docker publishes port 80", "iptables -t nat -A OUTPUT ! -d 127.0.0.0/8 -p tcp --dport 80 -m addrtype --dst-type LOCAL " +
			"-j REDIRECT --to-ports 9", true, true},
		{"another rule before what precedes Docker's", "iptables -t nat -I OUTPUT -p tcp --dport 80 -j REDIRECT --to-ports 9", true, true},
	},
}

// TestHeals damages the interception of a running agent in every way, and wants the owner served and others refused after each,
// one line of the log that says what was missing, and the holder to have seen its own answer.
func TestHeals(t *testing.T) {
	netns.Root(t)
	for mode, damages := range damages {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			ns := netns.New(t)
			before := state(t, ns)
			a := startAgent(t, ns, nil, "--mode", mode, "--credential", "emulated")
			served(t, ns, ownerUID)
			for n, d := range damages {
				t.Log(d.name)
				ns.Run(t, "sh", "-ec", d.command)
				repaired(t, a, n+1)
				served(t, ns, ownerUID)
				refused(t, ns, strangerUID)
			}
			waitFor(t, a, "the endpoint answers after the repair")
			out, code := azimds(t, ns, "status", "--json")
			var s struct {
				Residue, Delta []string
				Repairs        struct {
					Count   int
					Missing []string
					Error   string
				}
			}
			if err := json.Unmarshal([]byte(out), &s); err != nil || code != 0 {
				t.Fatalf("status --json ended with %d, %v: %s", code, err, out)
			}
			if len(s.Residue)+len(s.Delta)+len(s.Repairs.Error) > 0 || s.Repairs.Count < len(damages) || len(s.Repairs.Missing) == 0 {
				t.Errorf("status --json: %s", out)
			}
			ns.Run(t, "sh", "-ec", "iptables -t nat -F OUTPUT; iptables -F OUTPUT") // what others put there
			a.Stop()
			same(t, before, state(t, ns))
		})
	}
}

// What breaks the interception breaks it for good where nobody repairs it.
func TestHealsNotWithoutRepair(t *testing.T) {
	netns.Root(t)
	for mode, damages := range damages {
		for _, d := range damages {
			t.Run(mode+"/"+d.name, func(t *testing.T) {
				t.Parallel()
				ns := netns.New(t)
				a := unhealed(t, ns, mode)
				served(t, ns, ownerUID)
				ns.Run(t, "sh", "-ec", d.command)
				if out, code := azimds(t, ns, "status"); (code == 3) == d.new {
					t.Errorf("status ended with %d: %s", code, out)
				}
				if _, code := agent.Output(t, ns, raw(t, ownerUID, "read")); (code != 0) != d.breaks {
					t.Errorf("the owner's client ended with %d", code)
				}
				a.Stop()
			})
		}
	}
}

// unhealed is an agent that repairs nothing.
func unhealed(t *testing.T, ns *netns.NS, mode string) *agent.Agent {
	t.Helper()
	a := launch(t, ns, []string{"AZIMDSTEST_WITHOUT=heal"}, "azimds-stop",
		"run", "--user", fmt.Sprint(ownerUID), "--mode", mode, "--credential", "emulated")
	a.AwaitReady()
	return a
}

// repaired waits until an agent has said n times that it repaired something.
func repaired(t *testing.T, a *agent.Agent, n int) {
	t.Helper()
	for deadline := time.Now().Add(agent.Patience); strings.Count(a.Said.String(), "repaired the interception") < n; {
		select {
		case <-a.Ended:
			t.Fatalf("the agent ended: %v\n%s", a.Err, a.Said)
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("nothing was repaired\n%s", a.Said)
		}
	}
}
