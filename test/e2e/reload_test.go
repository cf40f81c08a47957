package e2e

import (
	"fmt"
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

// eventually waits until a condition holds; what is what it waits for.
func eventually(t *testing.T, what func() string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(agent.Patience); !holds(); {
		if time.Now().After(deadline) {
			t.Fatal(what())
		}
	}
}

// TestReload changes the configuration of a running agent: a SIGHUP to the process that a person started puts it to use
// with no restart, and one with mistakes is refused, each mistake named, while the old one goes on.
func TestReload(t *testing.T) {
	netns.Root(t)
	ns := netns.New(t)
	file := filepath.Join(t.TempDir(), "config.yaml")
	agent.OpenUp(t, file)
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	client := func(digit string) string {
		return strings.ReplaceAll("xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx", "x", digit)
	}
	emulated := func(id string) string { return "credential: emulated\nemulated: {client-id: " + id + "}\n" }
	write(emulated(client("1")))
	a := startAgent(t, ns, nil, "--mode", "iptables", "--config", file)
	hangup := func() {
		t.Helper()
		if err := a.Cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	gives := func(id string) bool { return strings.Contains(served(t, ns, ownerUID), id) }
	if !gives(client("1")) {
		t.Fatal("the first configuration is not in use")
	}

	write(emulated(client("2")))
	hangup()
	eventually(t, func() string { return "the second configuration is not in use\n" + a.Said.String() }, func() bool { return gives(client("2")) })

	write("credential: emulate\nemulated: {client-id: " + client("3") + "}\nfoo: 1\n")
	hangup()
	eventually(t, a.Said.String, func() bool { return strings.Count(a.Said.String(), "configuration refused, the old one stays") == 2 })
	for _, mistake := range []string{`credential is \"emulate\"`, `unknown key \"foo\"`} {
		if !strings.Contains(a.Said.String(), mistake) {
			t.Errorf("not said: %s\n%s", mistake, a.Said)
		}
	}
	if !gives(client("2")) {
		t.Error("the refused configuration changed what is given")
	}

	write(emulated(client("4")) + "limits: {connections: 7}\n")
	hangup()
	eventually(t, a.Said.String, func() bool { return gives(client("4")) })
	if want := "some settings count from the next start on"; !strings.Contains(a.Said.String(), want) || !strings.Contains(a.Said.String(), "limits.connections") {
		t.Errorf("not said: %s\n%s", want, a.Said)
	}
	a.Stop()
	refused(t, ns, ownerUID)
}

// TestNotify wants the person's command run once for each time that tokens cease to be had, and not for each request.
func TestNotify(t *testing.T) {
	netns.Root(t)
	ns := netns.New(t)
	env := signedOutEnv(t)
	profile := filepath.Join(strings.TrimPrefix(env[0], "AZIMDS_AZURE_CLI_CONFIG_DIR="), "azureProfile.json")
	told := filepath.Join(t.TempDir(), "told")
	if err := os.WriteFile(told, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	agent.OpenUp(t, told)
	if err := os.Chmod(told, 0o666); err != nil {
		t.Fatal(err)
	}
	env = append(env, fmt.Sprintf(`AZIMDS_NOTIFY=printf '%%s|%%s\n' "$AZIMDS_REASON" "$AZIMDS_HINT" >>%s`, told))
	a := startAgent(t, ns, env, "--credential", "azure-cli")
	lines := func() string {
		text, err := os.ReadFile(told)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	const line = "nobody is signed in to the Azure CLI|az login\n"
	asks := func(code int) bool {
		_, got := agent.Output(t, ns, raw(t, ownerUID, "read"))
		return got == code
	}
	signedIn := `{"subscriptions":[{"id":"s","name":"n","isDefault":true,"tenantId":"t","user":{"name":"a@b.c","type":"user"}}]}`
	for episode := 1; episode <= 2; episode++ {
		eventually(t, a.Said.String, func() bool { return asks(4) })
		if !asks(4) { // a second request of the same episode
			t.Error("the second request was answered otherwise")
		}
		eventually(t, lines, func() bool { return lines() == strings.Repeat(line, episode) })
		if err := os.WriteFile(profile, []byte(signedIn), 0o644); err != nil {
			t.Fatal(err)
		}
		eventually(t, a.Said.String, func() bool { return asks(0) })
		if episode == 1 {
			if err := os.WriteFile(profile, []byte("{}"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := lines(); got != strings.Repeat(line, 2) {
		t.Errorf("told: %q", got)
	}
	a.Stop()
}

// TestTerminalGoes closes the terminal that the agent runs in: that SIGHUP is no wish for another configuration, but the end.
func TestTerminalGoes(t *testing.T) {
	netns.Root(t)
	script, err := exec.LookPath("script")
	netns.Need(t, "script", err)
	ns := netns.New(t)
	before := state(t, ns)
	run := "exec " + filepath.Join(bin, "azimds") + " run --credential emulated --user " + fmt.Sprint(ownerUID)
	terminal := exec.Command(script, "-qec", run, "/dev/null")
	terminal.Env = agent.CleanEnv()
	if err := ns.Start(terminal); err != nil {
		t.Fatal(err)
	}
	said := func() string { out, _ := azimds(t, ns, "status"); return out }
	eventually(t, said, func() bool { _, code := azimds(t, ns, "status"); return code == 0 })
	served(t, ns, ownerUID)
	if err := terminal.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = terminal.Wait() // it was killed
	eventually(t, said, func() bool { return strings.HasPrefix(said(), "no azimds runs") })
	same(t, before, state(t, ns))
	refused(t, ns, ownerUID)
}
