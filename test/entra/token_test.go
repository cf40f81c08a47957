package entra

import (
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
)

// moment is when the tests of fixed answers take place.
var moment = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

func atMoment(o *Options) { o.Now = func() time.Time { return moment } }

func TestTokenV2(t *testing.T) {
	srv, _ := start(t, atMoment)
	res, body := post(t, client(t, srv), srv.URL()+"/"+DefaultTenant+"/oauth2/v2.0/token", form())
	if res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v", res.Status, body)
	}
	token, _ := body["access_token"].(string)
	want := map[string]any{
		"token_type": "Bearer", "expires_in": 3599.0, "ext_expires_in": 3599.0, "access_token": token,
	}
	if diff := cmp.Diff(want, body); diff != "" {
		t.Errorf("body (-want +got):\n%s", diff)
	}
	claims := payload(t, token)
	object := derivedID("service principal of " + testClient)
	issuer := srv.URL() + "/" + DefaultTenant + "/"
	wantClaims := map[string]any{
		"aud": vault, "iss": issuer, "idp": issuer, "tid": DefaultTenant, "appid": testClient, "appidacr": "1",
		"idtyp": "app", "oid": object, "sub": object, "uti": claims["uti"], "ver": "1.0",
		"iat": float64(moment.Unix() - 300), "nbf": float64(moment.Unix() - 300), "exp": float64(moment.Unix() + 3600),
	}
	if diff := cmp.Diff(wantClaims, claims); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
	wantIssued := []IssuedToken{{Token: token, ClientID: testClient, Tenant: DefaultTenant, Resource: vault, Time: moment}}
	if diff := cmp.Diff(wantIssued, srv.Issued()); diff != "" {
		t.Errorf("issued (-want +got):\n%s", diff)
	}
	wantRequests := []Request{{
		Time: moment, Method: "POST", Path: "/" + DefaultTenant + "/oauth2/v2.0/token", UserAgent: "Go-http-client/1.1",
		ClientID: testClient, Resource: vault, Status: 200,
	}}
	if diff := cmp.Diff(wantRequests, srv.Requests()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

func TestTokenV1(t *testing.T) {
	srv, _ := start(t, atMoment)
	address := srv.URL() + "/" + DefaultTenant + "/oauth2/token"
	res, body := post(t, client(t, srv), address, form("scope", "", "resource", management))
	if res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v", res.Status, body)
	}
	want := map[string]any{
		"token_type": "Bearer", "expires_in": "3599", "ext_expires_in": "3599", "resource": management,
		"expires_on": fmt.Sprint(moment.Unix() + 3600), "not_before": fmt.Sprint(moment.Unix() - 300),
		"access_token": srv.Issued()[0].Token,
	}
	if diff := cmp.Diff(want, body); diff != "" {
		t.Errorf("body (-want +got):\n%s", diff)
	}
}

// A token verifies with what discovery leads to, as any OpenID client goes about it.
func TestTokenVerifies(t *testing.T) {
	srv, _ := start(t)
	c := client(t, srv)
	for _, document := range []string{"/.well-known/openid-configuration", "/v2.0/.well-known/openid-configuration"} {
		found := fetch(t, c, srv.URL()+"/"+DefaultTenant+document)
		v := form("resource", vault)
		_, body := post(t, c, found["token_endpoint"].(string), v)
		keys := fetch(t, c, found["jwks_uri"].(string))["keys"].([]any)
		key := keys[0].(map[string]any)
		token, err := jwt.Parse(body["access_token"].(string), func(token *jwt.Token) (any, error) {
			if token.Header["kid"] != key["kid"] {
				t.Errorf("kid %v is not among the keys: %v", token.Header["kid"], key["kid"])
			}
			return &rsa.PublicKey{N: number(t, key["n"]), E: int(number(t, key["e"]).Int64())}, nil
		}, jwt.WithAudience(vault))
		if err != nil || !token.Valid {
			t.Errorf("%s: token does not verify: %v", document, err)
		}
	}
}

func number(t *testing.T, text any) *big.Int {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(text.(string))
	if err != nil {
		t.Fatal(err)
	}
	return new(big.Int).SetBytes(b)
}

func TestBasicCredentials(t *testing.T) {
	const secret = "a+b c:d%" // RFC 6749 has both halves form-encoded
	srv, _ := start(t, func(o *Options) { o.Clients[0].Secret = secret })
	v := form("client_id", "", "client_secret", "")
	req, err := http.NewRequest("POST", srv.URL()+"/"+DefaultTenant+"/oauth2/v2.0/token", strings.NewReader(v.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(url.QueryEscape(testClient), url.QueryEscape(secret))
	res, err := client(t, srv).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if body := decode(t, res); res.StatusCode != http.StatusOK {
		t.Errorf("%s: %v", res.Status, body)
	}
}

func TestRefusals(t *testing.T) {
	srv, _ := start(t, func(o *Options) {
		o.OtherTenants, o.Resources = []string{"other"}, []string{"https://mine.example"}
	})
	c := client(t, srv)
	for _, tt := range []struct {
		name, tenant string
		form         url.Values
		status, code int // code 0: granted
		error        string
	}{
		{"granted", DefaultTenant, form(), 200, 0, ""},
		{"granted in another tenant", "other", form(), 200, 0, ""},
		{"granted for a registered resource", "other", form("scope", "https://MINE.example//.default"), 200, 0, ""},
		{"granted for the client's own resource", "other", form("scope", "api://"+testClient+"/.default"), 200, 0, ""},
		{"granted for the client's own id", "other", form("scope", testClient+"/.default"), 200, 0, ""},
		{"granted with OpenID's scopes", "other", form("scope", vault+"/.default openid profile"), 200, 0, ""},
		{"unknown tenant", "nobody", form(), 400, 90002, "invalid_request"},
		{"no tenant", "organizations", form(), 400, 50059, "invalid_request"},
		{"unknown client", DefaultTenant, form("client_id", "x"), 400, 700016, "unauthorized_client"},
		{"wrong secret", DefaultTenant, form("client_secret", "x"), 401, 7000215, "invalid_client"},
		{"no secret", DefaultTenant, form("client_secret", ""), 401, 7000218, "invalid_client"},
		{"no grant type", DefaultTenant, form("grant_type", ""), 400, 900144, "invalid_request"},
		{"no client", DefaultTenant, form("client_id", ""), 400, 900144, "invalid_request"},
		{"no scope", DefaultTenant, form("scope", ""), 400, 900144, "invalid_request"},
		{"unsupported grant", DefaultTenant, form("grant_type", "saml"), 400, 70003, "unsupported_grant_type"},
		{"scope without default", DefaultTenant, form("scope", vault+"/user"), 400, 1002012, "invalid_scope"},
		{"scope of nothing", DefaultTenant, form("scope", "/.default"), 400, 70011, "invalid_scope"},
		{"two scopes", DefaultTenant, form("scope", "a/.default b/.default"), 400, 70011, "invalid_scope"},
		{"unknown resource", DefaultTenant, form("scope", "https://x.example/.default"), 400, 500011, "invalid_resource"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := len(srv.Issued())
			res, body := post(t, c, srv.URL()+"/"+tt.tenant+"/oauth2/v2.0/token", tt.form)
			if res.StatusCode != tt.status {
				t.Errorf("%s, want %d: %v", res.Status, tt.status, body)
			}
			if tt.code == 0 {
				return
			}
			checkError(t, srv, body, tt.error, tt.code)
			if n := len(srv.Issued()); n != before {
				t.Errorf("issued %d tokens", n-before)
			}
			last := srv.Requests()[len(srv.Requests())-1]
			if last.Code != tt.code || last.Status != tt.status || last.ClientID != tt.form.Get("client_id") {
				t.Errorf("logged %+v", last)
			}
		})
	}
}

// checkError compares an error document with what Entra's looks like.
func checkError(t *testing.T, srv *Server, body map[string]any, name string, code int) {
	t.Helper()
	description, _ := body["error_description"].(string)
	shape := regexp.MustCompile(fmt.Sprintf(`^AADSTS%d: [A-Z].+ Trace ID: ([0-9a-f-]{36}) `+
		`Correlation ID: ([0-9a-f-]{36}) Timestamp: (\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ)$`, code))
	ids := shape.FindStringSubmatch(description)
	if ids == nil {
		t.Fatalf("error_description %q does not match %s", description, shape)
	}
	want := map[string]any{
		"error": name, "error_description": description, "error_codes": []any{float64(code)}, "timestamp": ids[3],
		"trace_id": ids[1], "correlation_id": ids[2], "error_uri": fmt.Sprintf("%s/error?code=%d", srv.URL(), code),
	}
	if diff := cmp.Diff(want, body); diff != "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
}

func TestCorrelationIDComesBack(t *testing.T) {
	srv, _ := start(t)
	req, err := http.NewRequest("GET", srv.URL()+"/"+DefaultTenant+"/oauth2/v2.0/token", nil)
	if err != nil {
		t.Fatal(err)
	}
	const id = "11111111-2222-3333-4444-555555555555"
	req.Header.Set("client-request-id", id)
	res, err := client(t, srv).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body := decode(t, res)
	checkError(t, srv, body, "invalid_request", 900561)
	if body["correlation_id"] != id {
		t.Errorf("correlation_id = %v, want %v", body["correlation_id"], id)
	}
}

func TestOptionsRefused(t *testing.T) {
	for _, tt := range []struct {
		name string
		o    Options
	}{
		{"client without id", Options{Clients: []Client{{Secret: "s"}}}},
		{"client without credential", Options{Clients: []Client{{ID: "a"}}}},
		{"client twice", Options{Clients: []Client{{ID: "a", Secret: "s"}, {ID: "A", Secret: "s"}}}},
		{"tenant twice", Options{OtherTenants: []string{DefaultTenant}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := New(tt.o); err == nil {
				t.Error("New took it")
			}
		})
	}
}
