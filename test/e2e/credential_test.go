package e2e

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"azimds/imds/token"
	"azimds/test/agent"
	"azimds/test/entra"
	"azimds/test/netns"
)

const (
	publicID = "1d0b3c55-6d2a-4b7e-8f19-2a54c1b0e7d3" // an application that people sign in to
	userName = "dev@contoso.example"
	password = "a password, of the test's"
	subject  = "repo:contoso/app:ref:refs/heads/main"
	issuer   = "https://issuer.example"
)

// lender is a credential of the matrix: what it needs, put there for the owner, and whose token it yields.
type lender struct {
	name   string
	yaml   string   // of the configuration, beside where Entra is
	env    []string // of the agent
	app    bool     // an application's token, else the person's
	source string   // what status says of it, as far as it matters
}

// TestCredentials has each credential that asks Entra itself lend its token through the real agent.
func TestCredentials(t *testing.T) {
	netns.Root(t)
	ns := netns.New(t)
	dir := t.TempDir()
	agent.OpenUp(t, filepath.Join(dir, "x"))
	key, certificate := newCertificate(t)
	authority := startEntraWith(t, ns, entra.Options{
		Clients: []entra.Client{
			{ID: clientID, Secret: clientSecret, Certificates: []*x509.Certificate{certificate},
				Federated: []entra.Federated{{Issuer: issuer, Subject: subject, Key: key.Public()}}},
			{ID: publicID, Public: true},
		},
		Users: []entra.User{{Name: userName, Password: password}},
	})
	private := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(path, ownerUID, ownerUID); err != nil {
			t.Fatal(err)
		}
		return path
	}
	secret, passwordFile := private("secret", clientSecret+"\n"), private("password", password)
	pair, federated := private("app.pem", pemOf(t, key, certificate)), private("federated", federatedToken(t, key, subject))
	where := fmt.Sprintf("authority-host: %s\nca-file: %s\n", authority.URL(), private("ca.pem", string(authority.CAPEM())))
	tenant := "tenant: " + authority.Tenant() + "\n"
	variables := []string{"AZURE_TENANT_ID=" + authority.Tenant(), "AZURE_CLIENT_ID=" + clientID}

	for _, c := range []lender{
		{name: "client-secret", app: true,
			yaml: tenant + "client-secret: {client-id: " + clientID + ", secret-file: " + secret + "}"},
		{name: "client-certificate", app: true,
			yaml: tenant + "client-certificate: {client-id: " + clientID + ", file: " + pair + "}"},
		{name: "workload-identity", app: true,
			yaml: tenant + "workload-identity: {client-id: " + clientID + ", token-file: " + federated + "}"},
		{name: "username-password",
			yaml: tenant + "username-password: {client-id: " + publicID + ", username: " + userName + ", password-file: " + passwordFile + "}"},
		{name: "environment", app: true, env: append(variables, "AZURE_CLIENT_SECRET="+clientSecret)},
		{name: "auto", app: true, env: append(variables, "AZURE_CLIENT_CERTIFICATE_PATH="+pair), source: "auto: environment"},
		{name: "auto", app: true, env: append(variables, "AZURE_FEDERATED_TOKEN_FILE="+federated), source: "auto: workload-identity"},
	} {
		t.Run(c.name+strings.TrimPrefix(c.source, "auto:"), func(t *testing.T) {
			file := private("config.yaml", where+c.yaml)
			a := startAgent(t, ns, c.env, "--credential", c.name, "--config", file)
			lent(t, authority, served(t, ns, ownerUID), c.app)
			refused(t, ns, strangerUID)
			out, code := azimds(t, ns, "status")
			want := c.source
			if want == "" {
				want = c.name
			}
			if code != 0 || !strings.Contains(out, "credential  "+want) {
				t.Errorf("status ended with %d: %s", code, out)
			}
			asApp, code := agent.Output(t, ns, agent.As(t, ownerUID, command("token", vault, "--as-app")))
			if (code == 0) != c.app {
				t.Errorf("token --as-app ended with %d: %s", code, asApp)
			}
			a.Stop()
			for _, secret := range []string{clientSecret, password, "eyJ"} {
				if strings.Contains(a.Said.String()+out+asApp, secret) {
					t.Errorf("%.3s… is shown:\n%s", secret, a.Said)
				}
			}
		})
	}
}

// TestFederatedTokenIsReadAnew has the token file written anew, as what keeps it does before the last one ends.
func TestFederatedTokenIsReadAnew(t *testing.T) {
	netns.Root(t)
	ns := netns.New(t)
	dir := t.TempDir()
	agent.OpenUp(t, filepath.Join(dir, "x"))
	key, _ := newCertificate(t)
	authority := startEntraWith(t, ns, entra.Options{Clients: []entra.Client{
		{ID: clientID, Federated: []entra.Federated{{Issuer: issuer, Subject: subject, Key: key.Public()}}}}})
	file := filepath.Join(dir, "federated")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(file, federatedToken(t, key, "somebody else"))
	write(filepath.Join(dir, "ca.pem"), string(authority.CAPEM()))
	write(filepath.Join(dir, "config.yaml"), fmt.Sprintf(
		"credential: workload-identity\nauthority-host: %s\nca-file: %s/ca.pem\ntenant: %s\nworkload-identity: {client-id: %s, token-file: %s}\n",
		authority.URL(), dir, authority.Tenant(), clientID, file))
	a := startAgent(t, ns, nil, "--config", filepath.Join(dir, "config.yaml"))
	if out, code := agent.Output(t, ns, raw(t, ownerUID, "read")); code != 4 || !strings.Contains(out, "AADSTS700213") || !strings.Contains(out, "run: az ") {
		t.Errorf("with a token about somebody else: %d, %s", code, out)
	}
	write(file, federatedToken(t, key, subject))
	eventually(t, a.Said.String, func() bool { _, code := agent.Output(t, ns, raw(t, ownerUID, "read")); return code == 0 })
	lent(t, authority, served(t, ns, ownerUID), true)
	a.Stop()
}

// TestDeviceCode has a request bring up the code, at once; it is on standard error, in the status and in the answer. When
// somebody has entered it, the next request is answered, and a probe, too.
func TestDeviceCode(t *testing.T) {
	netns.Root(t)
	ns := netns.New(t)
	dir := t.TempDir()
	agent.OpenUp(t, filepath.Join(dir, "x"))
	authority := startEntraWith(t, ns, entra.Options{
		Clients: []entra.Client{{ID: publicID, Public: true}}, Users: []entra.User{{Name: userName}}})
	file := filepath.Join(dir, "config.yaml")
	for path, text := range map[string]string{
		filepath.Join(dir, "ca.pem"): string(authority.CAPEM()),
		file: fmt.Sprintf("credential: device-code\nauthority-host: %s\nca-file: %s/ca.pem\ntenant: %s\ndevice-code: {client-id: %s}\n",
			authority.URL(), dir, authority.Tenant(), publicID),
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	a := startAgent(t, ns, nil, "--config", file)
	out, code := agent.Output(t, ns, raw(t, ownerUID, "read"))
	found := regexp.MustCompile(`sign in with the code (\S+) at (\S+?)[; ]`).FindStringSubmatch(out)
	if code != 4 || found == nil {
		t.Fatalf("the first request got %d: %s", code, out)
	}
	status, code := azimds(t, ns, "status")
	if code != 3 || !strings.Contains(status, found[1]) || !strings.Contains(a.Said.String(), found[1]) {
		t.Errorf("the code %s is not in the status (%d) or not on standard error:\n%s\n%s", found[1], code, status, a.Said)
	}
	if err := authority.Approve(found[1], userName); err != nil {
		t.Fatal(err)
	}
	eventually(t, a.Said.String, func() bool { status, code = azimds(t, ns, "status"); return code == 0 })
	if !strings.Contains(status, userName) {
		t.Errorf("status after the sign-in:\n%s", status)
	}
	lent(t, authority, served(t, ns, ownerUID), false)
	a.Stop()
}

// lent wants an answer of the metadata endpoint to hold a token that the authority has issued, of the application or of the
// person.
func lent(t *testing.T, authority *entra.Server, answer string, app bool) {
	t.Helper()
	_, text, _ := strings.Cut(answer, `"access_token":"`)
	text, _, _ = strings.Cut(text, `"`)
	claims, err := token.ParseClaims(text)
	if err != nil {
		t.Fatalf("%v: %s", err, answer)
	}
	ours(t, "entra", authority, text, app)
	if app && claims.AppID != clientID || !app && claims.UPN != userName {
		t.Errorf("the token is of application %s, person %q", claims.AppID, claims.UPN)
	}
}

// newCertificate is a key and a certificate for it that has a day to go.
func newCertificate(t *testing.T) (*rsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(signed)
	if err != nil {
		t.Fatal(err)
	}
	return key, certificate
}

func pemOf(t *testing.T, key *rsa.PrivateKey, certificate *x509.Certificate) string {
	t.Helper()
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})) +
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw}))
}

// federatedToken is another issuer's token about a subject.
func federatedToken(t *testing.T, key *rsa.PrivateKey, subject string) string {
	t.Helper()
	signed, err := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{
		"iss": issuer, "sub": subject, "aud": entra.DefaultAudience, "exp": time.Now().Add(time.Hour).Unix(),
	}).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}
