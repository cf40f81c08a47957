package entra

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// clockSkew is how far back Entra dates a token, for services whose clock is behind.
const clockSkew = 5 * time.Minute

// A token request is no longer than this; more is not read.
const maxForm = 1 << 20

// How an application proved who it is: the claim appidacr of a version 1 token.
const (
	bySecret      = "1"
	byCertificate = "2"
)

// IssuedToken is one token that the server gave away.
type IssuedToken struct {
	Token    string    `json:"token"`
	ClientID string    `json:"client_id"`
	Tenant   string    `json:"tenant"`
	Resource string    `json:"resource"`
	Time     time.Time `json:"time"`
	User     string    `json:"user,omitempty"` // whose it is, if a person's
}

// grant is a token request that passed every check.
type grant struct {
	tenant, resource string
	client           Client
	proof            string
	user             User // zero for an application's own token
}

// Issued are all tokens so far, in the order in which they were issued.
func (s *Server) Issued() []IssuedToken {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]IssuedToken(nil), s.issued...)
}

func (s *Server) tokenV2(r *http.Request) answer {
	return s.token(r, scopeResource, func(g grant, token string) any {
		seconds := int(s.opts.Lifetime/time.Second) - 1 // Entra's 3599
		return struct {
			Type      string `json:"token_type"`
			ExpiresIn int    `json:"expires_in"`
			Extended  int    `json:"ext_expires_in"`
			Token     string `json:"access_token"`
		}{"Bearer", seconds, seconds, token}
	})
}

// tokenV1 answers the older endpoint: a resource in place of a scope, and every value a string.
func (s *Server) tokenV1(r *http.Request) answer {
	return s.token(r, formResource, func(g grant, token string) any {
		now := s.opts.Now()
		seconds := strconv.Itoa(int(s.opts.Lifetime/time.Second) - 1)
		return struct {
			Type      string `json:"token_type"`
			ExpiresIn string `json:"expires_in"`
			Extended  string `json:"ext_expires_in"`
			ExpiresOn string `json:"expires_on"`
			NotBefore string `json:"not_before"`
			Resource  string `json:"resource"`
			Token     string `json:"access_token"`
		}{"Bearer", seconds, seconds, strconv.FormatInt(now.Add(s.opts.Lifetime).Unix(), 10),
			strconv.FormatInt(now.Add(-clockSkew).Unix(), 10), g.resource, token}
	})
}

func (s *Server) token(
	r *http.Request, resource func(url.Values) (string, *Refusal), body func(grant, string) any,
) answer {
	id, secret := credentials(r)
	a, done := s.misbehave(r)
	if !done {
		g, refusal := s.check(r, id, secret, resource)
		if refusal != nil {
			a = s.refuse(r, *refusal)
		} else {
			granted, err := s.grant(g, base(r), body)
			if err != nil {
				return answer{status: http.StatusInternalServerError, body: map[string]string{
					"error": "server_error", "error_description": err.Error(),
				}}
			}
			breakOff := a.breakOff
			a = answer{status: http.StatusOK, resource: g.resource, body: granted, breakOff: breakOff}
		}
	}
	a.clientID = id
	return a
}

// grant issues a token and writes the answer that holds it.
func (s *Server) grant(g grant, base string, body func(grant, string) any) (any, error) {
	token, err := s.issue(g, base)
	if err != nil {
		return nil, err
	}
	if g.user.Name != "" {
		return s.userBody(g, base, token)
	}
	return body(g, token), nil
}

// credentials reads the client's id and secret from the form or, as RFC 6749, 2.3.1 has it, from a Basic header.
func credentials(r *http.Request) (id, secret string) {
	r.Body = http.MaxBytesReader(nil, r.Body, maxForm)
	_ = r.ParseForm() // what cannot be read is missing
	id, secret = r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	if user, password, ok := r.BasicAuth(); ok {
		for _, part := range []struct {
			to   *string
			from string
		}{{&id, user}, {&secret, password}} {
			if text, err := url.QueryUnescape(part.from); err == nil {
				*part.to = text
			}
		}
	}
	return id, secret
}

// complete refuses a request that is not one for a token in a tenant that exists.
func (s *Server) complete(r *http.Request, id string) *Refusal {
	tenant, grantType := r.PathValue("tenant"), r.PostForm.Get("grant_type")
	switch {
	case r.Method != http.MethodPost:
		return new(notPOST(r.Method))
	case grantType == "":
		return new(missingParameter("grant_type"))
	case grantType != "client_credentials" && !person(grantType):
		return new(unsupportedGrant(grantType))
	case id == "":
		return new(missingParameter("client_id"))
	case multiTenant(tenant) && person(grantType):
		return nil
	case multiTenant(tenant):
		return new(noTenant())
	case !s.opts.tenant(tenant):
		return new(unknownTenant(tenant))
	}
	return nil
}

// check refuses whatever Entra would refuse.
func (s *Server) check(
	r *http.Request, id, secret string, resource func(url.Values) (string, *Refusal),
) (grant, *Refusal) {
	if refusal := s.complete(r, id); refusal != nil {
		return grant{}, refusal
	}
	tenant := r.PathValue("tenant")
	client, known := s.client(id)
	switch {
	case !known:
		return grant{}, new(unknownClient(id, tenant))
	case client.Disabled:
		return grant{}, new(disabledClient(id, client.Name))
	}
	var (
		proof   string
		user    User
		refusal *Refusal
	)
	if person(r.PostForm.Get("grant_type")) {
		user, refusal = s.signIn(r, client)
	} else {
		proof, refusal = s.authenticate(r, client, secret)
	}
	if refusal != nil {
		return grant{}, refusal
	}
	if multiTenant(tenant) {
		tenant = s.opts.Tenant
	}
	wanted, refusal := resource(r.PostForm)
	switch {
	case refusal != nil:
		return grant{}, refusal
	case !s.resource(wanted):
		return grant{}, new(unknownResource(wanted, tenant))
	case s.disabledResource(wanted):
		return grant{}, new(disabledResource(wanted))
	case client.Unconsented:
		return grant{}, new(unconsented(client.ID, client.Name))
	}
	return grant{tenant: tenant, resource: wanted, client: client, proof: proof, user: user}, nil
}

func (s *Server) authenticate(r *http.Request, client Client, secret string) (proof string, _ *Refusal) {
	switch assertion := r.PostForm.Get("client_assertion"); {
	case assertion != "":
		if r.PostForm.Get("client_assertion_type") != assertionType {
			return "", new(missingParameter("client_assertion_type"))
		}
		if foreign(client, assertion) {
			return byCertificate, s.checkFederated(r, client, assertion)
		}
		return byCertificate, s.checkAssertion(r, client, assertion)
	case secret == "":
		return "", new(noCredential())
	case !s.hasSecret(client, secret):
		return "", new(wrongSecret(client.ID))
	}
	return bySecret, nil
}

// issue signs a version 1 token, as Entra issues for Azure's own resources whichever endpoint is asked.
func (s *Server) issue(g grant, base string) (string, error) {
	now := s.opts.Now()
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, s.claims(g, base+"/"+g.tenant+"/", now))
	token.Header["kid"] = s.keyID
	signed, err := token.SignedString(s.signing)
	if err != nil {
		return "", fmt.Errorf("signing a token: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	one := IssuedToken{Token: signed, ClientID: g.client.ID, Tenant: g.tenant, Resource: g.resource, Time: now, User: g.user.Name}
	if s.opts.Issued != nil {
		if err := json.NewEncoder(s.opts.Issued).Encode(one); err != nil {
			return "", fmt.Errorf("logging a token: %w", err)
		}
	}
	s.issued = append(s.issued, one)
	return signed, nil
}

// claims are an application's, or those by which a person's token differs: a scope and a name, and neither idtyp nor roles.
func (s *Server) claims(g grant, issuer string, now time.Time) jwt.MapClaims {
	unique := make([]byte, 16)
	rand.Read(unique)
	claims := jwt.MapClaims{
		"aud":   g.resource,
		"iss":   issuer,
		"iat":   now.Add(-clockSkew).Unix(),
		"nbf":   now.Add(-clockSkew).Unix(),
		"exp":   now.Add(s.opts.Lifetime).Unix(),
		"appid": g.client.ID,
		"tid":   g.tenant,
		"uti":   base64.RawURLEncoding.EncodeToString(unique),
		"ver":   "1.0",
	}
	if g.user.Name != "" {
		claims["appidacr"], claims["scp"] = "0", "user_impersonation"
		claims["oid"], claims["sub"] = g.user.ObjectID, g.user.ObjectID
		claims["upn"], claims["unique_name"], claims["name"] = g.user.Name, g.user.Name, g.user.Name
		return claims
	}
	claims["appidacr"], claims["idp"], claims["idtyp"] = g.proof, issuer, "app"
	claims["oid"], claims["sub"] = g.client.ObjectID, g.client.ObjectID
	return claims
}
