package azure

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"azimds/imds/token"
	"azimds/test/entra"
)

func environment(values map[string]string) func(string) string {
	return func(name string) string { return values[name] }
}

// writeCertificate makes a certificate with its key as one PEM file.
func writeCertificate(t *testing.T) (string, *x509.Certificate) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})...)
	path := filepath.Join(t.TempDir(), "client.pem")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, certificate
}

func TestEnvironmentToken(t *testing.T) {
	path, certificate := writeCertificate(t)
	server, pool := startEntraWith(t, entra.Options{
		Clients: []entra.Client{{
			ID: clientID, ObjectID: objectID, Secret: clientSecret, Certificates: []*x509.Certificate{certificate}, Public: true,
		}},
		Users: []entra.User{{Name: "dev@contoso.example", Password: "correct horse"}},
	})
	for name, values := range map[string]map[string]string{
		"secret":             {envSecret: clientSecret},
		"certificate":        {envCertificate: path},
		"secret goes before": {envSecret: clientSecret, envCertificate: "/nowhere"},
		"with its chain":     {envCertificate: path, envChain: "true"},
		"user name":          {envUsername: "dev@contoso.example", envUserSecret: "correct horse"},
	} {
		t.Run(name, func(t *testing.T) {
			values := maps.Clone(values)
			values[envTenant], values[envClient], values[envAuthority] = tenantID, clientID, server.URL()
			source := NewEnvironment(EnvironmentOptions{Getenv: environment(values), CA: pool})
			t.Cleanup(source.authority.transport.client.CloseIdleConnections)
			if err := source.Check(); err != nil {
				t.Fatal(err)
			}
			got, err := source.Token(t.Context(), token.Request{Resource: arm})
			if err != nil {
				t.Fatal(err)
			}
			if issued := server.Issued(); got.Value.Reveal() != issued[len(issued)-1].Token {
				t.Error("another token than was issued")
			}
			if want := "environment (tenant " + tenantID + ", client " + clientID + ", authority " + server.URL() + ")"; source.Describe() != want {
				t.Errorf("got %q, want %q", source.Describe(), want)
			}
		})
	}
}

// TestEnvironmentFailures holds what people are told of an environment that does not suffice.
func TestEnvironmentFailures(t *testing.T) {
	var told messages
	dir := t.TempDir()
	garbage := filepath.Join(dir, "it's garbage")
	if err := os.WriteFile(garbage, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	keyAlone := filepath.Join(dir, "key.pem")
	keyText := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err := os.WriteFile(keyAlone, keyText, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		values map[string]string
	}{
		{"nothing", nil},
		{"no client", map[string]string{envTenant: tenantID}},
		{"no secret", map[string]string{envTenant: tenantID, envClient: clientID}},
		{"no password", map[string]string{envTenant: tenantID, envClient: clientID, envUsername: "dev@contoso.example"}},
		{"broken tenant", map[string]string{envTenant: "a b", envClient: clientID, envSecret: clientSecret}},
		{"http authority", map[string]string{envTenant: tenantID, envClient: clientID, envSecret: clientSecret, envAuthority: "http://login.example"}},
		{"no such certificate", map[string]string{envTenant: tenantID, envClient: clientID, envCertificate: filepath.Join(dir, "none")}},
		{"garbage", map[string]string{envTenant: tenantID, envClient: clientID, envCertificate: garbage, envPassword: clientSecret}},
		{"key alone", map[string]string{envTenant: tenantID, envClient: clientID, envCertificate: keyAlone}},
	} {
		t.Run(test.name, func(t *testing.T) {
			source := NewEnvironment(EnvironmentOptions{Getenv: environment(test.values)})
			err := source.Check()
			checkError(t, err, clientSecret, strings.Split(string(keyText), "\n")[1])
			if _, again := source.Token(t.Context(), token.Request{Resource: arm}); again == nil || again.Error() != err.Error() {
				t.Errorf("Check says %v, Token says %v", err, again)
			}
			told.add(test.name, err)
		})
	}
	told.compare(t, "environment.golden", dir, "/certificates")
}
