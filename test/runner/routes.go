package runner

import (
	"cmp"
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

func (s *Server) routes() http.Handler {
	// Not a mux: that would send a path with "//" in it elsewhere, and GitHub's have one.
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/.well-known/openid-configuration":
			reply(w, http.StatusOK, map[string]string{"issuer": s.Issuer(), "jwks_uri": s.Issuer() + "/.well-known/jwks"})
		case "/.well-known/jwks":
			reply(w, http.StatusOK, s.keys())
		case gitHubPath:
			s.endpoint(w, r, s.gitHub)
		case pipelinesPath:
			s.endpoint(w, r, s.pipelines)
		default:
			http.NotFound(w, r)
		}
	})
}

// endpoint misbehaves, or leaves the question to who answers.
func (s *Server) endpoint(w http.ResponseWriter, r *http.Request, answer http.HandlerFunc) {
	b := s.next()
	switch {
	case b.BreakOff:
		panic(http.ErrAbortHandler)
	case b.Stall:
		w.Header().Set("Content-Length", "2000") // so that the end of the connection is not that of the answer
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush() // a client that has gone wants nothing
		s.wait(r)
	case b.Hang:
		s.wait(r)
	case b.Status != 0 || b.Body != "":
		w.Header().Set("Content-Type", "text/html")
		if b.Status/100 == 3 {
			w.Header().Set("Location", "/_signin")
		}
		w.WriteHeader(cmp.Or(b.Status, http.StatusOK))
		_, _ = w.Write([]byte(b.Body)) // a client that has gone wants nothing
	default:
		answer(w, r)
	}
}

func (s *Server) wait(r *http.Request) {
	select {
	case <-r.Context().Done():
	case <-s.leaving:
	}
}

// gitHub answers as GitHub does (docs.github.com, "OpenID Connect reference", "Methods for requesting the OIDC token"; actions/toolkit
// 3.0, oidc-utils.ts).
func (s *Server) gitHub(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	switch {
	case r.Method != http.MethodGet:
		reply(w, http.StatusMethodNotAllowed, message("the method is not allowed"))
	case !s.theJob(r):
		reply(w, http.StatusUnauthorized, message("the request token is not valid"))
	case q.Get("api-version") != "2.0" || len(q["audience"]) != 1:
		reply(w, http.StatusBadRequest, message("api-version and one audience are needed"))
	default:
		s.tell(w, "value", q.Get("audience"), Lifetime)
	}
}

// pipelines answers as Azure DevOps does (learn.microsoft.com, "Oidctoken - Create"): who is nobody is sent to sign in, unless they say
// that this is no use.
func (s *Server) pipelines(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	switch {
	case !s.theJob(r) && r.Header.Get("X-TFS-FedAuthRedirect") != "Suppress":
		http.Redirect(w, r, "/_signin", http.StatusFound)
	case !s.theJob(r):
		reply(w, http.StatusUnauthorized, message("TF400813: The user '' is not authorized to access this resource."))
	case r.Method != http.MethodPost:
		reply(w, http.StatusMethodNotAllowed, message("the method is not allowed"))
	case q.Get("api-version") != "7.1":
		reply(w, http.StatusBadRequest, message("api-version is needed"))
	case q.Get("serviceConnectionId") != Connection:
		reply(w, http.StatusNotFound, message("No service connection found with identifier "+q.Get("serviceConnectionId")+"."))
	default:
		s.tell(w, "oidcToken", "api://AzureADTokenExchange", 2*Lifetime)
	}
}

func (s *Server) tell(w http.ResponseWriter, member, audience string, lifetime time.Duration) {
	text, err := s.give(audience, lifetime)
	if err != nil {
		reply(w, http.StatusInternalServerError, message(err.Error()))
		return
	}
	reply(w, http.StatusOK, map[string]any{"count": 1, member: text})
}

// theJob tells whether a question comes from the job: by its secret.
func (s *Server) theJob(r *http.Request) bool {
	scheme, secret, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.EqualFold(scheme, "bearer") && secret == s.bearer
}

func message(text string) any { return map[string]string{"message": text} }

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // a client that has gone wants nothing
}
