package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"azimds/test/agent"
	"azimds/test/netns"
)

// TestOwnerAlone wants the owner served and, in the same namespace at the same time, another user and root refused.
func TestOwnerAlone(t *testing.T) {
	netns.Root(t)
	for _, mode := range []string{"iptables", "loopback"} {
		t.Run(mode, func(t *testing.T) {
			ns := netns.New(t)
			a := startAgent(t, ns, nil, "--mode", mode, "--credential", "emulated")
			served(t, ns, ownerUID)
			refused(t, ns, strangerUID)
			refused(t, ns, 0)
			served(t, ns, ownerUID)
			a.Stop()
			refused(t, ns, ownerUID) // and nobody when it is gone
		})
	}
}

// TestRootAlone is a container in which only root exists: root is the owner, and is served by a server without one
// capability.
func TestRootAlone(t *testing.T) {
	netns.Root(t)
	for _, mode := range []string{"iptables", "loopback"} {
		t.Run(mode, func(t *testing.T) {
			ns := netns.New(t)
			a := launch(t, ns, nil, "azimds", "run", "--mode", mode, "--credential", "emulated")
			a.AwaitReady()
			served(t, ns, 0)
			refused(t, ns, strangerUID)
			confined(t, a, 0)
			a.Stop()
		})
	}
}

// TestServerIsConfined reads what the kernel says of every thread of the server.
func TestServerIsConfined(t *testing.T) {
	netns.Root(t)
	a := startAgent(t, netns.New(t), nil, "--credential", "emulated")
	confined(t, a, ownerUID)
	a.Stop()
}

func confined(t *testing.T, a *agent.Agent, uid int) {
	t.Helper()
	server, ok := a.Family()["server"]
	if !ok {
		t.Fatalf("there is no server\n%s", a.Said)
	}
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", server))
	if err != nil || len(tasks) < 2 {
		t.Fatalf("the server's threads: %q, %v", tasks, err)
	}
	for _, path := range tasks {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"NoNewPrivs:\t1\n", fmt.Sprintf("Uid:\t%[1]d\t%[1]d\t%[1]d\t%[1]d\n", uid)}
		for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapAmb"} {
			want = append(want, set+":\t0000000000000000\n")
		}
		for _, line := range want {
			if !strings.Contains(string(data), line) {
				t.Errorf("%s has no line %q:\n%s", path, line, data)
			}
		}
	}
}

// TestServerIsClosed wants the server's memory and environment closed to the owner's other programs, which can read those of
// any plain program of the owner's: tokens are in the one, and the other may hold a secret.
func TestServerIsClosed(t *testing.T) {
	netns.Root(t)
	ns := netns.New(t)
	a := startAgent(t, ns, nil, "--credential", "emulated")
	served(t, ns, ownerUID)
	out, code := azimds(t, ns, "status", "--json")
	var s struct {
		Server int `json:"server_pid"`
	}
	if err := json.Unmarshal([]byte(out), &s); err != nil || code != 0 || s.Server == 0 {
		t.Fatalf("status ended with %d, %v: %s", code, err, out)
	}
	plain := agent.As(t, ownerUID, exec.Command("sleep", "60"))
	if err := ns.Start(plain); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = plain.Wait() }() // it is killed
	defer plain.Process.Kill()
	for _, file := range []string{"environ", "mem"} {
		read := func(pid int) int {
			_, code := agent.Output(t, ns, agent.As(t, ownerUID, exec.Command("sh", "-c", fmt.Sprintf("exec 3</proc/%d/%s", pid, file))))
			return code
		}
		if code := read(plain.Process.Pid); code != 0 {
			t.Errorf("%s of a plain program cannot be opened: %d", file, code)
		}
		if code := read(s.Server); code == 0 {
			t.Errorf("%s of the server can be opened", file)
		}
	}
	a.Stop()
}

// TestStatusSaysWhatCannotBeKept has status say where any user can take the port that azimds leaves, and nothing of the kind where
// none can.
func TestStatusSaysWhatCannotBeKept(t *testing.T) {
	netns.Root(t)
	for start, said := range map[string]bool{"1024": false, "80": true} {
		t.Run(start, func(t *testing.T) {
			ns := netns.New(t)
			if err := ns.Do(func() error {
				return os.WriteFile("/proc/sys/net/ipv4/ip_unprivileged_port_start", []byte(start), 0o644)
			}); err != nil {
				t.Fatal(err)
			}
			a := startAgent(t, ns, nil, "--mode", "loopback", "--credential", "emulated")
			out, code := azimds(t, ns, "status")
			if code != 0 || strings.Contains(out, "any local user can listen on port 80 when azimds is gone") != said {
				t.Errorf("with ip_unprivileged_port_start %s, status ended with %d:\n%s", start, code, out)
			}
			a.Stop()
		})
	}
}
