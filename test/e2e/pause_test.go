package e2e

import (
	"strings"
	"testing"
	"time"

	"azimds/test/agent"
	"azimds/test/netns"
)

// TestPause has the owner give no tokens for a while: default chains go on, a lone credential is told the command that ends it,
// a stranger can pause nothing, and tokens come again when the pause is ended, or over.
func TestPause(t *testing.T) {
	netns.Root(t)
	ns := netns.New(t)
	a := startAgent(t, ns, nil, "--credential", "emulated")
	served(t, ns, ownerUID)
	run := func(uid uint32, code int, want string, args ...string) {
		t.Helper()
		if out, got := agent.Output(t, ns, agent.As(t, uid, command(args...))); got != code || !strings.Contains(out, want) {
			t.Errorf("azimds %q of uid %d ended with %d, want %d and %q: %s", args, uid, got, code, want, out)
		}
	}
	run(strangerUID, 1, "", "pause")
	served(t, ns, ownerUID)

	run(ownerUID, 0, "azimds pause off", "pause", "20m")
	run(ownerUID, 3, "azimds pause off", "status")
	run(ownerUID, 1, "no tokens until", "token", vault)
	path := fakeAz(t)
	for _, client := range sdks(t) {
		for kind, want := range map[string]string{"default": nextToken, "managed": "azimds pause off"} {
			cmd := agent.As(t, ownerUID, client.command(kind, vault+"/.default"))
			cmd.Env = append(cmd.Env, "PATH="+path+":/usr/bin:/bin")
			if out, code := agent.Output(t, ns, cmd); (code == 0) != (kind == "default") || !strings.Contains(out, want) {
				t.Errorf("%s, %s, ended with %d: %s", client.name, kind, code, out)
			}
		}
	}
	run(ownerUID, 0, "gives tokens", "pause", "off")
	run(ownerUID, 0, "", "status")
	served(t, ns, ownerUID)

	run(ownerUID, 0, "azimds pause off", "pause", "1s")
	for deadline := time.Now().Add(time.Minute); ; {
		if out, code := agent.Output(t, ns, raw(t, ownerUID, "read")); code == 0 && strings.Contains(out, `"access_token"`) {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("the pause does not end, %d: %s", code, out)
		}
	}
	a.Stop()
}
