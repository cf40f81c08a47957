package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"azimds/test/agent"
	"azimds/test/netns"
)

// TestStatus wants the running agent described, without a token, in text and in JSON, and 3 where none runs.
func TestStatus(t *testing.T) {
	netns.Root(t)
	ns := netns.New(t)
	if out, code := azimds(t, ns, "status"); code != 3 || !strings.Contains(out, "azimds run") {
		t.Errorf("status without an agent ended with %d: %s", code, out)
	}
	a := unhealed(t, ns, "iptables")
	got := served(t, ns, ownerUID)
	out, code := azimds(t, ns, "status", "--json")
	var s struct {
		Mode           string
		Residue, Delta []string
		Cached         []struct{ Resource string }
		Counts         struct{ Tokens int }
		Owner          struct{ UID int }
	}
	if err := json.Unmarshal([]byte(out), &s); err != nil || code != 0 {
		t.Fatalf("status --json ended with %d, %v: %s", code, err, out)
	}
	if s.Mode != "iptables" || len(s.Residue)+len(s.Delta) != 0 || s.Counts.Tokens != 1 || s.Owner.UID != ownerUID ||
		len(s.Cached) != 1 || s.Cached[0].Resource != vault {
		t.Errorf("status --json: %s", out)
	}
	_, token, _ := strings.Cut(got, `"access_token":"`)
	token, _, _ = strings.Cut(token, `"`)
	if token == "" || strings.Contains(out+a.Said.String(), token) {
		t.Errorf("the token, %d bytes, is in the status or the log", len(token))
	}
	ns.Run(t, "iptables", "-t", "nat", "-F", "AZIMDS")
	if out, code := azimds(t, ns, "status"); code != 3 || !strings.Contains(out, "missing") {
		t.Errorf("status of a damaged interception ended with %d: %s", code, out)
	}
	a.Stop()
}

// TestToken wants claims shown and the token only with --raw, to the owner; root and a stranger get none.
func TestToken(t *testing.T) {
	netns.Root(t)
	ns := netns.New(t)
	a := startAgent(t, ns, nil, "--credential", "emulated")
	ask := func(uid uint32, args ...string) (string, int) {
		return agent.Output(t, ns, agent.As(t, uid, command(append([]string{"token", vault}, args...)...)))
	}
	if out, code := ask(ownerUID); code != 0 || strings.Contains(out, "eyJ") || !strings.Contains(out, "an application's token") {
		t.Errorf("token ended with %d: %s", code, out)
	}
	if out, code := ask(ownerUID, "--raw"); code != 0 || strings.Count(out, ".") != 2 || !strings.HasPrefix(out, "eyJ") {
		t.Errorf("token --raw ended with %d: %s", code, out)
	}
	for _, uid := range []uint32{0, strangerUID} {
		if out, code := ask(uid, "--raw"); code != 1 || strings.Contains(out, "eyJ") {
			t.Errorf("token --raw of uid %d ended with %d: %s", uid, code, out)
		}
	}
	a.Stop()
}

// TestSecondAgent wants a second agent, and a cleanup, refused while one lives, with its pid, and nothing changed by that.
func TestSecondAgent(t *testing.T) {
	netns.Root(t)
	ns := netns.New(t)
	a := startAgent(t, ns, nil, "--credential", "emulated")
	running := state(t, ns)
	pid := fmt.Sprintf("process %d", a.Cmd.Process.Pid)
	for _, args := range [][]string{{"run", "--credential", "emulated"}, {"cleanup"}} {
		if out, code := azimds(t, ns, args...); code != 1 || !strings.Contains(out, pid) {
			t.Errorf("%q ended with %d, want 1 and %q: %s", args, code, pid, out)
		}
	}
	same(t, running, state(t, ns))
	served(t, ns, ownerUID)
	a.Stop()
}

// TestDetach wants run --detach back when the agent is ready, stop back when it has ended, and the reason when it cannot
// start.
func TestDetach(t *testing.T) {
	netns.Root(t)
	ns := netns.New(t)
	before := state(t, ns)
	log := filepath.Join(t.TempDir(), "log")
	run := []string{"run", "--detach", "--log-file", log, "--user", fmt.Sprint(ownerUID), "--credential", "emulated"}
	if out, code := azimds(t, ns, run...); code != 0 || !strings.Contains(out, log) {
		t.Fatalf("run --detach ended with %d: %s", code, out)
	}
	served(t, ns, ownerUID)
	if out, code := azimds(t, ns, run...); code != 1 || !strings.Contains(out, "another azimds") {
		t.Errorf("a second run --detach ended with %d: %s", code, out)
	}
	if out, code := azimds(t, ns, "stop"); code != 0 {
		t.Errorf("stop ended with %d: %s", code, out)
	}
	same(t, before, state(t, ns))
	if left := agentsIn(t, ns); len(left) != 0 {
		t.Errorf("processes are left after stop: %v", left)
	}
	if out, code := azimds(t, ns, "stop"); code != 1 || !strings.Contains(out, "no azimds runs") {
		t.Errorf("a second stop ended with %d: %s", code, out)
	}
}

// TestNetUp holds the interception apart from the server: servers come and go, and a connection made while there is none
// waits for the next.
func TestNetUp(t *testing.T) {
	netns.Root(t)
	for _, mode := range []string{"iptables", "loopback"} {
		t.Run(mode, func(t *testing.T) {
			ns := netns.New(t)
			before := state(t, ns)
			net := launch(t, ns, nil, "azimds", "net", "up", "--mode", mode, "--user", fmt.Sprint(ownerUID))
			waitFor(t, net, "azimds serve")
			if out, code := azimds(t, ns, "status"); code != 1 || !strings.Contains(out, "azimds serve") {
				t.Errorf("status without a server ended with %d: %s", code, out)
			}
			for range 2 {
				waiting := dialEndpoint(t, ns)
				server := serveAs(t, ns, ownerUID)
				served(t, ns, ownerUID)
				refused(t, ns, strangerUID)
				waiting()
				server.Stop()
			}
			if out, code := azimds(t, ns, "net", "show"); code != 0 || !strings.Contains(out, "169.254.169.254") {
				t.Errorf("net show ended with %d: %s", code, out)
			}
			if out, code := azimds(t, ns, "net", "down"); code != 0 {
				t.Errorf("net down ended with %d: %s", code, out)
			}
			if err := net.Wait(); err != nil {
				t.Errorf("net up ended with %v\n%s", err, net.Said)
			}
			same(t, before, state(t, ns))
		})
	}
}

// serveAs starts azimds serve as a user and waits until it is ready.
func serveAs(t *testing.T, ns *netns.NS, uid uint32) *agent.Agent {
	t.Helper()
	a := agent.Start(t, ns, agent.As(t, uid, command("serve", "--credential", "emulated")))
	a.AwaitReady()
	return a
}

// dialEndpoint connects as the owner while no server is there; the function that it returns wants an answer.
func dialEndpoint(t *testing.T, ns *netns.NS) (answered func()) {
	t.Helper()
	cmd := raw(t, ownerUID, "read")
	var out agent.Text
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := ns.Start(cmd); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := cmd.Wait(); err != nil || !strings.Contains(out.String(), `"access_token"`) {
			t.Errorf("who connected before the server was there got %v: %s", err, out.String())
		}
	}
}

// waitFor waits until an agent has said a word.
func waitFor(t *testing.T, a *agent.Agent, word string) {
	t.Helper()
	for deadline := time.Now().Add(agent.Patience); !strings.Contains(a.Said.String(), word); {
		select {
		case <-a.Ended:
			t.Fatalf("the agent ended: %v\n%s", a.Err, a.Said)
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("the agent does not say %q\n%s", word, a.Said)
		}
	}
}

// TestRealMetadataService has a metadata service answer already. In a network namespace other than the host's its place is
// taken, which is said, and given back; that the host's is left alone is held where there is a host: in netsetup and test/vm.
func TestRealMetadataService(t *testing.T) {
	netns.Root(t)
	ns := netns.New(t)
	ns.Run(t, "ip", "link", "add", "cloud", "type", "veth", "peer", "name", "cloud-peer")
	ns.Run(t, "ip", "address", "add", "169.254.169.254/32", "dev", "cloud")
	ns.Run(t, "ip", "link", "set", "cloud", "up")
	var real net.Listener
	err := ns.Do(func() (err error) {
		real, err = net.Listen("tcp4", "169.254.169.254:80")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer real.Close()
	before := state(t, ns)
	for _, asked := range []bool{false, true} {
		args, said := []string{"--credential", "emulated"}, "takes the place of a metadata service"
		if asked {
			args, said = append(args, "--mode", "iptables", "--shadow-metadata"), "asked for"
		}
		a := startAgent(t, ns, nil, args...)
		served(t, ns, ownerUID)
		if !strings.Contains(a.Said.String(), said) {
			t.Errorf("not said: %s\n%s", said, a.Said)
		}
		a.Stop()
		same(t, before, state(t, ns))
	}
}

// TestBadInput wants each mistake answered with what, where and a way out, the right code, and nothing changed.
func TestBadInput(t *testing.T) {
	netns.Root(t)
	ns := netns.New(t)
	before := state(t, ns)
	file := filepath.Join(t.TempDir(), "azimds.yaml")
	if err := os.WriteFile(file, []byte("credentail: emulated\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		want []string
	}{
		{[]string{"run", "--mode", "bridge"}, 2, []string{"mode", `"bridge"`, "loopback"}},
		{[]string{"run", "--no-such-flag"}, 2, []string{"no-such-flag", "--help"}},
		{[]string{"run", "surplus"}, 2, []string{"surplus"}},
		{[]string{"run", "--config", file}, 2, []string{file, "credentail", "credential"}},
		{[]string{"run", "--config", file + ".missing"}, 2, []string{file + ".missing"}},
		{[]string{"run", "--user", "no-such-user"}, 1, []string{"no-such-user"}},
		{[]string{"run", "--credential", "environment"}, 1, []string{"AZURE_TENANT_ID"}},
		{[]string{"run", "--credential", "client-secret"}, 2, []string{"client-secret"}},
		{[]string{"token"}, 2, []string{"--help"}},
		{[]string{"token", vault}, 1, []string{"azimds run"}},
		{[]string{"serve"}, 1, []string{"azimds net up"}},
		{[]string{"exec"}, 2, []string{"--help"}},
		{[]string{"no-such-command"}, 2, []string{"no-such-command"}},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			out, code := azimds(t, ns, c.args...)
			if code != c.code {
				t.Errorf("ended with %d, want %d: %s", code, c.code, out)
			}
			for _, want := range c.want {
				if !strings.Contains(out, want) {
					t.Errorf("does not say %q: %s", want, out)
				}
			}
		})
	}
	same(t, before, state(t, ns))
}

// TestStartThatFails wants a failed start to leave nothing, and the next to work.
func TestStartThatFails(t *testing.T) {
	netns.Root(t)
	ns := netns.New(t)
	before := state(t, ns)
	var web net.Listener
	err := ns.Do(func() (err error) {
		web, err = net.Listen("tcp4", "0.0.0.0:80")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	out, code := azimds(t, ns, "run", "--mode", "loopback", "--credential", "emulated")
	if code != 1 || !strings.Contains(out, "--mode iptables") {
		t.Errorf("loopback beside a web server ended with %d: %s", code, out)
	}
	same(t, before, state(t, ns))
	web.Close()
	a := startAgent(t, ns, nil, "--mode", "loopback", "--credential", "emulated")
	if err := a.Cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := a.Wait(); err != nil {
		t.Errorf("after Ctrl-C: %v\n%s", err, a.Said)
	}
	same(t, before, state(t, ns))
}
