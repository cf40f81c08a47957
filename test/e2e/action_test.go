package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"azimds/test/agent"
	"azimds/test/netns"
)

// step runs one script of the GitHub action as the runner does: with its inputs and its state as variables.
func step(t *testing.T, ns *netns.NS, script string, env ...string) (string, int) {
	t.Helper()
	node, err := exec.LookPath("node")
	netns.Need(t, "node", err)
	cmd := exec.Command(node, filepath.Join("..", "..", "docs", "ci", "github-action", script))
	cmd.Env = append(agent.CleanEnv(), env...)
	return agent.Output(t, ns, cmd)
}

// The action starts an agent for the steps that follow, and its last step stops it; where it cannot start one the step fails with the
// reason, and there is nothing to stop.
func TestGitHubAction(t *testing.T) {
	netns.Root(t)
	ns := netns.New(t)
	before := state(t, ns)
	saved := filepath.Join(t.TempDir(), "state")
	program := "INPUT_AZIMDS=" + filepath.Join(bin, "azimds")
	inputs := []string{program, "INPUT_CREDENTIAL=emulated", "INPUT_SHADOW-METADATA=false", "INPUT_ARGS=--mode  loopback", "GITHUB_STATE=" + saved}
	if out, code := step(t, ns, "main.js", inputs...); code != 0 || !strings.Contains(out, "azimds stop") {
		t.Fatalf("main.js ended with %d:\n%s", code, out)
	}
	served(t, ns, 0)
	refused(t, ns, strangerUID)
	text, err := os.ReadFile(saved)
	name, value, ok := strings.Cut(strings.TrimSpace(string(text)), "=")
	if err != nil || !ok {
		t.Fatalf("the state is %q, %v", text, err)
	}
	if out, code := step(t, ns, "main.js", inputs...); code == 0 || !strings.Contains(out, "another azimds") {
		t.Errorf("main.js, again, ended with %d:\n%s", code, out)
	}
	if out, code := step(t, ns, "post.js", "STATE_"+name+"="+value); code != 0 {
		t.Errorf("post.js ended with %d:\n%s", code, out)
	}
	same(t, before, state(t, ns))
	if out, code := step(t, ns, "post.js"); code != 0 || out != "" {
		t.Errorf("post.js without a state ended with %d:\n%s", code, out)
	}
	if out, code := step(t, ns, "main.js", "INPUT_AZIMDS=/no/such/program", "GITHUB_STATE="+saved); code != 1 || !strings.Contains(out, "::error::/no/such/program cannot be started") {
		t.Errorf("main.js without azimds ended with %d:\n%s", code, out)
	}
}
