package docker

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"azimds/test/agent"
)

// In a container that may change nothing of its network, an unmodified program gets tokens all the same where an endpoint is named: as root,
// and as a user whom the image does not know, without one capability and on a file system that nobody can write.
func TestEndpointInAContainer(t *testing.T) {
	e := Start(t)
	importSDK(e)
	command := append([]string{sdkImage, "/azimds", "exec", "--endpoint", "app-service", "--credential", "emulated", "--"}, sdk...)
	for name, options := range map[string][]string{
		"root":    {"--network", "none"},
		"nobody":  {"--user", "65532", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--read-only"},
		"no root": {"--user", "65532:65532"},
	} {
		out, code := e.Try(append(append([]string{"run", "--rm"}, options...), command...)...)
		if code != 0 || token(out) == "" {
			t.Errorf("%s: exec ended with %d:\n%s", name, code, out)
		}
	}
}

// A container of Docker's own bridge gets tokens of an agent on the machine, by the variables in a file, and one on another network does
// not reach it.
func TestEndpointForContainers(t *testing.T) {
	e := Start(t)
	importSDK(e)
	e.Import("idle", map[string]string{"/puppet": filepath.Join(bin, "puppet")}, `ENTRYPOINT ["/puppet"]`)
	e.Docker("network", "create", "other")
	other := e.Run("--interactive", "--network", "other", "idle")
	e.Await(other, "{{.State.Status}}", "running")
	a := agent.Start(t, e.NS, e.onTheHost("run", "--endpoint", "app-service", "--credential", "emulated", "--zones", "docker0,network:other"))
	a.AwaitReady()
	variables := func(args ...string) string {
		out, code := agent.Output(t, e.NS, e.onTheHost(append([]string{"env", "--shell", "docker"}, args...)...))
		if code != 0 {
			t.Fatalf("azimds env ended with %d:\n%s", code, out)
		}
		return out
	}
	for network, zone := range map[string]string{"bridge": "docker0", "other": "network:other"} {
		file := filepath.Join(t.TempDir(), "env")
		if err := os.WriteFile(file, []byte(variables("--zone", zone)), 0o600); err != nil {
			t.Fatal(err)
		}
		out, code := e.Try(append([]string{"run", "--rm", "--user", "1234", "--network", network, "--env-file", file, sdkImage}, sdk...)...)
		if code != 0 || token(out) == "" {
			t.Errorf("a program on network %s ended with %d:\n%s\n%s", network, code, out, a.Said)
		}
	}
	address, _, _ := strings.Cut(strings.TrimPrefix(variables("--zone", "docker0"), "IDENTITY_ENDPOINT=http://"), "/")
	err := e.Network(other).Do(func() error {
		conn, err := net.DialTimeout("tcp4", address, dialTime)
		if err == nil {
			conn.Close()
		}
		return err
	})
	if err == nil {
		t.Errorf("a container on another network reaches %s", address)
	}
	a.Stop()
}
