package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"

	"azimds/test/agent"
	"azimds/test/netns"
)

// The users of these tests: nobody on the machine has these numbers.
const (
	ownerUID    = 61234
	strangerUID = 61235
)

// launch starts program, one of bin's, with args in ns.
func launch(t testing.TB, ns *netns.NS, env []string, program string, args ...string) *agent.Agent {
	t.Helper()
	cmd := exec.Command(filepath.Join(bin, program), args...)
	cmd.Env = append(agent.CleanEnv(), env...)
	return agent.Start(t, ns, cmd)
}

// startAgent runs an agent for the owner and waits until it is ready.
func startAgent(t testing.TB, ns *netns.NS, env []string, args ...string) *agent.Agent {
	t.Helper()
	a := launch(t, ns, env, "azimds", append([]string{"run", "--user", fmt.Sprint(ownerUID), "--log-level=debug"}, args...)...)
	a.AwaitReady()
	return a
}

// azimds runs one command of the program in ns and returns its output and exit code.
func azimds(t testing.TB, ns *netns.NS, args ...string) (string, int) {
	t.Helper()
	return agent.Output(t, ns, command(args...))
}

func command(args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(bin, "azimds"), args...)
	cmd.Env = agent.CleanEnv()
	return cmd
}
