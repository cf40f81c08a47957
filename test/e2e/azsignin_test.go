package e2e

import (
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"azimds/imds/token"
	"azimds/test/agent"
	"azimds/test/entra"
	"azimds/test/netns"
)

// Who can sign in at the authorities of these tests, beside the client that signInAz signs in.
const (
	otherID, otherSecret = "0d3c1f5b-7f0a-4f43-8f6e-51a1c7e2d9b4", "the-other~secret.of-the-test"
	azPublicID           = "04b07795-8ddb-461a-bbee-02f9e1bf7b46" // the application that az signs people in to
	devName              = "dev@contoso.example"
	otherTenant          = "f2b6d0c4-1c55-4d0e-8d5e-7a9c3b1e6f08"
	homeSubscription     = "1a7c2b90-43d5-4c6a-9e21-5b8f0d3c6a01"
	otherSubscription    = "2b8d3ca1-54e6-4d7b-8f32-6c901e4d7b02"
	foreignSubscription  = "3c9e4db2-65f7-4e8c-9a43-7da12f5e8c03"
)

// TestSignInIsFollowed signs the real az out, in as others, to another subscription and to another cloud while the agent
// runs, and wants the token of whoever az is by then.
func TestSignInIsFollowed(t *testing.T) {
	netns.Root(t)
	ns := netns.New(t)
	home := startEntraWith(t, ns, directory(entra.Subscription{ID: homeSubscription, Name: "home"},
		entra.Subscription{ID: otherSubscription, Name: "other", Tenant: otherTenant}))
	elsewhere := startEntraWith(t, ns, directory(entra.Subscription{ID: foreignSubscription, Name: "foreign"}))
	az := signInAz(t, ns, home)
	if err := os.WriteFile(az.CAFile, append(home.CAPEM(), elsewhere.CAPEM()...), 0o644); err != nil {
		t.Fatal(err)
	}
	plain := az.Run
	az.Run = func(cmd *exec.Cmd) error {
		cmd.Env = append(cmd.Env, "NO_PROXY=127.0.0.1,localhost")
		return plain(cmd)
	}
	run := func(args ...string) string {
		t.Helper()
		out, err := az.Output(t.Context(), args...)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out))
	}
	application := func(id, secret string) {
		t.Helper()
		run("login", "--service-principal", "--username", id, "--password", secret, "--tenant", home.Tenant(), "--output", "none")
	}
	a := startAgent(t, ns, azEnv(az), "--credential", "azure-cli")

	who := asker{ns, ownerUID}
	first := given{authority: home, client: clientID, tenant: home.Tenant()}
	who.awaitToken(t, first)
	run("logout")
	who.awaitHint(t, "nobody is signed in to the Azure CLI; run: az login")
	application(otherID, otherSecret)
	who.awaitToken(t, given{authority: home, client: otherID, tenant: home.Tenant()})
	application(clientID, clientSecret) // without a logout
	who.awaitToken(t, first)

	run("login", "--use-device-code", "--output", "none")
	run("account", "set", "--subscription", homeSubscription)
	dev := given{authority: home, client: azPublicID, user: devName, tenant: home.Tenant()}
	who.awaitToken(t, dev)
	run("account", "set", "--subscription", otherSubscription)
	abroad := dev
	abroad.tenant = otherTenant
	who.awaitToken(t, abroad)

	// by another name, since MSAL takes all ports of a host for one authority
	url := strings.Replace(elsewhere.URL(), "127.0.0.1", "localhost", 1)
	cloud := run("cloud", "show", "--query", "name", "--output", "tsv")
	run("cloud", "register", "--name", "Elsewhere", "--skip-endpoint-discovery",
		"--endpoint-active-directory", url, "--endpoint-resource-manager", url,
		"--endpoint-management", url, "--endpoint-active-directory-resource-id", "https://management.core.windows.net/")
	run("cloud", "set", "--name", "Elsewhere")
	who.awaitHint(t, "nobody is signed in to the Azure CLI; run: az login")
	if out, _ := azimds(t, ns, "status"); !strings.Contains(out, "nobody is signed in") || strings.Contains(out, devName) {
		t.Errorf("the status is that of another cloud:\n%s", out)
	}
	application(clientID, clientSecret)
	who.awaitToken(t, given{authority: elsewhere, client: clientID, tenant: home.Tenant()})
	run("cloud", "set", "--name", cloud)
	who.awaitToken(t, abroad)
	run("account", "set", "--subscription", homeSubscription)
	who.awaitToken(t, dev)
	a.Stop()
}

// directory has two tenants, two applications and a person who enters each device code at once.
func directory(subscriptions ...entra.Subscription) entra.Options {
	return entra.Options{
		OtherTenants: []string{otherTenant},
		Clients: []entra.Client{
			{ID: clientID, Secret: clientSecret}, {ID: otherID, Secret: otherSecret}, {ID: azPublicID, Public: true},
		},
		Users:         []entra.User{{Name: devName}},
		Approves:      devName,
		Subscriptions: subscriptions,
	}
}

// listen opens a free port in ns.
func listen(t testing.TB, ns *netns.NS) net.Listener {
	t.Helper()
	var ln net.Listener
	err := ns.Do(func() (err error) {
		ln, err = net.Listen("tcp", "127.0.0.1:0")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// azEnv is the environment of an agent that runs this az.
func azEnv(az entra.Az) []string {
	return append(az.Env(), "AZIMDS_AZURE_CLI_CONFIG_DIR="+az.ConfigDir, "PATH="+filepath.Dir(az.Path)+":/usr/bin:/bin:/usr/sbin:/sbin")
}

// asker asks the agent in ns for a token, as one of its owner's programs.
type asker struct {
	ns  *netns.NS
	uid uint32
}

// given says whose a token is.
type given struct {
	authority            *entra.Server
	client, user, tenant string
}

// awaitToken asks until the token is of the right one. Before az's files have been read anew it may be the last one's.
func (a asker) awaitToken(t testing.TB, want given) {
	t.Helper()
	for deadline := time.Now().Add(agent.Patience); ; {
		out, code := agent.Output(t, a.ns, raw(t, a.uid, "read"))
		if code == 0 && want.is(t, out) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no token of client %s, user %q in tenant %s, but %d: %s", want.client, want.user, want.tenant, code, out)
		}
	}
}

// is says whether a raw answer holds a token that the authority issued to whom it should.
func (g given) is(t testing.TB, out string) bool {
	t.Helper()
	_, body, _ := strings.Cut(out, " ")
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(strings.NewReader(body)).Decode(&answer); err != nil {
		t.Fatalf("the answer %q: %v", out, err)
	}
	if _, err := token.ParseClaims(answer.Token); err != nil {
		t.Fatalf("the token: %v", err)
	}
	for _, i := range g.authority.Issued() {
		if i.Token == answer.Token {
			return i.ClientID == g.client && i.User == g.user && i.Tenant == g.tenant
		}
	}
	return false
}

// awaitHint asks until the request is refused with these words.
func (a asker) awaitHint(t testing.TB, words string) {
	t.Helper()
	for deadline := time.Now().Add(agent.Patience); ; {
		out, code := agent.Output(t, a.ns, raw(t, a.uid, "read"))
		if code == 4 && strings.HasPrefix(out, "403 ") && strings.Contains(out, words) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no %q, but %d: %s", words, code, out)
		}
	}
}
