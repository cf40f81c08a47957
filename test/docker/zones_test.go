package docker

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"azimds/test/agent"
	"azimds/test/netns"
)

const (
	// dialTime bounds a dial whose packets may be lost.
	dialTime = 2 * time.Second
	// restarts is how often a container is started again in a row.
	restarts = 50
)

// onTheHost is azimds on the engine's machine: in its network, and where its socket is found at the usual place.
func (e *Engine) onTheHost(args ...string) *exec.Cmd {
	script := `[ -e /run/docker.sock ] || ln -s "$1" /run/docker.sock; shift; exec "$@"`
	cmd := exec.Command("nsenter", append([]string{
		fmt.Sprintf("--mount=/proc/%d/ns/mnt", e.daemon.Process.Pid), "sh", "-ec", script, "sh", e.path("docker.sock"), filepath.Join(bin, "azimds"),
	}, args...)...)
	cmd.Env = agent.CleanEnv()
	return cmd
}

// answer is what a request for a token is answered with in a network namespace: a status, or why there is none.
func answer(ns *netns.NS) string {
	var said string
	err := ns.Do(func() error {
		conn, err := net.DialTimeout("tcp4", "169.254.169.254:80", dialTime)
		if err != nil {
			return err
		}
		client := http.Client{Timeout: agent.Patience, Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext:       func(context.Context, string, string) (net.Conn, error) { return conn, nil },
		}}
		req, err := http.NewRequest(http.MethodGet,
			"http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net", nil)
		if err != nil {
			return err
		}
		req.Header.Set("Metadata", "true")
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		said = resp.Status
		if err == nil && strings.Contains(string(body), `"access_token"`) {
			said = "token"
		}
		return err
	})
	if err != nil {
		return err.Error()
	}
	return said
}

// becomesServed waits until a container is answered with tokens.
func (e *Engine) becomesServed(container string) {
	e.t.Helper()
	for deadline := time.Now().Add(agent.Patience); ; time.Sleep(50 * time.Millisecond) {
		got := answer(e.Network(container))
		if got == "token" {
			return
		}
		if time.Now().After(deadline) {
			e.t.Fatalf("container %q: %s", container, got)
		}
	}
}

// A developer's containers, on the network that is named and on one that is made later, get tokens whatever their user and image; those
// on another network do not. That stays so when containers and the agent are started again, and nothing stays of the agent when it ends, also where
// all its processes are killed.
func TestZonesOfAnEngine(t *testing.T) {
	for _, mode := range []string{"iptables", "loopback"} {
		t.Run(mode, func(t *testing.T) {
			e := Start(t)
			importSDK(e)
			e.Import("idle", map[string]string{"/puppet": filepath.Join(bin, "puppet")}, `ENTRYPOINT ["/puppet"]`)
			e.Docker("network", "create", "shop_default")
			e.Docker("network", "create", "bank_default")
			shop := e.Run("--interactive", "--network", "shop_default", "idle")
			bank := e.Run("--interactive", "--network", "bank_default", "idle")
			e.Await(bank, "{{.State.Status}}", "running")
			clean := e.ours()

			a := agent.Start(t, e.NS, e.onTheHost("run", "--credential", "emulated", "--mode", mode, "--zones", "network:shop_default,network:later_default"))
			a.AwaitReady()
			if out := e.Docker(append([]string{"run", "--rm", "--network", "shop_default", "--user", "1234:1234", sdkImage}, sdk...)...); token(out) == "" {
				t.Errorf("a program on the network that is named has no token:\n%s", out)
			}
			if got := answer(e.Network(bank)); got == "token" {
				t.Error("a container on a network that is not named has a token")
			}
			e.Docker("network", "create", "later_default")
			later := e.Run("--interactive", "--network", "later_default", "idle")
			e.becomesServed(later)
			if out, code := agent.Output(t, e.NS, e.onTheHost("zones")); code != 0 || strings.Count(out, "\n  served ") != 2 ||
				!strings.Contains(out, "network later_default of docker") || !strings.Contains(out, "zones: [network:bank_default]") {
				t.Errorf("azimds zones ended with %d:\n%s", code, out)
			}

			for range restarts {
				e.Docker("restart", "--time", "0", shop)
			}
			e.becomesServed(shop)
			if got := answer(e.Network(bank)); got == "token" {
				t.Error("a container on a network that is not named has a token now")
			}
			e.Restart()
			e.Docker("start", shop, bank, later)
			e.becomesServed(shop)
			e.becomesServed(later)
			if got := answer(e.Network(bank)); got == "token" {
				t.Error("a container on a network that is not named has a token after the engine was restarted")
			}
			e.Docker("rm", "--force", later)
			e.Docker("network", "rm", "later_default")
			a.Stop()
			if got := e.ours(); got != clean {
				t.Errorf("before azimds:\n%s\nand after it:\n%s", clean, got)
			}

			killed := agent.Start(t, e.NS, e.onTheHost("run", "--credential", "emulated", "--mode", mode, "--zones", "network:shop_default"))
			killed.AwaitReady()
			e.becomesServed(shop)
			for _, pid := range killed.Family() {
				if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
					t.Errorf("killing process %d: %v", pid, err)
				}
			}
			_ = killed.Wait() // it was killed
			if out, code := agent.Output(t, e.NS, e.onTheHost("cleanup")); code != 0 {
				t.Errorf("azimds cleanup ended with %d:\n%s", code, out)
			}
			if got := e.ours(); got != clean {
				t.Errorf("before azimds:\n%s\nand after a kill and azimds cleanup:\n%s", clean, got)
			}
			if got := answer(e.Network(shop)); got == "token" {
				t.Error("a container has a token of nobody")
			}
		})
	}
}

// ours is what carries our mark in the engine's network.
func (e *Engine) ours() string {
	e.t.Helper()
	var found strings.Builder
	for _, command := range []string{"iptables-save", "ip -o address", "ip rule", "ip route show table all", "ip -o link"} {
		words := strings.Fields(command)
		for line := range strings.Lines(e.NS.Run(e.t, words[0], words[1:]...)) {
			if strings.Contains(strings.ToLower(line), "azimds") || strings.Contains(line, "169.254.169.254") {
				found.WriteString(line)
			}
		}
	}
	if _, err := os.Stat(fmt.Sprintf("/proc/%d/root/run/azimds", e.daemon.Process.Pid)); err == nil {
		found.WriteString("/run/azimds\n")
	}
	return found.String()
}
