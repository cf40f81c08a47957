package e2e

import (
	"os/exec"
	"testing"

	"azimds/test/agent"
	"azimds/test/netns"
)

// endpointKinds are the endpoints that variables select.
var endpointKinds = []string{"app-service", "app-service-2017", "cloud-shell"}

// TestEndpointExec wants unmodified SDKs to get tokens where nothing is intercepted: everything as one ordinary user, without a
// privilege and without sudo, through each kind of endpoint.
func TestEndpointExec(t *testing.T) {
	netns.Root(t)
	clients := sdks(t)
	ns := netns.New(t)
	before := state(t, ns)
	for _, kind := range endpointKinds {
		for _, client := range clients {
			for _, credential := range []string{"managed", "default"} {
				t.Run(kind+"/"+client.name+"/"+credential, func(t *testing.T) {
					args := append([]string{"exec", "--endpoint", kind, "--credential", "emulated", "--log-level=error", "--"},
						client.command(credential, vault+"/.default", "--count", "2").Args...)
					for _, got := range runClient(t, ns, unprivileged(t, args...)) {
						ours(t, "emulated", nil, got, true)
					}
				})
			}
		}
	}
	same(t, before, state(t, ns))
}

// unprivileged is azimds as the owner, who can become nobody else.
func unprivileged(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	azimds := command(args...)
	cmd := agent.As(t, ownerUID, exec.Command("setpriv", append([]string{"--no-new-privs", "--bounding-set", "-all", "--"}, azimds.Args...)...))
	cmd.SysProcAttr = nil
	cmd.Args = append([]string{"setpriv", "--reuid", "61234", "--regid", "61234", "--clear-groups"}, cmd.Args[1:]...)
	return cmd
}
