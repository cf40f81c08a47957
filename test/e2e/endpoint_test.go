package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

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

// endpointAgent runs an agent with an endpoint as the owner, without a privilege, and waits until it is ready.
func endpointAgent(t testing.TB, ns *netns.NS, kind string, args ...string) *agent.Agent {
	t.Helper()
	a := agent.Start(t, ns, unprivileged(t, append([]string{"run", "--endpoint", kind, "--credential", "emulated", "--log-level=debug"}, args...)...))
	a.AwaitReady()
	return a
}

// variables are what azimds env says, in the order in which it does.
func variables(t testing.TB, ns *netns.NS, args ...string) []string {
	t.Helper()
	out, code := agent.Output(t, ns, unprivileged(t, append([]string{"env", "--shell", "docker"}, args...)...))
	if code != 0 {
		t.Fatalf("azimds env ended with %d: %s", code, out)
	}
	return strings.Split(strings.TrimSpace(out), "\n")
}

// spoilt is variables with another secret, or with none.
func spoilt(variables []string, secret bool) []string {
	if len(variables) == 1 { // of Cloud Shell, whose address is the secret
		parts := strings.Split(variables[0], "/")
		if parts[5] = strings.Repeat("A", len(parts[5])); !secret {
			parts = slices.Delete(parts, 5, 6)
		}
		return []string{strings.Join(parts, "/")}
	}
	name, value, _ := strings.Cut(variables[1], "=")
	if value = strings.Repeat("A", len(value)); !secret {
		value = "x"
	}
	return []string{variables[0], name + "=" + value}
}

// asked runs cmd as uid with variables and returns what it printed.
func asked(t testing.TB, ns *netns.NS, uid uint32, cmd *exec.Cmd, variables []string) (string, int) {
	t.Helper()
	cmd = agent.As(t, uid, cmd)
	cmd.Env = append(cmd.Env, variables...)
	return agent.Output(t, ns, cmd)
}

// curlScript asks with whatever variables there are, as the documentation of the services has it.
const curlScript = `case $IDENTITY_HEADER:$MSI_SECRET in
?*:) curl -sS --noproxy '*' -H "X-IDENTITY-HEADER: $IDENTITY_HEADER" "$IDENTITY_ENDPOINT?resource=https://vault.azure.net&api-version=2019-08-01" ;;
:?*) curl -sS --noproxy '*' -H "secret: $MSI_SECRET" "$MSI_ENDPOINT?resource=https://vault.azure.net&api-version=2017-09-01" ;;
*) curl -sS --noproxy '*' -H Metadata:true -d resource=https://vault.azure.net "$MSI_ENDPOINT" ;;
esac`

func curl() *exec.Cmd { return exec.Command("sh", "-c", curlScript) }

// TestEndpointRun wants whoever knows the variables of a running agent served if it is the owner, and nobody else: not with a wrong
// secret or without one, not another user, not root, whatever they know.
func TestEndpointRun(t *testing.T) {
	netns.Root(t)
	_, err := exec.LookPath("curl")
	netns.Need(t, "curl", err)
	clients := sdks(t)
	for _, kind := range endpointKinds {
		t.Run(kind, func(t *testing.T) {
			ns := netns.New(t)
			before := state(t, ns)
			a := endpointAgent(t, ns, kind)
			vars := variables(t, ns, "--zone", "local")
			for _, client := range clients {
				for _, credential := range []string{"managed", "default"} {
					out, code := asked(t, ns, ownerUID, client.command(credential, vault+"/.default"), vars)
					if code != 0 || !strings.Contains(out, `"token"`) {
						t.Errorf("%s, %s, got %d: %s", client.name, credential, code, out)
					}
				}
				for _, secret := range []bool{true, false} {
					out, code := asked(t, ns, ownerUID, client.command("managed", vault+"/.default"), spoilt(vars, secret))
					if code == 0 || strings.Contains(out, "eyJ") {
						t.Errorf("%s with another secret, %v, got %d: %s", client.name, secret, code, out)
					}
				}
			}
			for uid, want := range map[uint32]bool{ownerUID: true, strangerUID: false, 0: false} {
				out, code := asked(t, ns, uid, curl(), vars)
				if got := code == 0 && strings.Contains(out, `"access_token"`); got != want || !want && strings.Contains(out, "{") {
					t.Errorf("uid %d got %d: %s", uid, code, out)
				}
				out, code = asked(t, ns, uid, command("env"), nil)
				if got := code == 0 && strings.Contains(out, "export "); got != want {
					t.Errorf("azimds env of uid %d ended with %d: %s", uid, code, out)
				}
			}
			out, code := asked(t, ns, ownerUID, command("status", "--json"), nil)
			if code != 0 || !strings.Contains(out, `"endpoint_kind": "`+kind+`"`) || !strings.Contains(out, `"plan": []`) {
				t.Errorf("status ended with %d: %s", code, out)
			}
			confined(t, a, ownerUID)
			if out, code := asked(t, ns, ownerUID, command("stop"), nil); code != 0 {
				t.Errorf("stop ended with %d: %s", code, out)
			}
			if err := a.Wait(); err != nil {
				t.Errorf("the agent ended with %v:\n%s", err, a.Said)
			}
			said := a.Said.String()
			if !strings.Contains(said, "uid=61235") || !strings.Contains(said, "endpoint="+kind) {
				t.Errorf("the agent did not say who was refused:\n%s", said)
			}
			_, secret, _ := strings.Cut(vars[len(vars)-1], "=")
			if strings.Contains(said, secret) || strings.Contains(said, "eyJ") {
				t.Errorf("the agent said a secret:\n%s", said)
			}
			same(t, before, state(t, ns))
			if _, err := os.Stat(filepath.Join(os.TempDir(), "azimds-61234", fmt.Sprint(ns.Inode()))); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the state folder: %v, want none", err)
			}
		})
	}
}

// TestEndpointExecServesTheTree wants COMMAND alone served, although another process of the same user knows the variables, and COMMAND's
// exit codes as they are where requests are intercepted.
func TestEndpointExecServesTheTree(t *testing.T) {
	netns.Root(t)
	_, err := exec.LookPath("curl")
	netns.Need(t, "curl", err)
	ns := netns.New(t)
	for _, all := range []bool{false, true} {
		dir := t.TempDir()
		agent.OpenUp(t, filepath.Join(dir, "x"))
		up, end := filepath.Join(dir, "up"), filepath.Join(dir, "end")
		for _, pipe := range []string{up, end} {
			if err := errors.Join(syscall.Mkfifo(pipe, 0o600), os.Chown(pipe, ownerUID, ownerUID)); err != nil {
				t.Fatal(err)
			}
		}
		vars := filepath.Join(dir, "vars")
		if err := errors.Join(os.WriteFile(vars, nil, 0o600), os.Chown(vars, ownerUID, ownerUID)); err != nil {
			t.Fatal(err)
		}
		script := fmt.Sprintf("env | grep ^IDENTITY >%s; echo >%s; read x <%s\n%s; exit 42", vars, up, end, curlScript)
		args := []string{"exec", "--endpoint", "app-service", "--credential", "emulated"}
		if all {
			args = append(args, "--all")
		}
		cmd := unprivileged(t, append(args, "--", "sh", "-c", script)...)
		said := new(agent.Text)
		cmd.Stdout, cmd.Stderr = said, said
		if err := ns.Start(cmd); err != nil {
			t.Fatal(err)
		}
		await(t, said, up)
		known, err := os.ReadFile(vars)
		if err != nil {
			t.Fatal(err)
		}
		out, code := asked(t, ns, ownerUID, curl(), strings.Split(strings.TrimSpace(string(known)), "\n"))
		if got := code == 0 && strings.Contains(out, `"access_token"`); got != all {
			t.Errorf("with --all %v, a process outside the tree got %d: %s", all, code, out)
		}
		tell(t, said, end)
		var exit *exec.ExitError
		if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 42 || !strings.Contains(said.String(), `"access_token"`) {
			t.Errorf("exec ended with %v, want 42 and a token:\n%s", err, said)
		}
	}
	for _, c := range []struct {
		args []string
		want int
	}{
		{[]string{"--", "sh", "-c", "kill -TERM $$"}, 143}, {[]string{"--", "no-such-command"}, 127},
		{[]string{"--mode", "loopback", "--", "true"}, 125}, {[]string{"--", "true"}, 0},
	} {
		out, code := agent.Output(t, ns, unprivileged(t, append([]string{"exec", "--endpoint", "app-service", "--credential", "emulated"}, c.args...)...))
		if code != c.want {
			t.Errorf("exec %q ended with %d, want %d:\n%s", c.args, code, c.want, out)
		}
	}
}

// TestEndpointKilled wants nothing left of an agent whose first process is killed, and of one whose server is.
func TestEndpointKilled(t *testing.T) {
	netns.Root(t)
	for _, victim := range []string{"holder", "server"} {
		t.Run(victim, func(t *testing.T) {
			ns := netns.New(t)
			a := endpointAgent(t, ns, "app-service")
			dir := filepath.Join(os.TempDir(), "azimds-61234", fmt.Sprint(ns.Inode()))
			if _, err := os.Stat(filepath.Join(dir, "endpoint", "control.sock")); err != nil {
				t.Fatal(err)
			}
			family := a.Family()
			if err := syscall.Kill(family[victim], syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			if err := a.Wait(); err == nil {
				t.Error("the agent ended well")
			}
			for deadline := time.Now().Add(agent.Patience); ; <-time.After(10 * time.Millisecond) {
				_, err := os.Stat(dir)
				if errors.Is(err, fs.ErrNotExist) && syscall.Kill(family["server"], 0) != nil {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("the state folder: %v, want none\n%s", err, a.Said)
				}
			}
			endpointAgent(t, ns, "app-service").Stop()
		})
	}
}

// TestEndpointRootAlone is a container in which only root exists and that may not change its network: root's program has
// capabilities that the server has not, and is found all the same.
func TestEndpointRootAlone(t *testing.T) {
	netns.Root(t)
	ns := netns.New(t)
	azimds := command("exec", "--endpoint", "app-service", "--credential", "emulated", "--", "sh", "-c", curlScript)
	cmd := exec.Command("setpriv", append([]string{"--bounding-set", "-net_admin,-sys_ptrace,-sys_admin", "--"}, azimds.Args...)...)
	cmd.Env = agent.CleanEnv()
	if out, code := agent.Output(t, ns, cmd); code != 0 || !strings.Contains(out, `"access_token"`) {
		t.Errorf("exec ended with %d:\n%s", code, out)
	}
}

// TestEndpointOfRoots wants root able to start an agent for somebody, who then asks for the variables and is served, and nobody else.
func TestEndpointOfRoots(t *testing.T) {
	netns.Root(t)
	ns := netns.New(t)
	a := startAgent(t, ns, nil, "--endpoint", "app-service", "--credential", "emulated")
	confined(t, a, ownerUID)
	vars := variables(t, ns, "--zone", "local")
	for uid, want := range map[uint32]bool{ownerUID: true, strangerUID: false, 0: false} {
		out, code := asked(t, ns, uid, curl(), vars)
		if got := code == 0 && strings.Contains(out, `"access_token"`); got != want {
			t.Errorf("uid %d got %d: %s", uid, code, out)
		}
	}
	if out, code := azimds(t, ns, "env"); code == 0 || strings.Contains(out, "export") {
		t.Errorf("root was told the variables: %d, %s", code, out)
	}
	a.Stop()
}

// TestEndpointOtherUsers wants a user who is named served only where programs are admitted that an agent without privilege may not
// look at: they could be relays.
func TestEndpointOtherUsers(t *testing.T) {
	netns.Root(t)
	for _, relays := range []bool{false, true} {
		ns := netns.New(t)
		args := []string{"--allow-users", fmt.Sprint(strangerUID)}
		if relays {
			args = append(args, "--allow-relays", "['*']")
		}
		a := endpointAgent(t, ns, "app-service", args...)
		vars := variables(t, ns, "--zone", "local")
		for uid, want := range map[uint32]bool{ownerUID: true, strangerUID: relays, 0: false} {
			out, code := asked(t, ns, uid, curl(), vars)
			if got := code == 0 && strings.Contains(out, `"access_token"`); got != want {
				t.Errorf("relays %v: uid %d got %d: %s\n%s", relays, uid, code, out, a.Said)
			}
		}
		a.Stop()
	}
}

// TestEndpointZone wants a container behind a bridge that is named served at the bridge's address, with the secret; not one behind
// another bridge, and not a process of this machine's by that way.
func TestEndpointZone(t *testing.T) {
	netns.Root(t)
	_, err := exec.LookPath("curl")
	netns.Need(t, "curl", err)
	ns, inside, elsewhere := netns.New(t), netns.New(t), netns.New(t)
	ns.Bridge(t, "brz0", "10.99.0.1/24")
	ns.Plug(t, "brz0", inside, "10.99.0.2/24", "10.99.0.1")
	ns.Bridge(t, "brz1", "10.99.1.1/24")
	ns.Plug(t, "brz1", elsewhere, "10.99.1.2/24", "10.99.1.1")
	a := endpointAgent(t, ns, "app-service", "--zones", "brz0")
	vars := variables(t, ns)
	if !strings.HasPrefix(vars[0], "IDENTITY_ENDPOINT=http://10.99.0.1:") {
		t.Fatalf("azimds env says %q", vars)
	}
	ask := func(from *netns.NS, uid uint32, vars []string) bool {
		out, code := asked(t, from, uid, exec.Command("sh", "-c", "curl() { command curl --max-time 5 \"$@\"; }\n"+curlScript), vars)
		return code == 0 && strings.Contains(out, `"access_token"`)
	}
	if !ask(inside, 0, vars) {
		t.Errorf("the container behind the bridge got no token:\n%s", a.Said)
	}
	if ask(inside, 0, spoilt(vars, true)) {
		t.Error("it got one with another secret")
	}
	if ask(elsewhere, 0, vars) {
		t.Error("a container behind another bridge got a token")
	}
	if ask(ns, ownerUID, vars) {
		t.Error("a process of this machine's got a token at the bridge's address")
	}
	if !ask(ns, ownerUID, variables(t, ns, "--zone", "local")) {
		t.Errorf("the owner got no token:\n%s", a.Said)
	}
	if ask(inside, 0, variables(t, ns, "--zone", "local")) {
		t.Error("the container got a token at 127.0.0.1")
	}
	ns.Run(t, "sh", "-ec", "ip addr add 10.98.0.1/24 dev brz0; ip addr del 10.99.0.1/24 dev brz0")
	inside.Run(t, "sh", "-ec", "ip addr add 10.98.0.2/24 dev eth0")
	for deadline := time.Now().Add(agent.Patience); !strings.HasPrefix(variables(t, ns)[0], "IDENTITY_ENDPOINT=http://10.98.0.1:"); {
		if time.Now().After(deadline) {
			t.Fatalf("azimds env says %q", variables(t, ns))
		}
	}
	if !ask(inside, 0, variables(t, ns)) {
		t.Errorf("the container got no token at the bridge's new address:\n%s", a.Said)
	}
	a.Stop()
}
