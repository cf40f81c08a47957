package azure

import (
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"azimds/imds/token"
	"azimds/test/entra"
)

const (
	issuer  = "https://issuer.example"
	subject = "system:serviceaccount:default:it's mine"
)

// federatedToken is a token of issuer's, with claims changed.
func federatedToken(t *testing.T, key *rsa.PrivateKey, change jwt.MapClaims) string {
	t.Helper()
	claims := jwt.MapClaims{"iss": issuer, "sub": subject, "aud": exchangeAudience, "exp": time.Now().Add(time.Hour).Unix()}
	maps.Copy(claims, change)
	signed, err := jwt.NewWithClaims(jwt.SigningMethodRS256, claims).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// federatedEntra knows one application that trusts key, and that lends itself in no other way.
func federatedEntra(t *testing.T, key *rsa.PrivateKey) (*entra.Server, *x509.CertPool) {
	return startEntraWith(t, entra.Options{Clients: []entra.Client{{
		ID: clientID, ObjectID: objectID, Federated: []entra.Federated{{Issuer: issuer, Subject: subject, Key: &key.PublicKey}},
	}}})
}

func newWorkloadIdentity(t *testing.T, o WorkloadIdentityOptions) *WorkloadIdentity {
	t.Helper()
	if o.Getenv == nil {
		o.Getenv = environment(nil)
	}
	w, err := NewWorkloadIdentity(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.authority.transport.client.CloseIdleConnections)
	return w
}

func TestWorkloadIdentityToken(t *testing.T) {
	key := newRSA(t)
	server, pool := federatedEntra(t, key)
	path := writeFile(t, "token", federatedToken(t, key, nil)+"\n")
	for name, o := range map[string]WorkloadIdentityOptions{
		"options":     {Tenant: tenantID, ClientID: clientID, TokenFile: path, AuthorityHost: server.URL()},
		"environment": {Getenv: environment(map[string]string{envTenant: tenantID, envClient: clientID, envTokenFile: path, envAuthority: server.URL() + "/"})},
		"variable": {
			Tenant: tenantID, ClientID: clientID, TokenEnv: "ID_TOKEN", AuthorityHost: server.URL(),
			Getenv: environment(map[string]string{"ID_TOKEN": federatedToken(t, key, nil), envTokenFile: "/nowhere"}),
		},
	} {
		t.Run(name, func(t *testing.T) {
			o.CA = pool
			source := newWorkloadIdentity(t, o)
			if err := source.Check(); err != nil {
				t.Fatal(err)
			}
			got, err := source.Token(t.Context(), token.Request{Resource: arm})
			if err != nil {
				t.Fatal(err)
			}
			if issued := server.Issued(); got.Value.Reveal() != issued[len(issued)-1].Token || got.ObjectID != objectID {
				t.Error("another token than was issued")
			}
			place := "file " + path
			if o.TokenEnv != "" {
				place = "variable " + o.TokenEnv
			}
			if want := "workload-identity (tenant " + tenantID + ", client " + clientID + ", " + place; !strings.HasPrefix(source.Describe(), want) {
				t.Errorf("got %q, want %q", source.Describe(), want)
			}
		})
	}
}

// TestWorkloadIdentityRotates replaces the token under a source that is in use.
func TestWorkloadIdentityRotates(t *testing.T) {
	key := newRSA(t)
	server, pool := federatedEntra(t, key)
	path := writeFile(t, "token", federatedToken(t, newRSA(t), nil))
	source := newWorkloadIdentity(t, WorkloadIdentityOptions{
		Tenant: tenantID, ClientID: clientID, TokenFile: path, AuthorityHost: server.URL(), CA: pool,
	})
	if _, err := source.Token(t.Context(), token.Request{Resource: arm}); err == nil {
		t.Fatal("a token signed by nobody is taken")
	}
	if err := os.WriteFile(path, []byte(federatedToken(t, key, nil)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := source.Token(t.Context(), token.Request{Resource: arm}); err != nil {
		t.Error(err)
	}
}

// TestWorkloadIdentityDiscovery has the issuer's keys found as Entra finds them: one authority trusts another one's tokens.
func TestWorkloadIdentityDiscovery(t *testing.T) {
	trusted, trustedPool := startEntra(t)
	minted, err := newClientSecret(t, trusted.URL(), trustedPool).Token(t.Context(), token.Request{Resource: arm})
	if err != nil {
		t.Fatal(err)
	}
	server, pool := startEntraWith(t, entra.Options{
		Clients: []entra.Client{{ID: clientID, Federated: []entra.Federated{{
			Issuer: trusted.URL() + "/" + tenantID + "/", Subject: objectID, Audience: arm,
		}}}},
		Issuers: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trustedPool}, DisableKeepAlives: true}},
	})
	source := newWorkloadIdentity(t, WorkloadIdentityOptions{
		Tenant: tenantID, ClientID: clientID, TokenFile: writeFile(t, "token", minted.Value.Reveal()), AuthorityHost: server.URL(), CA: pool,
	})
	if _, err := source.Token(t.Context(), token.Request{Resource: arm}); err != nil {
		t.Error(err)
	}
}

// TestWorkloadIdentityFailures holds what people are told when the federated token does not do.
func TestWorkloadIdentityFailures(t *testing.T) {
	var told messages
	key := newRSA(t)
	server, pool := federatedEntra(t, key)
	dir := t.TempDir()
	path := filepath.Join(dir, "token")
	env := map[string]string{envTenant: tenantID, envClient: clientID, envTokenFile: path, envAuthority: server.URL()}
	for _, test := range []struct {
		name, text, unset string
		file              string
		variable          bool // the text is in a variable
	}{
		{name: "no file named", unset: envTokenFile},
		{name: "no tenant", unset: envTenant},
		{name: "no client", unset: envClient},
		{name: "no such file", file: filepath.Join(dir, "none")},
		{name: "empty"},
		{name: "no variable", variable: true},
		{name: "garbage in a variable", text: "n0 T0ken", variable: true},
		{name: "expired in a variable", text: federatedToken(t, key, jwt.MapClaims{"exp": 1_750_000_000}), variable: true},
		{name: "another subject and an audience of one's own", variable: true,
			text: federatedToken(t, key, jwt.MapClaims{"sub": "project_path:a/b:ref_type:branch:ref:main", "aud": "https://gitlab.example"})},
		{name: "garbage", text: "n0 T0ken"},
		{name: "expired", text: federatedToken(t, key, jwt.MapClaims{"exp": 1_750_000_000})},
		{name: "not yet valid", text: federatedToken(t, key, jwt.MapClaims{"nbf": time.Now().Add(30 * time.Minute).Unix()})},
		{name: "another issuer", text: federatedToken(t, key, jwt.MapClaims{"iss": "https://other.example"})},
		{name: "another subject", text: federatedToken(t, key, jwt.MapClaims{"sub": "other"})},
		{name: "another audience", text: federatedToken(t, key, jwt.MapClaims{"aud": arm})},
		{name: "another key", text: federatedToken(t, newRSA(t), nil)},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := os.WriteFile(path, []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			values := maps.Clone(env)
			delete(values, test.unset)
			o := WorkloadIdentityOptions{TokenFile: test.file, Getenv: environment(values), CA: pool}
			if test.variable {
				o.TokenEnv, values["ID_TOKEN"] = "ID_TOKEN", test.text
			}
			source := newWorkloadIdentity(t, o)
			_, err := source.Token(t.Context(), token.Request{Resource: arm})
			secrets := slices.DeleteFunc([]string{test.text}, func(s string) bool { return s == "" })
			checkError(t, err, secrets...)
			if refusal, ok := errors.AsType[*token.EntraError](err); ok {
				refusal.Description, _, _ = strings.Cut(refusal.Description, " Current time")
				refusal.Description, _, _ = strings.Cut(refusal.Description, " Trace ID: ")
			}
			told.add(test.name, err)
		})
	}
	told.compare(t, "workload.golden", dir, "/tokens")
}

func TestNewWorkloadIdentityRefuses(t *testing.T) {
	for _, o := range []WorkloadIdentityOptions{{Tenant: "a/b"}, {AuthorityHost: "http://login.example"}} {
		if _, err := NewWorkloadIdentity(o); err == nil {
			t.Errorf("%+v is accepted", o)
		}
	}
}
