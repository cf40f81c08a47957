package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"azimds/imds/token"
	"azimds/imds/token/emulated"
	"azimds/test/agent"
	"azimds/test/entra"
	"azimds/test/netns"
	"azimds/test/tools"
)

const vault = "https://vault.azure.net"

// sdk is an unmodified client of one language, as its registry publishes it.
type sdk struct {
	name    string
	command func(args ...string) *exec.Cmd
}

func sdks(t testing.TB) []sdk {
	t.Helper()
	node, err := exec.LookPath("node")
	netns.Need(t, "node", err)
	python, modules := tools.Python(t), tools.NodeModules(t)
	return []sdk{
		{"go", func(args ...string) *exec.Cmd { return exec.Command(filepath.Join(bin, "client-go"), args...) }},
		{"python", func(args ...string) *exec.Cmd {
			return exec.Command(python, append([]string{filepath.Join(bin, "client.py")}, args...)...)
		}},
		{"javascript", func(args ...string) *exec.Cmd {
			return exec.Command(node, append([]string{filepath.Join(bin, "client.mjs"), "--modules", modules}, args...)...)
		}},
	}
}

// TestUnmodifiedSDKs is the product: no variable, no az within reach, no change of code, and both kinds of credential get
// the developer's token from 169.254.169.254, the default chain within the one second that it gives the probe.
func TestUnmodifiedSDKs(t *testing.T) {
	netns.Root(t)
	clients := sdks(t)
	ns := netns.New(t)
	authority := startEntra(t, ns)
	az := signInAz(t, ns, authority)

	for _, mode := range []string{"iptables", "loopback"} {
		for _, credential := range []string{"emulated", "azure-cli"} {
			t.Run(mode+"/"+credential, func(t *testing.T) {
				before := state(t, ns)
				var env []string
				if credential == "azure-cli" {
					env = append(az.Env(), "AZIMDS_AZURE_CLI_CONFIG_DIR="+az.ConfigDir, "PATH="+filepath.Dir(az.Path)+":"+os.Getenv("PATH")+":/usr/sbin:/sbin")
				}
				a := startAgent(t, ns, env, "--mode", mode, "--credential", credential)
				for _, client := range clients {
					for _, kind := range []string{"managed", "default"} {
						t.Run(client.name+"/"+kind, func(t *testing.T) {
							for _, got := range runClient(t, ns, agent.As(t, ownerUID, client.command(kind, vault+"/.default", "--count", "2"))) {
								ours(t, credential, authority, got, true)
							}
						})
					}
				}
				a.Stop()
				same(t, before, state(t, ns))
			})
		}
	}
}

// ours fails the test unless the agent's own credential yielded the token, an application's or a person's: a default chain can
// succeed by another way.
func ours(t testing.TB, credential string, authority *entra.Server, got string, app bool) {
	t.Helper()
	claims, err := token.ParseClaims(got)
	if err != nil {
		t.Fatalf("the token: %v", err)
	}
	if claims.Audience != vault || claims.IsApp() != app {
		t.Errorf("the token is for %q, app %v; want %q, app %v", claims.Audience, claims.IsApp(), vault, app)
	}
	if credential == "emulated" {
		if kid := header(t, got)["kid"]; kid == nil || claims.TenantID != emulated.DefaultTenantID {
			t.Errorf("the token of tenant %q, key %v, is not an emulated one", claims.TenantID, kid)
		}
		return
	}
	for _, issued := range authority.Issued() {
		if issued.Token == got {
			return
		}
	}
	t.Errorf("the token is none of the %d that the authority issued", len(authority.Issued()))
}

// runClient runs a client of sdks in ns and returns the tokens it got.
func runClient(t testing.TB, ns *netns.NS, cmd *exec.Cmd) []string {
	t.Helper()
	out, code := agent.Output(t, ns, cmd)
	if code != 0 {
		t.Fatalf("%q ended with %d:\n%s", cmd.Args, code, out)
	}
	var tokens []string
	lines := bufio.NewScanner(strings.NewReader(out))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var got struct {
			Token string  `json:"token"`
			MS    float64 `json:"ms"`
		}
		if err := json.Unmarshal(lines.Bytes(), &got); err != nil || got.Token == "" {
			t.Fatalf("%q printed %q: %v", cmd.Args, lines.Text(), err)
		}
		t.Logf("a token in %.0f ms", got.MS)
		tokens = append(tokens, got.Token)
	}
	return tokens
}

// client of the stand-in authority that az is signed in as.
const clientID, clientSecret = "6f1c2f0a-53a4-4a0e-9c55-0a4a3d6b7c10", "a-secret~of.the-test"

// startEntra starts the stand-in authority inside ns.
func startEntra(t testing.TB, ns *netns.NS) *entra.Server {
	t.Helper()
	return startEntraWith(t, ns, entra.Options{Clients: []entra.Client{{ID: clientID, Secret: clientSecret}}})
}

// startEntraWith starts a stand-in authority with options of its own inside ns.
func startEntraWith(t testing.TB, ns *netns.NS, o entra.Options) *entra.Server {
	t.Helper()
	s, err := entra.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(listen(t, ns)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// signInAz signs the real Azure CLI in as the owner, in ns.
func signInAz(t testing.TB, ns *netns.NS, authority *entra.Server) entra.Az {
	t.Helper()
	dir := t.TempDir()
	agent.OpenUp(t, filepath.Join(dir, "x"))
	az := entra.Az{
		Path: tools.AzureCLI(t), ConfigDir: filepath.Join(dir, "azure"), CAFile: filepath.Join(dir, "ca.pem"), URL: authority.URL(),
		Run: func(cmd *exec.Cmd) error {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: ownerUID, Gid: ownerUID}}
			cmd.Dir = dir
			if err := ns.Start(cmd); err != nil {
				return err
			}
			return cmd.Wait()
		},
	}
	if err := os.WriteFile(az.CAFile, authority.CAPEM(), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(az.ConfigDir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(az.ConfigDir, ownerUID, ownerUID); err != nil {
		t.Fatal(err)
	}
	if err := az.Login(context.Background(), authority.Tenant(), clientID, clientSecret); err != nil {
		t.Fatal(err)
	}
	if err := chownAll(az.ConfigDir, ownerUID); err != nil {
		t.Fatal(err)
	}
	return az
}

func chownAll(dir string, uid int) error {
	return filepath.Walk(dir, func(path string, _ os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, uid, uid)
	})
}

// header is the first part of a JWT.
func header(t testing.TB, jwt string) map[string]any {
	t.Helper()
	first, _, _ := strings.Cut(jwt, ".")
	data := make([]byte, len(first))
	n, err := decodeSegment(data, first)
	if err != nil {
		t.Fatal(err)
	}
	var h map[string]any
	if err := json.NewDecoder(bytes.NewReader(data[:n])).Decode(&h); err != nil {
		t.Fatal(err)
	}
	return h
}
