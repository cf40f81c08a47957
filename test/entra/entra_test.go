package entra

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

const (
	testClient = "3f6c2a10-7b54-4c19-8e2d-90ab1c2d3e4f"
	testSecret = "the secret"
	vault      = "https://vault.azure.net"
	management = "https://management.core.windows.net/"
)

// start starts a server with one client that has a secret and a certificate.
func start(t *testing.T, change ...func(*Options)) (*Server, crypto.Signer) {
	t.Helper()
	cert, key := certificate(t)
	o := Options{Clients: []Client{{ID: testClient, Secret: testSecret, Certificates: []*x509.Certificate{cert}}}}
	for _, f := range change {
		f(&o)
	}
	srv, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Start(nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
	})
	return srv, key
}

func certificate(t *testing.T) (*x509.Certificate, *rsa.PrivateKey) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "client"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// client trusts the server's authority and nothing else.
func client(t *testing.T, srv *Server) *http.Client {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(srv.CAPEM()) {
		t.Fatal("CAPEM is no certificate")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// form is a token request that is in order; changes are pairs of name and value, an empty value removes.
func form(changes ...string) url.Values {
	v := url.Values{
		"grant_type": {"client_credentials"}, "client_id": {testClient}, "client_secret": {testSecret},
		"scope": {vault + "/.default"},
	}
	for i := 0; i < len(changes); i += 2 {
		if v.Set(changes[i], changes[i+1]); changes[i+1] == "" {
			v.Del(changes[i])
		}
	}
	return v
}

// reply is a response without its body.
type reply struct {
	StatusCode int
	Status     string
	Header     http.Header
}

func post(t *testing.T, c *http.Client, address string, v url.Values) (reply, map[string]any) {
	t.Helper()
	res, err := c.PostForm(address, v)
	if err != nil {
		t.Fatal(err)
	}
	return reply{res.StatusCode, res.Status, res.Header}, decode(t, res)
}

func fetch(t *testing.T, c *http.Client, address string) map[string]any {
	t.Helper()
	res, err := c.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	if body := decode(t, res); res.StatusCode == http.StatusOK {
		return body
	}
	t.Fatalf("GET %s: %s", address, res.Status)
	return nil
}

func decode(t *testing.T, res *http.Response) map[string]any {
	t.Helper()
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var body map[string]any
	if err := json.Unmarshal(text, &body); err != nil {
		t.Fatalf("%s: %v in %q", res.Status, err, text)
	}
	return body
}

// payload is the middle part of a JWT.
func payload(t *testing.T, token string) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is no JWT", token)
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(text, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}
