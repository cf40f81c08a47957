package e2e

import (
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"azimds/systemd"
	"azimds/test/agent"
	"azimds/test/netns"
)

// What a holder does that has some of root's capabilities.
const (
	holdsNothing = "holds nothing"
	attachesNone = "holds, and no server starts"
	findsNobody  = "serves, and does not find a caller's program, so that the caller is refused"
	doesAll      = "serves"
)

// without is what a holder does that has all capabilities of its unit but one.
var without = map[string]string{
	"":                     doesAll,
	"CAP_NET_RAW":          doesAll, // iptables of the legacy kind and old kernels want it: test/vm TestUnits
	"CAP_NET_ADMIN":        holdsNothing,
	"CAP_NET_BIND_SERVICE": holdsNothing,
	"CAP_CHOWN":            holdsNothing,
	"CAP_SETUID":           attachesNone,
	"CAP_DAC_READ_SEARCH":  findsNobody,
	"CAP_SYS_PTRACE":       findsNobody,
}

// The capabilities in the holder's unit are enough, and each of them is needed.
func TestHolderCapabilities(t *testing.T) {
	netns.Root(t)
	unit, err := systemd.Unit(systemd.HolderUnit)
	if err != nil {
		t.Fatal(err)
	}
	kept := []string{}
	for _, line := range regexp.MustCompile(`(?m)^CapabilityBoundingSet=(.*)$`).FindAllStringSubmatch(unit, -1) {
		kept = append(kept, strings.Fields(line[1])...)
	}
	if len(kept) != len(without)-1 {
		t.Errorf("the unit has %q", kept)
	}
	for _, left := range append(kept, "") {
		want, known := without[left]
		if !known {
			t.Errorf("%s has no reason", left)
			continue
		}
		t.Run("without "+left, func(t *testing.T) {
			if got := holdWith(t, netns.New(t), kept, left); got != want {
				t.Errorf("the holder %s, want that it %s", got, want)
			}
		})
	}
}

// holdWith starts a holder with all capabilities but one, and a server, and says how far they get.
func holdWith(t *testing.T, ns *netns.NS, capabilities []string, but string) string {
	t.Helper()
	set := "-all"
	for _, name := range capabilities {
		if name != but {
			set += ",+" + strings.ToLower(strings.TrimPrefix(name, "CAP_"))
		}
	}
	up := command("net", "up", "--mode", "iptables", "--user", fmt.Sprint(ownerUID))
	env := up.Env
	up = exec.Command("setpriv", append([]string{"--bounding-set", set, "--inh-caps", "-all", "--no-new-privs", "--"}, up.Args...)...)
	up.Env = env
	holding := agent.Start(t, ns, up)
	if !reaches(t, holding, "held for") {
		return holdsNothing
	}
	serving := agent.Start(t, ns, agent.As(t, ownerUID, command("serve", "--credential", "emulated")))
	if !reaches(t, serving, "azimds answers at") {
		return attachesNone
	}
	_, code := agent.Output(t, ns, raw(t, ownerUID, "read"))
	serving.Stop()
	holding.Stop()
	if code != 0 && strings.Contains(serving.Said.String(), "was not found") {
		return findsNobody
	}
	if code != 0 {
		t.Errorf("the owner got %d\n%s", code, serving.Said)
	}
	return doesAll
}

// reaches waits until a process has said something, or has ended without that.
func reaches(t *testing.T, a *agent.Agent, words string) bool {
	t.Helper()
	said := func() bool { return strings.Contains(a.Said.String(), words) }
	eventually(t, a.Said.String, func() bool {
		select {
		case <-a.Ended:
			return true
		default:
			return said()
		}
	})
	return said()
}
