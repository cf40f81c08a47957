package entra

import (
	"crypto/rsa"
	"crypto/x509"
	"maps"
	"net/http"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	federatedIssuer  = "https://issuer.example"
	federatedSubject = "system:serviceaccount:default:app"
)

func TestFederated(t *testing.T) {
	_, trusted := certificate(t)
	_, stranger := certificate(t)
	srv, _ := start(t, func(o *Options) {
		o.Clients[0].Federated = []Federated{
			{Issuer: federatedIssuer, Subject: "other", Key: &trusted.PublicKey},
			{Issuer: federatedIssuer, Subject: federatedSubject, Key: &trusted.PublicKey},
			{Issuer: federatedIssuer, Subject: "special", Audience: "special audience", Key: &trusted.PublicKey},
			{Issuer: "https://127.0.0.1:9", Subject: federatedSubject},
			{Issuer: "http://issuer.example", Subject: federatedSubject},
		}
	})
	endpoint := srv.URL() + "/" + DefaultTenant + "/oauth2/v2.0/token"
	for _, tt := range []struct {
		name   string
		key    *rsa.PrivateKey
		change jwt.MapClaims
		error  string
		code   int // 0: granted
	}{
		{"granted", trusted, nil, "", 0},
		{"another registered subject", trusted, jwt.MapClaims{"sub": "other"}, "", 0},
		{"audience of its own", trusted, jwt.MapClaims{"sub": "special", "aud": "special audience"}, "", 0},
		{"issuer", trusted, jwt.MapClaims{"iss": federatedIssuer + "/"}, "invalid_client", 700211},
		{"subject", trusted, jwt.MapClaims{"sub": "x"}, "invalid_client", 700213},
		{"audience", trusted, jwt.MapClaims{"aud": "x"}, "invalid_client", 700212},
		{"several audiences", trusted, jwt.MapClaims{"aud": []string{DefaultAudience, "x"}}, "invalid_client", 700212},
		{"signature", stranger, nil, "invalid_client", 50013},
		{"expired", trusted, jwt.MapClaims{"exp": time.Now().Add(-time.Hour).Unix()}, "invalid_client", 700024},
		{"without end", trusted, jwt.MapClaims{"exp": nil}, "invalid_client", 50013},
		{"issuer out of reach", trusted, jwt.MapClaims{"iss": "https://127.0.0.1:9"}, "invalid_request", 50166},
		{"issuer without TLS", trusted, jwt.MapClaims{"iss": "http://issuer.example"}, "invalid_request", 50166},
	} {
		t.Run(tt.name, func(t *testing.T) {
			res, body := present(t, srv, endpoint, tt.key, tt.change)
			if tt.code != 0 {
				checkError(t, srv, body, tt.error, tt.code)
			} else if res.StatusCode != http.StatusOK {
				t.Errorf("%s: %v", res.Status, body)
			}
		})
	}
}

// present asks for a token with an assertion that is in order but for the claims changed.
func present(t *testing.T, srv *Server, endpoint string, key *rsa.PrivateKey, change jwt.MapClaims) (reply, map[string]any) {
	t.Helper()
	claims := jwt.MapClaims{
		"iss": federatedIssuer, "sub": federatedSubject, "aud": DefaultAudience, "exp": time.Now().Add(time.Hour).Unix(),
	}
	maps.Copy(claims, change)
	signed, err := jwt.NewWithClaims(jwt.SigningMethodRS256, claims).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return post(t, client(t, srv), endpoint, form("client_secret", "", "client_assertion", signed, "client_assertion_type", assertionType))
}

// One authority's tokens are taken by another that trusts it, with the keys that discovery leads to.
func TestFederatedDiscovery(t *testing.T) {
	trusted, _ := start(t)
	_, body := post(t, client(t, trusted), trusted.URL()+"/"+DefaultTenant+"/oauth2/v2.0/token", form())
	assertion := body["access_token"].(string)
	issuer := payload(t, assertion)["iss"].(string)
	for _, tt := range []struct {
		name    string
		issuers *http.Client
		code    int
	}{
		{"found", client(t, trusted), 0},
		{"not trusted over TLS", &http.Client{Transport: &http.Transport{}}, 50166},
	} {
		t.Run(tt.name, func(t *testing.T) {
			srv, _ := start(t, func(o *Options) {
				o.Issuers = tt.issuers
				o.Clients = []Client{{ID: testClient, Federated: []Federated{{
					Issuer: issuer, Subject: derivedID("service principal of " + testClient), Audience: vault,
				}}}}
			})
			v := form("client_secret", "", "client_assertion", assertion, "client_assertion_type", assertionType)
			res, body := post(t, client(t, srv), srv.URL()+"/"+DefaultTenant+"/oauth2/v2.0/token", v)
			if tt.code != 0 {
				checkError(t, srv, body, "invalid_request", tt.code)
			} else if res.StatusCode != http.StatusOK {
				t.Errorf("%s: %v", res.Status, body)
			}
		})
	}
}

func TestNewOptionsRefused(t *testing.T) {
	for name, o := range map[string]Options{
		"user without name": {Users: []User{{Password: "x"}}},
		"user twice":        {Users: []User{{Name: "a"}, {Name: "A"}}},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%s: New took it", name)
		}
	}
	if _, err := New(Options{Clients: []Client{{ID: "a", Public: true}, {ID: "b", Certificates: []*x509.Certificate{{}}}}}); err != nil {
		t.Error(err)
	}
}
