package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"azimds/test/agent"
	"azimds/test/netns"
	"azimds/test/tools"
)

// nextToken is what the next credential of a default chain yields: an az of the client's own.
const nextToken = "eyJ0eXAiOiJKV1QifQ.eyJuZXh0Ijp0cnVlfQ.c2ln"

// TestSignedOut has nobody signed in to az: every SDK's default chain goes on to its next credential, also with
// AZURE_CLIENT_ID set, and a lone managed identity credential is told the reason and the command.
func TestSignedOut(t *testing.T) {
	netns.Root(t)
	clients := sdks(t)
	java := tools.JavaClient(t)
	clients = append(clients, sdk{"java", func(args ...string) *exec.Cmd {
		return exec.Command(java[0], append(java[1:len(java):len(java)], args...)...)
	}})
	ns := netns.New(t)
	a := startAgent(t, ns, signedOutEnv(t), "--credential", "azure-cli")
	path := fakeAz(t)
	for _, client := range clients {
		for _, id := range []string{"", clientID} {
			name := client.name
			if id != "" {
				name += "/AZURE_CLIENT_ID"
			}
			run := func(kind string) (string, int) {
				cmd := agent.As(t, ownerUID, client.command(kind, vault+"/.default"))
				cmd.Env = append(cmd.Env, "PATH="+path+":/usr/bin:/bin")
				if id != "" {
					cmd.Env = append(cmd.Env, "AZURE_CLIENT_ID="+id)
				}
				return agent.Output(t, ns, cmd)
			}
			t.Run(name+"/default", func(t *testing.T) {
				if out, code := run("default"); code != 0 || !strings.Contains(out, nextToken) {
					t.Errorf("the chain did not go on, code %d: %s", code, out)
				}
			})
			t.Run(name+"/managed", func(t *testing.T) {
				if out, code := run("managed"); code != 1 || !strings.Contains(out, "az login") || !strings.Contains(out, "nobody is signed in") {
					t.Errorf("no hint, code %d: %s", code, out)
				}
			})
		}
	}
	a.Stop()
}

// signedOutEnv points the agent at a folder of az's in which nobody is signed in, and at an az.
func signedOutEnv(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	agent.OpenUp(t, filepath.Join(dir, "x"))
	if err := os.WriteFile(filepath.Join(dir, "azureProfile.json"), []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	return []string{"AZIMDS_AZURE_CLI_CONFIG_DIR=" + dir, "PATH=" + fakeAz(t) + ":" + os.Getenv("PATH") + ":/usr/sbin:/sbin"}
}

// fakeAz is a folder with an az that is signed in.
func fakeAz(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	agent.OpenUp(t, filepath.Join(dir, "x"))
	expires := time.Now().Add(time.Hour)
	answer, err := json.Marshal(map[string]any{
		"accessToken": nextToken, "expires_on": expires.Unix(), "expiresOn": expires.Format("2006-01-02 15:04:05.000000"),
		"tokenType": "Bearer", "subscription": "s", "tenant": "t",
	})
	if err != nil {
		t.Fatal(err)
	}
	script := "#!/bin/sh\ncat <<'END'\n" + string(answer) + "\nEND\n"
	if err := os.WriteFile(filepath.Join(dir, "az"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestSignInReopens signs in while the agent runs: what was reset before is answered, and a token is there.
func TestSignInReopens(t *testing.T) {
	netns.Root(t)
	ns := netns.New(t)
	authority := startEntra(t, ns)
	az := signInAz(t, ns, authority)
	signedIn, err := os.ReadFile(filepath.Join(az.ConfigDir, "azureProfile.json"))
	if err != nil {
		t.Fatal(err)
	}
	write := func(profile []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(az.ConfigDir, "azureProfile.json"), profile, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write([]byte("{}"))
	env := append(az.Env(), "AZIMDS_AZURE_CLI_CONFIG_DIR="+az.ConfigDir, "PATH="+filepath.Dir(az.Path)+":/usr/bin:/bin:/usr/sbin:/sbin")
	a := startAgent(t, ns, env, "--credential", "azure-cli")
	if out, code := agent.Output(t, ns, raw(t, ownerUID, "read")); code != 4 || !strings.Contains(out, "az login") {
		t.Errorf("signed out: %d, %s", code, out)
	}
	write(signedIn)
	for deadline := time.Now().Add(agent.Patience); ; {
		out, code := agent.Output(t, ns, raw(t, ownerUID, "read"))
		if code == 0 && strings.Contains(out, `"access_token"`) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after the sign-in: %d, %s", code, out)
		}
	}
	write([]byte("{}"))
	for deadline := time.Now().Add(agent.Patience); ; {
		out, code := agent.Output(t, ns, raw(t, ownerUID, "read"))
		if code == 4 && strings.Contains(out, "az login") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after signing out the token is still given: %d, %s", code, out)
		}
	}
	a.Stop()
}
