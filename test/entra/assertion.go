package entra

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// assertionType is the only kind of client assertion that Entra takes (RFC 7523, 2.2).
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

var errUnregistered = errors.New("the key was not found")

// checkAssertion verifies a client's own JWT: signed with a certificate registered for it, made by it, about it, for this
// token endpoint, in its time.
func (s *Server) checkAssertion(r *http.Request, client Client, assertion string) *Refusal {
	var claims jwt.RegisteredClaims
	parser := jwt.NewParser(
		jwt.WithValidMethods([]string{"RS256", "PS256"}),
		jwt.WithExpirationRequired(),
		jwt.WithLeeway(clockSkew),
		jwt.WithTimeFunc(s.opts.Now),
	)
	var thumbprint string
	_, err := parser.ParseWithClaims(assertion, &claims, func(t *jwt.Token) (any, error) {
		var cert *x509.Certificate
		cert, thumbprint = signer(client, t.Header)
		if cert == nil {
			return nil, errUnregistered
		}
		return cert.PublicKey, nil
	})
	switch {
	case errors.Is(err, errUnregistered):
		return new(badClient(700027, "The certificate with identifier used to sign the client assertion is not registered on "+
			"application. [Reason - The key was not found., Thumbprint of key used by client: '%s']", thumbprint))
	case errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return new(badClient(700027, "Client assertion contains an invalid signature. [Reason - The provided signature value "+
			"did not match the expected signature value., Thumbprint of key used by client: '%s']", thumbprint))
	case errors.Is(err, jwt.ErrTokenExpired), errors.Is(err, jwt.ErrTokenNotValidYet):
		return new(badClient(700024, "Client assertion is not within its valid time range. Current time: %s, assertion valid "+
			"from %s, expiry time of assertion %s.", s.opts.Now().UTC().Format("2006-01-02T15:04:05.0000000Z"),
			date(claims.NotBefore), date(claims.ExpiresAt)))
	case err != nil || claims.ID == "":
		return new(badClient(50027, "JWT token is invalid or malformed."))
	case !strings.EqualFold(claims.Issuer, client.ID) || !strings.EqualFold(claims.Subject, client.ID):
		return new(badClient(700021, "Client assertion application identifier doesn't match 'client_id' parameter."))
	case !addressed(r, claims.Audience):
		return new(badClient(700023, "Client assertion audience claim does not match Realm issuer."))
	}
	return nil
}

// thumbprints are the header parameters of RFC 7515, 4.1.7 and 4.1.8 that name a certificate by a digest of it.
var thumbprints = []struct {
	name   string
	digest func(der []byte) []byte
}{
	{"x5t#S256", func(der []byte) []byte { sum := sha256.Sum256(der); return sum[:] }},
	{"x5t", func(der []byte) []byte { sum := sha1.Sum(der); return sum[:] }},
}

// signer is the registered certificate that a JWT's header names, and the thumbprint, in hex, by which it does.
func signer(client Client, header map[string]any) (_ *x509.Certificate, thumbprint string) {
	for _, by := range thumbprints {
		text, _ := header[by.name].(string)
		// Entra takes both alphabets: RFC 7515 says base64url, MSAL for Go 1.10.1 writes base64 (accesstokens.go)
		sum, err := base64.RawURLEncoding.DecodeString(urlAlphabet.Replace(text))
		if text == "" || err != nil {
			continue
		}
		thumbprint = fmt.Sprintf("%X", sum)
		for _, cert := range client.Certificates {
			if bytes.Equal(by.digest(cert.Raw), sum) {
				return cert, thumbprint
			}
		}
	}
	return nil, thumbprint
}

var urlAlphabet = strings.NewReplacer("+", "-", "/", "_", "=", "")

// addressed says whether an assertion is meant for this tenant's token endpoint or its issuer.
func addressed(r *http.Request, audience jwt.ClaimStrings) bool {
	root := base(r) + "/" + r.PathValue("tenant")
	for _, a := range audience {
		switch a {
		case root + "/oauth2/v2.0/token", root + "/oauth2/token", root + "/v2.0", root + "/":
			return true
		}
	}
	return false
}

func date(d *jwt.NumericDate) string {
	if d == nil {
		return "none"
	}
	return d.UTC().Format("2006-01-02T15:04:05.0000000Z")
}
