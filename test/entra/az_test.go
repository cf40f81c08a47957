package entra

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"azimds/test/netns"
	"azimds/test/tools"
)

// azIn is a real Azure CLI and a server, alone in a network namespace that has nothing but its loopback device: whatever az
// asks of anybody else fails.
func azIn(t *testing.T) (Az, *Server) {
	t.Helper()
	ns := netns.New(t)
	path := tools.AzureCLI(t)
	var ln net.Listener
	if err := ns.Do(func() (err error) {
		ln, err = net.Listen("tcp", "127.0.0.1:0")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	srv, err := New(Options{Clients: []Client{{ID: testClient, Secret: testSecret}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Start(ln); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
	})
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(ca, srv.CAPEM(), 0o644); err != nil {
		t.Fatal(err)
	}
	return Az{
		Path: path, ConfigDir: filepath.Join(dir, "az"), CAFile: ca, URL: srv.URL(),
		Run: func(cmd *exec.Cmd) error { return ns.Do(cmd.Run) },
	}, srv
}

func TestAz(t *testing.T) {
	az, srv := azIn(t)
	t.Setenv("AZURE_CLIENT_ID", "of the developer, not of the test")
	t.Setenv("HTTPS_PROXY", "http://192.0.2.1:1") // after az is there: its installation goes through a proxy, if any
	if err := az.Login(t.Context(), DefaultTenant, testClient, testSecret); err != nil {
		t.Fatal(err)
	}
	got := accessToken(t, az)
	issued := srv.Issued()
	last := issued[len(issued)-1]
	if got.AccessToken != last.Token || last.Resource != vault {
		t.Errorf("az has a token that was not issued last; that was for %s", last.Resource)
	}
	if got.Tenant != DefaultTenant || got.Subscription != DefaultSubscription || got.TokenType != "Bearer" {
		t.Errorf("az says %+v", got)
	}
	if again := accessToken(t, az); again.AccessToken != got.AccessToken || len(srv.Issued()) != len(issued) {
		t.Errorf("az keeps no tokens: %d issued, then %d", len(issued), len(srv.Issued()))
	}
	for _, r := range srv.Requests() {
		if r.Status != 200 {
			t.Errorf("az sent what is not understood: %+v", r)
		}
	}
}

// azToken is what "az account get-access-token" prints, as far as it does not depend on the moment.
type azToken struct {
	AccessToken, Subscription, Tenant, TokenType string
}

func accessToken(t *testing.T, az Az) azToken {
	t.Helper()
	out, err := az.Output(t.Context(), "account", "get-access-token", "--resource", vault, "--output", "json")
	if err != nil {
		t.Fatal(err)
	}
	var token azToken
	if err := json.Unmarshal(out, &token); err != nil {
		t.Fatal(err)
	}
	return token
}

// The login of one user is of use to that user: nothing in its folder belongs to who ran the test.
func TestAzAsAnotherUser(t *testing.T) {
	netns.Root(t)
	az, srv := azIn(t)
	const nobody = 65534
	parent := filepath.Dir(az.ConfigDir)
	for dir := parent; dir != filepath.Dir(filepath.Dir(parent)); dir = filepath.Dir(dir) { // as t.TempDir made them
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Mkdir(az.ConfigDir, 0o700), os.Chown(az.ConfigDir, nobody, nobody)); err != nil {
		t.Fatal(err)
	}
	inNamespace := az.Run
	az.Run = func(cmd *exec.Cmd) error {
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		return inNamespace(cmd)
	}
	if err := az.Login(t.Context(), DefaultTenant, testClient, testSecret); err != nil {
		t.Fatal(err)
	}
	got, issued := accessToken(t, az), srv.Issued()
	if got.AccessToken != issued[len(issued)-1].Token {
		t.Error("az has a token that was not issued last")
	}
}

func TestAzRefused(t *testing.T) {
	az, srv := azIn(t)
	err := az.Login(t.Context(), DefaultTenant, testClient, "a wrong secret")
	if err == nil || !strings.Contains(err.Error(), "AADSTS7000215: Invalid client secret provided.") {
		t.Errorf("error = %v, want Entra's own words", err)
	}
	if err != nil && strings.Contains(err.Error(), "a wrong secret") {
		t.Errorf("error %q holds the secret", err)
	}
	if n := len(srv.Issued()); n != 0 {
		t.Errorf("issued %d tokens", n)
	}
}
