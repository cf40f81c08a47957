package azure

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"azimds/imds/token"
	"azimds/test/entra"
)

const (
	clientSecret = "7Qx8Q~hunter2-hunter2-hunter2"
	otherTenant  = "66666666-6666-6666-6666-666666666666"
)

// startEntra runs an authority that knows one application, and returns it with the certificates that its clients need.
func startEntra(t *testing.T, certificates ...*x509.Certificate) (*entra.Server, *x509.CertPool) {
	t.Helper()
	return startEntraWith(t, entra.Options{
		Clients: []entra.Client{{ID: clientID, ObjectID: objectID, Secret: clientSecret, Certificates: certificates}},
	})
}

func startEntraWith(t *testing.T, o entra.Options) (*entra.Server, *x509.CertPool) {
	t.Helper()
	o.Tenant, o.OtherTenants = tenantID, []string{otherTenant}
	server, err := entra.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	pool, err := Roots(server.CAPEM())
	if err != nil {
		t.Fatal(err)
	}
	return server, pool
}

func newClientSecret(t *testing.T, url string, pool *x509.CertPool, change ...func(*ClientSecretOptions)) *ClientSecret {
	t.Helper()
	o := ClientSecretOptions{
		Tenant: tenantID, ClientID: clientID, Secret: token.NewSecret(clientSecret), AuthorityHost: url, CA: pool,
	}
	for _, c := range change {
		c(&o)
	}
	s, err := NewClientSecret(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.authority.transport.client.CloseIdleConnections)
	return s
}

func TestClientSecretToken(t *testing.T) {
	server, pool := startEntra(t)
	source := newClientSecret(t, server.URL(), pool)
	for _, request := range []token.Request{
		{Resource: arm},
		{Resource: arm + "/"},
		{Resource: arm}, // once more: nothing is remembered
		{Resource: arm, Fresh: true},
		{Resource: "https://vault.azure.net", Tenant: otherTenant},
		{Resource: arm, Identity: token.Selector{Kind: "client_id", Value: objectID}},
	} {
		before := len(server.Issued())
		got, err := source.Token(t.Context(), request)
		if err != nil {
			t.Fatalf("%+v: %v", request, err)
		}
		issued := server.Issued()
		if len(issued) != before+1 {
			t.Fatalf("%+v: %d tokens were issued", request, len(issued)-before)
		}
		last := issued[before]
		if got.Value.Reveal() != last.Token {
			t.Errorf("%+v: another token than was issued", request)
		}
		tenant := tenantID
		if request.Tenant != "" {
			tenant = request.Tenant
		}
		if last.Tenant != tenant || last.Resource != request.Resource {
			t.Errorf("%+v: Entra was asked for %s in %s", request, last.Resource, last.Tenant)
		}
		if got.TenantID != tenant || got.ClientID != clientID || got.ObjectID != objectID {
			t.Errorf("%+v: got %+v", request, got)
		}
		if life := got.ExpiresOn.Sub(got.NotBefore); life < entra.DefaultLifetime || life > entra.DefaultLifetime+10*time.Minute {
			t.Errorf("%+v: valid for %v", request, life)
		}
	}
	for _, r := range server.Requests() {
		if !strings.HasPrefix(r.UserAgent, applicationID+" azsdk-go-azidentity/") {
			t.Errorf("User-Agent %q", r.UserAgent)
		}
		if strings.Contains(r.Path, "/common/discovery/") {
			t.Errorf("instance discovery was asked about a host of one's own: %s", r.Path)
		}
	}
}

// TestClientSecretRefusals holds what people are told when Entra answers, but with no token.
func TestClientSecretRefusals(t *testing.T) {
	var told messages
	server, pool := startEntra(t)
	refuse := func(status int, code string, number int, text string) entra.Behaviour {
		return entra.Behaviour{Refuse: &entra.Refusal{Status: status, Error: code, Code: number, Text: text}}
	}
	for _, test := range []struct {
		name      string
		options   func(*ClientSecretOptions)
		request   token.Request
		behaviour entra.Behaviour
		tries     int // token requests that Entra sees
	}{
		{name: "wrong secret", options: func(o *ClientSecretOptions) { o.Secret = token.NewSecret(clientSecret + "x") }, tries: 1},
		{name: "unknown application", options: func(o *ClientSecretOptions) { o.ClientID = objectID }, tries: 1},
		{name: "unknown tenant", options: func(o *ClientSecretOptions) { o.Tenant = objectID }},
		{name: "unknown resource", request: token.Request{Resource: "https://nothing.example"}, tries: 1},
		{name: "unsupported resource", request: token.Request{Resource: "https://x y"}},
		{name: "broken tenant", request: token.Request{Resource: arm, Tenant: "a/../b"}},
		{name: "conditional access", behaviour: refuse(400, "invalid_grant", 53003, "Access has been blocked by Conditional Access policies."), tries: 1},
		{name: "throttled", behaviour: entra.Behaviour{Throttle: true, RetryAfter: 3}, tries: 1},
		{name: "broken", behaviour: refuse(500, "server_error", 90020, "Oops."), tries: 2},
		{name: "overloaded", behaviour: refuse(503, "temporarily_unavailable", 90033, "A transient error has occurred."), tries: 2},
		{name: "the secret in the refusal", behaviour: refuse(400, "invalid_request", 90014, "What is "+clientSecret+"?"), tries: 1},
		{name: "broken off", behaviour: entra.Behaviour{BreakOff: true}, tries: 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			server.Behave(test.behaviour)
			defer server.Behave(entra.Behaviour{})
			before := len(server.Requests())
			request := test.request
			if request.Resource == "" {
				request.Resource = arm
			}
			options := test.options
			if options == nil {
				options = func(*ClientSecretOptions) {}
			}
			_, err := newClientSecret(t, server.URL(), pool, options).Token(t.Context(), request)
			secrets := []string{clientSecret}
			for _, issued := range server.Issued() {
				secrets = append(secrets, issued.Token)
			}
			checkError(t, err, secrets...)
			tries := 0
			for _, r := range server.Requests()[before:] {
				if r.Method == http.MethodPost {
					tries++
				}
			}
			if tries != test.tries {
				t.Errorf("%d token requests, want %d", tries, test.tries)
			}
			if refusal, ok := errors.AsType[*token.EntraError](err); ok {
				if refusal.TraceID == "" || refusal.CorrelationID == "" || refusal.Timestamp == "" || refusal.URI == "" {
					t.Errorf("ids are missing: %+v", refusal)
				}
				refusal.Description, _, _ = strings.Cut(refusal.Description, " Trace ID: ")
				if want := time.Duration(test.behaviour.RetryAfter) * time.Second; refusal.RetryAfter != want {
					t.Errorf("retry after %v, want %v", refusal.RetryAfter, want)
				}
			}
			told.add(test.name, err)
		})
	}
	told.compare(t, "refusals.golden")
}

// hostile serves answers that are not Entra's on the paths that are.
func hostile(t *testing.T, answer http.HandlerFunc) (string, *x509.CertPool) {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/openid-configuration") {
			_, _ = io.Copy(io.Discard, r.Body) // before it is read, the server does not notice that a client left
			answer(w, r)
			return
		}
		root := "https://" + r.Host + "/" + tenantID
		fmt.Fprintf(w, `{"issuer":"%[1]s/v2.0","token_endpoint":"%[1]s/oauth2/v2.0/token","authorization_endpoint":"%[1]s/oauth2/v2.0/authorize"}`, root)
	}))
	t.Cleanup(server.Close)
	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	return server.URL, pool
}

// TestClientSecretUnavailable holds what people are told when Entra does not answer, or something else does.
func TestClientSecretUnavailable(t *testing.T) {
	var told messages
	jwt := fakeJWT(t, tenantID, clientID)
	for _, test := range []struct {
		name   string
		answer http.HandlerFunc
	}{
		{"sign-in page of the network", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>Welcome</html>") }},
		{"token cut off", func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"access_token":"%s","expires_in":`, jwt)
		}},
		{"expiry of another type", func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"token_type":"Bearer","access_token":"%s","expires_in":["x"]}`, jwt)
		}},
		{"empty token", func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"token_type":"Bearer","access_token":"","expires_in":3599}`)
		}},
		{"expired token", func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"token_type":"Bearer","access_token":"%s","expires_in":-5}`, jwt)
		}},
		{"proxy refuses", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "blocked: "+jwt, http.StatusForbidden) }},
		{"gateway", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "bad gateway", http.StatusBadGateway) }},
		{"throttled without words", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(http.StatusTooManyRequests)
		}},
		{"hangs up", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			url, pool := hostile(t, test.answer)
			_, err := newClientSecret(t, url, pool).Token(t.Context(), token.Request{Resource: arm})
			checkError(t, err, clientSecret, jwt)
			told.add(test.name, err)
		})
	}
	told.compare(t, "unavailable.golden")
}

func TestClientSecretRetriesOnce(t *testing.T) {
	server, pool := startEntra(t)
	server.Behave(entra.Behaviour{Refuse: &entra.Refusal{Status: 503, Error: "temporarily_unavailable", Code: 90033, Text: "Later."}, Times: 1})
	if _, err := newClientSecret(t, server.URL(), pool).Token(t.Context(), token.Request{Resource: arm}); err != nil {
		t.Error(err)
	}
}

func TestClientSecretUnreachable(t *testing.T) {
	check := func(t *testing.T, err error, message string) {
		t.Helper()
		checkError(t, err, clientSecret)
		var told *token.Error
		if !errors.As(err, &told) || !errors.Is(err, token.ErrUnavailable) || anyPort.ReplaceAllString(told.Message, "127.0.0.1") != message {
			t.Errorf("got %v, want %s", err, message)
		}
	}
	t.Run("refused", func(t *testing.T) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		url := "https://" + ln.Addr().String()
		if err := ln.Close(); err != nil {
			t.Fatal(err)
		}
		_, err = newClientSecret(t, url, nil).Token(t.Context(), token.Request{Resource: arm})
		check(t, err, "cannot reach 127.0.0.1")
	})
	t.Run("unknown certificate", func(t *testing.T) {
		server, _ := startEntra(t)
		_, err := newClientSecret(t, server.URL(), x509.NewCertPool()).Token(t.Context(), token.Request{Resource: arm})
		check(t, err, "the certificate of 127.0.0.1 is not trusted; a proxy's own has to be among the certificates configured")
	})
	t.Run("no answer in time", func(t *testing.T) {
		asked := make(chan struct{})
		var once atomic.Bool
		url, pool := hostile(t, func(_ http.ResponseWriter, r *http.Request) {
			if once.CompareAndSwap(false, true) {
				close(asked)
			}
			<-r.Context().Done()
		})
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-asked; cancel() }()
		_, err := newClientSecret(t, url, pool).Token(ctx, token.Request{Resource: arm})
		check(t, err, "127.0.0.1 did not answer in time")
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

// TestNeverAsksItself covers the ways in which a credential of azidentity's, or a proxy variable, would lead back here.
func TestNeverAsksItself(t *testing.T) {
	t.Run("region discovery", func(t *testing.T) {
		t.Setenv("AZURE_REGIONAL_AUTHORITY_NAME", "TryAutoDetect")
		server, pool := startEntra(t)
		_, err := newClientSecret(t, server.URL(), pool).Token(t.Context(), token.Request{Resource: arm})
		checkError(t, err)
		if !errors.Is(err, token.ErrSignInRequired) || len(server.Requests()) != 0 {
			t.Errorf("got %v, and %d requests", err, len(server.Requests()))
		}
	})
	t.Run("authority", func(t *testing.T) {
		if _, err := parseAuthority("https://169.254.169.254/"); err == nil {
			t.Error("accepted")
		}
	})
	t.Run("proxy", func(t *testing.T) {
		r, err := http.NewRequest(http.MethodGet, "http://169.254.169.254/metadata", nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
		if u, err := proxy(r); u != nil || err != nil {
			t.Errorf("got %v, %v", u, err)
		}
	})
}

func TestNewClientSecretRefuses(t *testing.T) {
	good := ClientSecretOptions{Tenant: tenantID, ClientID: clientID, Secret: token.NewSecret(clientSecret)}
	for name, change := range map[string]func(*ClientSecretOptions){
		"no tenant":      func(o *ClientSecretOptions) { o.Tenant = "" },
		"broken tenant":  func(o *ClientSecretOptions) { o.Tenant = "a/b" },
		"no client":      func(o *ClientSecretOptions) { o.ClientID = "" },
		"no secret":      func(o *ClientSecretOptions) { o.Secret = token.Secret{} },
		"http authority": func(o *ClientSecretOptions) { o.AuthorityHost = "http://login.example" },
		"no host":        func(o *ClientSecretOptions) { o.AuthorityHost = "https://" },
		"user in it":     func(o *ClientSecretOptions) { o.AuthorityHost = "https://me:" + clientSecret + "@login.example" },
	} {
		o := good
		change(&o)
		_, err := NewClientSecret(o)
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		checkError(t, err, clientSecret)
	}
}

func TestParseAuthority(t *testing.T) {
	for in, want := range map[string]string{
		"": "https://login.microsoftonline.com/", "login.microsoftonline.us": "https://login.microsoftonline.us",
		"https://127.0.0.1:8443/": "https://127.0.0.1:8443/",
	} {
		u, err := parseAuthority(in)
		if err != nil {
			t.Errorf("%q: %v", in, err)
			continue
		}
		if diff := cmp.Diff(want, u.String()); diff != "" {
			t.Errorf("%q (-want +got):\n%s", in, diff)
		}
	}
}

func TestRoots(t *testing.T) {
	if _, err := Roots([]byte("no certificate")); err == nil {
		t.Error("accepted")
	}
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	pool, err := Roots(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := server.Certificate().Verify(x509.VerifyOptions{Roots: pool}); err != nil {
		t.Error(err)
	}
}

func TestClientSecretDescribe(t *testing.T) {
	got := newClientSecret(t, "https://login.example", nil).Describe()
	if want := "client-secret (tenant " + tenantID + ", client " + clientID + ", authority https://login.example)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if text := fmt.Sprintf("%+v %#v", newClientSecret(t, "", nil), newClientSecret(t, "", nil)); strings.Contains(text, clientSecret) {
		t.Error("the secret is printed")
	}
}

func TestMain(m *testing.M) {
	// What a developer's shell says must not lead these tests elsewhere.
	for _, name := range []string{"AZURE_REGIONAL_AUTHORITY_NAME", "REGION_NAME", "HTTPS_PROXY", "https_proxy"} {
		if err := os.Unsetenv(name); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}
