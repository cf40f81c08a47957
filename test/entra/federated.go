package entra

import (
	"cmp"
	"context"
	"crypto"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// DefaultAudience is whom a federated token is for when a [Federated] does not say otherwise.
const DefaultAudience = "api://AzureADTokenExchange"

// Federated is an issuer whose tokens about one subject an application may present in place of a secret: a federated
// identity credential. All three texts are compared letter by letter.
type Federated struct {
	Issuer   string
	Subject  string
	Audience string // DefaultAudience if empty
	// Key verifies the tokens; nil is the key that the issuer publishes, found by OpenID discovery with Options.Issuers.
	Key crypto.PublicKey
}

// maxDocument bounds what is read of an issuer's documents.
const maxDocument = 1 << 20

// federation is the texts' shape in Entra's refusals.
const federation = "Please check your federated identity credential Subject, Audience and Issuer against the presented " +
	"assertion. https://learn.microsoft.com/entra/workload-id/workload-identity-federation"

// foreign reports whether an assertion was made by somebody else than the application that presents it.
func foreign(client Client, assertion string) bool {
	var claims jwt.RegisteredClaims
	_, _, err := jwt.NewParser().ParseUnverified(assertion, &claims)
	return err == nil && len(client.Federated) > 0 && !strings.EqualFold(claims.Issuer, client.ID)
}

// checkFederated verifies a token of a trusted issuer: issuer, subject and audience registered, signed, in its time.
func (s *Server) checkFederated(r *http.Request, client Client, assertion string) *Refusal {
	var claims jwt.RegisteredClaims
	if _, _, err := jwt.NewParser().ParseUnverified(assertion, &claims); err != nil {
		return new(badClient(50027, "JWT token is invalid or malformed."))
	}
	trusted, refusal := matchFederated(client, claims)
	if refusal != nil {
		return refusal
	}
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"RS256", "ES256"}), jwt.WithExpirationRequired(),
		jwt.WithLeeway(clockSkew), jwt.WithTimeFunc(s.opts.Now))
	_, err := parser.ParseWithClaims(assertion, &claims, func(t *jwt.Token) (any, error) {
		if trusted.Key != nil {
			return trusted.Key, nil
		}
		kid, _ := t.Header["kid"].(string)
		return s.published(r.Context(), trusted.Issuer, kid)
	})
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errDiscovery):
		return new(badRequest(50166, "Request to External OIDC endpoint failed."))
	case errors.Is(err, jwt.ErrTokenExpired), errors.Is(err, jwt.ErrTokenNotValidYet):
		return new(badClient(700024, "Client assertion is not within its valid time range. Current time: %s, assertion valid "+
			"from %s, expiry time of assertion %s.", s.opts.Now().UTC().Format("2006-01-02T15:04:05.0000000Z"),
			date(claims.NotBefore), date(claims.ExpiresAt)))
	}
	return new(badClient(50013, "Assertion failed signature validation. [Reason - The key was not found.]"))
}

// matchFederated finds the registered credential for a token, or says which of its claims has none.
func matchFederated(client Client, claims jwt.RegisteredClaims) (Federated, *Refusal) {
	refusal := new(badClient(700211, "No matching federated identity record found for presented assertion issuer '%s'. %s",
		claims.Issuer, federation))
	subject := false
	for _, f := range client.Federated {
		if f.Issuer != claims.Issuer {
			continue
		}
		if f.Subject != claims.Subject {
			if !subject {
				refusal = new(badClient(700213, "No matching federated identity record found for presented assertion subject '%s'. %s",
					claims.Subject, federation))
			}
			continue
		}
		subject = true
		if len(claims.Audience) == 1 && claims.Audience[0] == cmp.Or(f.Audience, DefaultAudience) {
			return f, nil
		}
		refusal = new(badClient(700212, "No matching federated identity record found for presented assertion audience '%s'. %s",
			strings.Join(claims.Audience, ","), federation))
	}
	return Federated{}, refusal
}

// errDiscovery is an issuer whose keys cannot be had.
var errDiscovery = errors.New("the issuer's keys cannot be read")

// published is the key of an issuer that a token names (OpenID Connect Discovery 1.0, 4; RFC 7517).
func (s *Server) published(ctx context.Context, issuer, kid string) (crypto.PublicKey, error) {
	var configuration struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	if err := s.document(ctx, strings.TrimSuffix(issuer, "/")+"/.well-known/openid-configuration", &configuration); err != nil {
		return nil, err
	}
	if configuration.Issuer != issuer {
		return nil, fmt.Errorf("%w: %q calls itself %q", errDiscovery, issuer, configuration.Issuer)
	}
	var set struct {
		Keys []struct{ Kty, Kid, N, E string } `json:"keys"`
	}
	if err := s.document(ctx, configuration.Keys, &set); err != nil {
		return nil, err
	}
	for _, key := range set.Keys {
		if key.Kid != kid || key.Kty != "RSA" {
			continue
		}
		n, errN := base64.RawURLEncoding.DecodeString(key.N)
		e, errE := base64.RawURLEncoding.DecodeString(key.E)
		if err := errors.Join(errN, errE); err != nil {
			return nil, fmt.Errorf("%w: key %q: %w", errDiscovery, kid, err)
		}
		return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}, nil
	}
	return nil, errUnregistered
}

// document reads one JSON document over TLS.
func (s *Server) document(ctx context.Context, address string, into any) error {
	if !strings.HasPrefix(address, "https://") {
		return fmt.Errorf("%w: %q is not https", errDiscovery, address)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return fmt.Errorf("%w: %w", errDiscovery, err)
	}
	res, err := s.opts.Issuers.Do(req)
	if err != nil {
		return fmt.Errorf("%w: %w", errDiscovery, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: %q answered %s", errDiscovery, address, res.Status)
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxDocument)).Decode(into); err != nil {
		return fmt.Errorf("%w: %q: %w", errDiscovery, address, err)
	}
	return nil
}
