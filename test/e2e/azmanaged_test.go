package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"azimds/test/agent"
	"azimds/test/entra"
	"azimds/test/netns"
)

// managedIdentity is what is said of an az that would ask the agent, wherever that shows.
const managedIdentity = "the Azure CLI is signed in as a managed identity, which would be asked of azimds itself; " +
	"sign in as a person or a service principal; run: az login"

// TestManagedIdentityLogin signs the real az in by "az login --identity" at an agent, and has the next agent lend that
// login: it says so, without asking anybody.
func TestManagedIdentityLogin(t *testing.T) {
	netns.Root(t)
	ns := netns.New(t)
	home := startEntraWith(t, ns, directory())
	az := signInAz(t, ns, home)
	managed := azFolder(t, az)
	a := startAgent(t, ns, azEnv(az), "--credential", "azure-cli")
	if _, err := managed.Output(t.Context(), "login", "--identity", "--output", "none"); err != nil {
		t.Fatal(err)
	}
	a.Stop()

	asked := len(home.Requests())
	b := startAgent(t, ns, azEnv(managed), "--credential", "azure-cli")
	for range 2 {
		if out, code := agent.Output(t, ns, raw(t, ownerUID, "read")); code != 4 || !strings.Contains(out, managedIdentity) {
			t.Errorf("az is a managed identity: %d, %s", code, out)
		}
	}
	if more := home.Requests()[asked:]; len(more) != 0 {
		t.Errorf("the authority was asked: %+v", more)
	}
	b.Stop() // then all of the log is there
	if log := b.Said.String(); !strings.Contains(log, "managed identity") || strings.Contains(log, "itself started") {
		t.Errorf("the log does not name the cause, or the agent was asked by its own child:\n%s", log)
	}
}

// TestAskedByItself has az ask the agent that runs it though az's profile does not say that it will: every request ends with
// the cause and no az is left, whatever the answer did to it.
func TestAskedByItself(t *testing.T) {
	netns.Root(t)
	ns := netns.New(t)
	home := startEntraWith(t, ns, directory())
	az := signInAz(t, ns, home)
	managed := azFolder(t, az)
	lender := startAgent(t, ns, azEnv(az), "--credential", "azure-cli")
	if _, err := managed.Output(t.Context(), "login", "--identity", "--output", "none"); err != nil {
		t.Fatal(err)
	}
	lender.Stop()

	for _, test := range []struct{ name, script string }{
		{"the real az in another folder", "AZURE_CONFIG_DIR='" + managed.ConfigDir + "' exec '" + az.Path + `' "$@"`},
		{"a script", "curl -sS -H Metadata:true '" + tokenURL + "' >&2; exit 1"},
		{"a child of a script's child", "(sh -c \"curl -sS -H Metadata:true '" + tokenURL + "' >&2; true\"); exit 1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			// the client gives up long before the time-out of az that would end a question to itself
			env := append(azEnv(az), "PATH="+wrapper(t, test.script)+":/usr/bin:/bin:/usr/sbin:/sbin",
				fmt.Sprintf("AZIMDS_AZURE_CLI_TIMEOUT=%s", 4*agent.Patience))
			for _, mode := range []string{"iptables", "loopback"} {
				// no time-out of az's may be what ends it
				a := startAgent(t, ns, env, "--credential", "azure-cli", "--mode", mode)
				if out, code := agent.Output(t, ns, raw(t, ownerUID, "read")); code != 4 || !strings.Contains(out, managedIdentity) {
					t.Errorf("%s: %d, %s", mode, code, out)
				}
				a.Stop() // then all of the log is there
				// the rules of mode iptables keep the agent's own children from it
				if log := a.Said.String(); strings.Contains(log, "refused a program that azimds itself started") != (mode == "loopback") {
					t.Errorf("%s: asked by its own child, or not:\n%s", mode, log)
				}
			}
		})
	}
}

// azFolder is the same az with a folder of its own, that knows the same cloud and in which nobody is signed in. It asks the
// metadata service directly, as az does where no proxy is set.
func azFolder(t testing.TB, az entra.Az) entra.Az {
	t.Helper()
	from := az.ConfigDir
	az.ConfigDir = filepath.Join(filepath.Dir(from), "managed")
	if err := os.Mkdir(az.ConfigDir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"config", "clouds.config"} {
		data, err := os.ReadFile(filepath.Join(from, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(az.ConfigDir, name), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := chownAll(az.ConfigDir, ownerUID); err != nil {
		t.Fatal(err)
	}
	run := az.Run
	az.Run = func(cmd *exec.Cmd) error {
		cmd.Env = slices.DeleteFunc(cmd.Env, func(v string) bool { return strings.HasPrefix(v, "HTTP_PROXY=") })
		return run(cmd)
	}
	return az
}

// wrapper is a folder with a program called az that is a shell script.
func wrapper(t testing.TB, script string) string {
	t.Helper()
	dir := t.TempDir()
	agent.OpenUp(t, filepath.Join(dir, "x"))
	if err := os.WriteFile(filepath.Join(dir, "az"), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}
