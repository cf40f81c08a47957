package entra

import (
	"crypto"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func TestAssertion(t *testing.T) {
	srv, key := start(t)
	stranger, strangerKey := certificate(t)
	cert := srv.opts.Clients[0].Certificates[0]
	endpoint := srv.URL() + "/" + DefaultTenant + "/oauth2/v2.0/token"
	x5t := func(der []byte) string { sum := sha1.Sum(der); return base64.RawURLEncoding.EncodeToString(sum[:]) }
	x5t256 := func(der []byte) string {
		sum := sha256.Sum256(der)
		return base64.RawURLEncoding.EncodeToString(sum[:])
	}
	type order struct {
		method jwt.SigningMethod
		key    crypto.Signer
		header map[string]any
		claims jwt.MapClaims
	}
	good := func() order {
		return order{
			method: jwt.SigningMethodRS256, key: key, header: map[string]any{"x5t": x5t(cert.Raw)},
			claims: jwt.MapClaims{
				"aud": endpoint, "iss": testClient, "sub": testClient, "jti": "1",
				"nbf": time.Now().Unix(), "exp": time.Now().Add(10 * time.Minute).Unix(),
			},
		}
	}
	claim := func(name string, value any) func(*order) { return func(o *order) { o.claims[name] = value } }
	for _, tt := range []struct {
		name   string
		change func(*order)
		code   int // 0: granted
	}{
		{"RS256 by x5t", func(*order) {}, 0},
		{"PS256 by x5t#S256", func(o *order) {
			o.method, o.header = jwt.SigningMethodPS256, map[string]any{"x5t#S256": x5t256(cert.Raw)}
		}, 0},
		{"RS256 by x5t in plain base64", func(o *order) {
			sum := sha1.Sum(cert.Raw)
			o.header = map[string]any{"x5t": base64.StdEncoding.EncodeToString(sum[:])}
		}, 0},
		{"addressed to the issuer", claim("aud", srv.URL()+"/"+DefaultTenant+"/v2.0"), 0},
		{"unregistered certificate", func(o *order) {
			o.key, o.header = strangerKey, map[string]any{"x5t": x5t(stranger.Raw)}
		}, 700027},
		{"no thumbprint", func(o *order) { o.header = nil }, 700027},
		{"signed with another key", func(o *order) { o.key = strangerKey }, 700027},
		{"RS512", func(o *order) { o.method = jwt.SigningMethodRS512 }, 700027},
		{"addressed elsewhere", claim("aud", "https://elsewhere.example/token"), 700023},
		{"for another tenant", claim("aud", srv.URL()+"/other/oauth2/v2.0/token"), 700023},
		{"expired", claim("exp", time.Now().Add(-time.Hour).Unix()), 700024},
		{"without end", claim("exp", nil), 50027},
		{"not yet valid", claim("nbf", time.Now().Add(time.Hour).Unix()), 700024},
		{"by another application", claim("iss", "x"), 700021},
		{"about another application", claim("sub", "x"), 700021},
		{"without id", claim("jti", ""), 50027},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := good()
			tt.change(&o)
			token := jwt.NewWithClaims(o.method, o.claims)
			maps.Copy(token.Header, o.header)
			signed, err := token.SignedString(o.key)
			if err != nil {
				t.Fatal(err)
			}
			v := form("client_secret", "", "client_assertion", signed, "client_assertion_type", assertionType)
			res, body := post(t, client(t, srv), endpoint, v)
			switch {
			case tt.code != 0:
				checkError(t, srv, body, "invalid_client", tt.code)
			case res.StatusCode != 200:
				t.Errorf("%s: %v", res.Status, body)
			default:
				if got := payload(t, body["access_token"].(string))["appidacr"]; got != byCertificate {
					t.Errorf("appidacr = %v, want %v", got, byCertificate)
				}
			}
		})
	}
	t.Run("no JWT", func(t *testing.T) {
		v := form("client_secret", "", "client_assertion", "x", "client_assertion_type", assertionType)
		_, body := post(t, client(t, srv), endpoint, v)
		checkError(t, srv, body, "invalid_client", 50027)
	})
	t.Run("another type", func(t *testing.T) {
		v := form("client_secret", "", "client_assertion", "x", "client_assertion_type", "saml")
		_, body := post(t, client(t, srv), endpoint, v)
		checkError(t, srv, body, "invalid_request", 900144)
	})
}
