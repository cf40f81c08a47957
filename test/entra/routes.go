package entra

import (
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Request is one request that the server was sent.
type Request struct {
	Time      time.Time `json:"time"`
	Method    string    `json:"method"`
	Path      string    `json:"path"`
	UserAgent string    `json:"user_agent"`
	ClientID  string    `json:"client_id,omitempty"` // of a token request, as sent
	Resource  string    `json:"resource,omitempty"`  // of a token request that was understood
	Status    int       `json:"status"`              // 0 while it is under way or when its client left
	Code      int       `json:"code,omitempty"`      // the number after AADSTS when it was refused
}

// answer is what a handler yields; one function writes and records it.
type answer struct {
	status     int
	retryAfter int // seconds; 0 for no such header
	challenge  string
	body       any
	gone       bool // the client left: nobody to answer
	breakOff   bool // send half and close
	clientID   string
	resource   string
	code       int
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	for pattern, h := range map[string]func(*http.Request) answer{
		"/{tenant}/oauth2/v2.0/token":                         s.tokenV2,
		"/{tenant}/oauth2/token":                              s.tokenV1,
		"/{tenant}/oauth2/v2.0/devicecode":                    s.deviceCode,
		"GET /common/UserRealm/{user}":                        s.userRealm,
		"GET /{tenant}/v2.0/.well-known/openid-configuration": s.discoveryV2,
		"GET /{tenant}/.well-known/openid-configuration":      s.discoveryV1,
		"GET /{tenant}/discovery/v2.0/keys":                   s.keys,
		"GET /{tenant}/discovery/keys":                        s.keys,
		"GET /common/discovery/instance":                      s.instance,
		"GET /tenants":                                        s.armTenants,
		"GET /subscriptions":                                  s.armSubscriptions,
		"GET /subscriptions/{id}":                             s.armSubscription,
		"POST /api/RegisteredApplications/{id}/Consent":       s.adminConsent,
		"GET " + ControlPath + "/{what}":                      s.controlRead,
		"PUT " + ControlPath + "/behaviour":                   s.controlBehave,
		"/":                                                   s.page,
	} {
		mux.HandleFunc(pattern, s.handle(h))
	}
	s.graphRoutes(mux)
	return mux
}

// handle records a request when it comes, and once more how it ended.
func (s *Server) handle(h func(*http.Request) answer) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		finish := func(answer) {}
		if !strings.HasPrefix(r.URL.Path, ControlPath) {
			finish = s.record(r)
		}
		a := h(r)
		if a.gone {
			return
		}
		body, err := json.Marshal(a.body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		kind := "application/json"
		if text, ok := a.body.(page); ok {
			kind, body = "text/plain", []byte(text)
		}
		finish(a) // before the client can know: a test that has its answer finds it in the log
		header := w.Header()
		header.Set("Content-Type", kind+"; charset=utf-8")
		header.Set("Cache-Control", "no-store, no-cache")
		header.Set("Content-Length", strconv.Itoa(len(body)))
		if a.retryAfter > 0 {
			header.Set("Retry-After", strconv.Itoa(a.retryAfter))
		}
		if a.challenge != "" {
			header.Set("WWW-Authenticate", a.challenge)
		}
		header.Set("Date", s.opts.Now().UTC().Format(http.TimeFormat))
		if a.status == http.StatusNoContent {
			header.Del("Content-Type")
			header.Del("Content-Length")
			body = nil
		}
		w.WriteHeader(a.status)
		if a.breakOff {
			body = body[:len(body)/2] // net/http closes a connection that was promised more
		}
		_, _ = w.Write(body) // a client that hung up wants nothing
	}
}

func (s *Server) record(r *http.Request) (finish func(answer)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := len(s.requests)
	s.requests = append(s.requests, Request{
		Time: s.opts.Now(), Method: r.Method, Path: r.URL.Path, UserAgent: r.UserAgent(),
	})
	return func(a answer) {
		s.mu.Lock()
		defer s.mu.Unlock()
		req := &s.requests[i]
		req.Status, req.Code, req.ClientID, req.Resource = a.status, a.code, a.clientID, a.resource
	}
}

// Requests are all requests so far, in the order in which they came, those to the control paths excepted.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.requests...)
}

// page is a text that is not JSON.
type page string

func (s *Server) page(r *http.Request) answer {
	text, ok := s.opts.Pages[r.URL.Path]
	if !ok {
		return notFound(r)
	}
	return answer{status: http.StatusOK, body: page(text)}
}

func notFound(*http.Request) answer {
	return answer{status: http.StatusNotFound, body: map[string]string{"error": "not_found"}}
}

// base is the server under the name by which this client reached it: MSAL insists that a discovery document speaks of
// the host it was read from.
func base(r *http.Request) string { return "https://" + r.Host }

// discovered is the tenant of a discovery request as documents spell it: Entra leaves a placeholder for those that stand
// for any tenant.
func (s *Server) discovered(r *http.Request) (path, issuer string, err *Refusal) {
	path = r.PathValue("tenant")
	switch path {
	case "common", "organizations", "consumers":
		return path, "{tenantid}", nil
	}
	if !s.opts.tenant(path) {
		refusal := unknownTenant(path)
		refusal.Error = "invalid_tenant"
		return "", "", &refusal
	}
	return path, path, nil
}

func (s *Server) discoveryV2(r *http.Request) answer {
	tenant, issuer, refusal := s.discovered(r)
	if refusal != nil {
		return s.refuse(r, *refusal)
	}
	root := base(r) + "/" + tenant
	return answer{status: http.StatusOK, body: map[string]any{
		"token_endpoint":                        root + "/oauth2/v2.0/token",
		"token_endpoint_auth_methods_supported": []string{"client_secret_post", "private_key_jwt", "client_secret_basic"},
		"jwks_uri":                              root + "/discovery/v2.0/keys",
		"response_modes_supported":              []string{"query", "fragment", "form_post"},
		"subject_types_supported":               []string{"pairwise"},
		"id_token_signing_alg_values_supported": []string{"RS256"},
		"response_types_supported":              []string{"code", "id_token", "code id_token", "id_token token"},
		"scopes_supported":                      []string{"openid", "profile", "email", "offline_access"},
		"issuer":                                base(r) + "/" + issuer + "/v2.0",
		"authorization_endpoint":                root + "/oauth2/v2.0/authorize",
		"device_authorization_endpoint":         root + "/oauth2/v2.0/devicecode",
		"end_session_endpoint":                  root + "/oauth2/v2.0/logout",
	}}
}

func (s *Server) discoveryV1(r *http.Request) answer {
	tenant, issuer, refusal := s.discovered(r)
	if refusal != nil {
		return s.refuse(r, *refusal)
	}
	root := base(r) + "/" + tenant
	return answer{status: http.StatusOK, body: map[string]any{
		"token_endpoint":                        root + "/oauth2/token",
		"token_endpoint_auth_methods_supported": []string{"client_secret_post", "private_key_jwt", "client_secret_basic"},
		"jwks_uri":                              root + "/discovery/keys",
		"subject_types_supported":               []string{"pairwise"},
		"id_token_signing_alg_values_supported": []string{"RS256"},
		"response_types_supported":              []string{"code", "id_token", "code id_token", "token id_token", "token"},
		"scopes_supported":                      []string{"openid"},
		"issuer":                                base(r) + "/" + issuer + "/",
		"authorization_endpoint":                root + "/oauth2/authorize",
		"device_authorization_endpoint":         root + "/oauth2/devicecode",
		"end_session_endpoint":                  root + "/oauth2/logout",
	}}
}

// instance answers instance discovery (api-version 1.1): this host is a cloud of its own.
func (s *Server) instance(r *http.Request) answer {
	type metadata struct {
		PreferredNetwork string   `json:"preferred_network"`
		PreferredCache   string   `json:"preferred_cache"`
		Aliases          []string `json:"aliases"`
	}
	return answer{status: http.StatusOK, body: map[string]any{
		"tenant_discovery_endpoint": base(r) + "/" + s.opts.Tenant + "/v2.0/.well-known/openid-configuration",
		"api-version":               "1.1",
		"metadata":                  []metadata{{r.Host, r.Host, []string{r.Host}}},
	}}
}

// keys is the JSON Web Key Set (RFC 7517) that verifies the tokens.
func (s *Server) keys(*http.Request) answer {
	public := s.signing.PublicKey
	return answer{status: http.StatusOK, body: map[string]any{"keys": []map[string]string{{
		"kty": "RSA", "use": "sig", "kid": s.keyID,
		"n": base64.RawURLEncoding.EncodeToString(public.N.Bytes()),
		"e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(public.E)).Bytes()),
	}}}}
}
