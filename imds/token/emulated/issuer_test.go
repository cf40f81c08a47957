package emulated

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"azimds/imds/token"
)

// get is a document of the issuer's, which must be there.
func get(t *testing.T, s *Source, path string) []byte {
	t.Helper()
	w := httptest.NewRecorder()
	s.Issuer().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/json; charset=utf-8" {
		t.Fatalf("GET %s: %d, %v\n%s", path, w.Code, w.Header(), w.Body)
	}
	return w.Body.Bytes()
}

func decode[T any](t *testing.T, document []byte) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(document, &v); err != nil {
		t.Fatalf("%v in:\n%s", err, document)
	}
	return v
}

// verify does what a service does: it follows the discovery document to the keys and checks the token against them.
func verify(t *testing.T, s *Source, tenant, raw string) error {
	t.Helper()
	found := decode[discovery](t, get(t, s, "/azimds/emulated/"+tenant+"/.well-known/openid-configuration"))
	keys, err := url.Parse(found.Keys)
	if err != nil {
		t.Fatal(err)
	}
	set := decode[map[string][]jwk](t, get(t, s, keys.Path))
	_, err = jwt.Parse(raw, func(unverified *jwt.Token) (any, error) {
		for _, k := range set["keys"] {
			if k.ID == unverified.Header["kid"] {
				return publicKey(t, k), nil
			}
		}
		return nil, fmt.Errorf("no key %v", unverified.Header["kid"])
	}, jwt.WithIssuer(found.Issuer), jwt.WithAudience(vault), jwt.WithValidMethods(found.Algorithms), jwt.WithExpirationRequired())
	return err
}

func publicKey(t *testing.T, k jwk) *rsa.PublicKey {
	t.Helper()
	n, errN := base64.RawURLEncoding.DecodeString(k.Modulus)
	e, errE := base64.RawURLEncoding.DecodeString(k.Exponent)
	if err := errors.Join(errN, errE); err != nil {
		t.Fatal(err)
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}
}

func TestTokenVerifiesAgainstTheKeysServed(t *testing.T) {
	s := newSource(t, Options{})
	for _, tenant := range []string{DefaultTenantID, someGUID} {
		got, _ := emulate(t, s, token.Request{Resource: vault, Tenant: tenant})
		raw := got.Value.Reveal()
		if err := verify(t, s, tenant, raw); err != nil {
			t.Fatalf("tenant %s: %v", tenant, err)
		}
		for i := 0; i < len(raw)-1; i += 29 { // the last byte has bits that mean nothing
			forged := []byte(raw)
			forged[i] ^= 1
			if err := verify(t, s, tenant, string(forged)); err == nil {
				t.Errorf("tenant %s: verifies with byte %d changed", tenant, i)
			}
		}
	}
	other, _ := emulate(t, newSource(t, Options{}), token.Request{Resource: vault})
	if err := verify(t, s, DefaultTenantID, other.Value.Reveal()); err == nil {
		t.Error("another source's token verifies")
	}
	if err := verify(t, s, someGUID, other.Value.Reveal()); err == nil {
		t.Error("another tenant's token verifies")
	}
}

func TestDiscoveryDocument(t *testing.T) {
	s := newSource(t, Options{})
	for path, tenant := range map[string]string{
		"/azimds/emulated/" + DefaultTenantID + "/.well-known/openid-configuration":                DefaultTenantID,
		"/azimds/emulated/" + DefaultTenantID + "/v2.0/.well-known/openid-configuration":           DefaultTenantID,
		"/azimds/emulated/" + strings.ToUpper(someGUID) + "/v2.0/.well-known/openid-configuration": someGUID,
	} {
		want := fmt.Sprintf(`{"issuer":"https://sts.windows.net/%[1]s/",`+
			`"jwks_uri":"http://169.254.169.254/azimds/emulated/%[1]s/discovery/keys",`+
			`"response_types_supported":["id_token"],"subject_types_supported":["pairwise"],`+
			`"id_token_signing_alg_values_supported":["RS256"]}`, tenant)
		if diff := cmp.Diff(want, string(get(t, s, path))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
	}
}

func TestKeysArePublicOnly(t *testing.T) {
	s := newSource(t, Options{})
	document := get(t, s, "/azimds/emulated/"+DefaultTenantID+"/discovery/keys")
	keys := decode[map[string][]map[string]any](t, document)["keys"]
	if len(keys) != 1 {
		t.Fatalf("%d keys, want 1", len(keys))
	}
	// RFC 7518 section 6.3.2 has d, p, q, dp, dq, qi and oth for the private part.
	want := []string{"alg", "e", "issuer", "kid", "kty", "n", "use", "x5c", "x5t"}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(keys[0]))); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}
	private := s.key.private
	for name, n := range map[string]*big.Int{
		"d": private.D, "p": private.Primes[0], "q": private.Primes[1],
		"dp": private.Precomputed.Dp, "dq": private.Precomputed.Dq, "qi": private.Precomputed.Qinv,
	} {
		for _, text := range []string{
			base64.RawURLEncoding.EncodeToString(n.Bytes()), base64.RawStdEncoding.EncodeToString(n.Bytes()), n.String(), n.Text(16),
		} {
			if bytes.Contains(document, []byte(text)) {
				t.Errorf("holds %s", name)
			}
		}
	}
}

func TestKeysHoldTheCertificateOfTheKey(t *testing.T) {
	s := newSource(t, Options{})
	key := decode[map[string][]jwk](t, get(t, s, "/azimds/emulated/"+someGUID+"/discovery/keys"))["keys"][0]
	der, err := base64.StdEncoding.DecodeString(key.Certificates[0])
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	if !publicKey(t, key).Equal(certificate.PublicKey) {
		t.Error("the certificate is of another key")
	}
	if key.Issuer != "https://sts.windows.net/"+someGUID+"/" || publicKey(t, key).N.BitLen() != 2048 {
		t.Errorf("issuer %s, %d bits", key.Issuer, publicKey(t, key).N.BitLen())
	}
}

func TestIssuerHasNothingElse(t *testing.T) {
	handler := newSource(t, Options{}).Issuer()
	for _, test := range []struct {
		method, path string
		want         int
	}{
		{http.MethodHead, "/azimds/emulated/" + someGUID + "/discovery/keys", http.StatusOK},
		{http.MethodPost, "/azimds/emulated/" + someGUID + "/discovery/keys", http.StatusMethodNotAllowed},
		{http.MethodGet, "/azimds/emulated/contoso.com/discovery/keys", http.StatusNotFound},
		{http.MethodGet, "/azimds/emulated/common/.well-known/openid-configuration", http.StatusNotFound},
		{http.MethodGet, "/azimds/emulated/" + someGUID + "/discovery/keys/", http.StatusNotFound},
		{http.MethodGet, "/azimds/emulated/" + someGUID + "/", http.StatusNotFound},
		{http.MethodGet, "/", http.StatusNotFound},
	} {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(test.method, test.path, nil))
		if w.Code != test.want {
			t.Errorf("%s %s: %d, want %d", test.method, test.path, w.Code, test.want)
		}
	}
}
