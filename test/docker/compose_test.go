package docker

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"azimds/test/agent"
	"azimds/test/entra"
	"azimds/test/netns"
)

// The application of the test, and where containers find the machine: at the address of Docker's own bridge.
const (
	clientID     = "3f6c2a10-7b54-4c19-8e2d-90ab1c2d3e4f"
	clientSecret = "a-secret-of-no-worth"
	machine      = "172.17.0.1"
)

// composeFile is the file that docs/containers.md shows.
func composeFile(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/containers.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?s)```yaml\n(services:\n  azimds:.*?)```").FindSubmatch(text)
	if found == nil {
		t.Fatal("docs/containers.md has no file for Compose")
	}
	return strings.Replace(string(found[1]), "azimds:1.2.3-amd64", "azimds:"+imageVersion+"-"+runtime.GOARCH, 1)
}

// startEntra starts a stand-in for Entra on the machine, where containers reach it.
func startEntra(t *testing.T, e *Engine) *entra.Server {
	t.Helper()
	s, err := entra.New(entra.Options{
		Clients: []entra.Client{{ID: clientID, Secret: clientSecret}}, Hosts: []string{machine},
	})
	if err != nil {
		t.Fatal(err)
	}
	var ln net.Listener
	if err := e.NS.Do(func() (err error) { ln, err = net.Listen("tcp4", machine+":0"); return err }); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(ln); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// TestCompose runs the file that docs/containers.md shows as it is, with another file beside it that says where Entra is and what the
// program does: app gets a token of the application's, and has none of its secrets.
func TestCompose(t *testing.T) {
	e := Start(t)
	compose, err := exec.LookPath("docker-compose")
	netns.Need(t, "docker-compose", err)
	azimds(t, e)
	e.Import("app", map[string]string{"/client": filepath.Join(bin, "client-go")}, `ENTRYPOINT ["/client"]`)
	authority := startEntra(t, e)

	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("ca.pem", string(authority.CAPEM()))
	write(".env", fmt.Sprintf("AZURE_TENANT_ID=%s\nAZURE_CLIENT_ID=%s\nAZURE_CLIENT_SECRET=%s\n", authority.Tenant(), clientID, clientSecret))
	write("compose.yaml", composeFile(t))
	write("entra.yaml", fmt.Sprintf(`
services:
  azimds:
    volumes: ["./ca.pem:/etc/ssl/certs/entra.pem:ro"]
    environment: {AZIMDS_AUTHORITY_HOST: %q}
  app:
    command: [managed, "https://vault.azure.net/.default"]
`, authority.URL()))
	run := func(args ...string) (string, error) {
		cmd := exec.Command(compose, append([]string{"--project-name", "test", "--file", "compose.yaml", "--file", "entra.yaml"}, args...)...)
		cmd.Dir = dir
		cmd.Env = append(agent.CleanEnv(), "DOCKER_HOST="+e.Host(), "HOME="+dir)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	out, err := run("up", "--no-color", "--exit-code-from", "app")
	if err != nil || !regexp.MustCompile(`(?m)^app_1 .*"token":"ey`).MatchString(out) {
		t.Errorf("app has no token: %v\n%s", err, out)
	}
	if issued := authority.Issued(); len(issued) != 1 || issued[0].ClientID != clientID {
		t.Errorf("Entra issued %+v", issued)
	}
	if env := e.Inspect("test_app_1", "{{.Config.Env}}"); strings.Contains(env, clientSecret) {
		t.Errorf("app has the secret: %s", env)
	}
	if got := e.Inspect("test_azimds_1", "{{.State.ExitCode}}"); got != "0" {
		t.Errorf("azimds ended with %s\n%s", got, out)
	}
	if out, err := run("down"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if left := e.Docker("ps", "--all", "--quiet"); left != "" {
		t.Errorf("Compose left containers %s", left)
	}
}
