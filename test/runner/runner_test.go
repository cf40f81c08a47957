package runner

import (
	"encoding/json"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

func start(t *testing.T) *Server {
	t.Helper()
	s, err := New("repo:contoso/app:ref:refs/heads/main")
	if err != nil {
		t.Fatal(err)
	}
	s.Start(nil)
	t.Cleanup(s.Close)
	return s
}

// question is one that the service answers, but for what a test changes.
type question struct {
	method, url string
	header      map[string]string
}

func (s *Server) asking() (gitHub, pipelines question) {
	github, azure := s.GitHub(), s.Pipelines()
	gitHub = question{http.MethodGet, github["ACTIONS_ID_TOKEN_REQUEST_URL"] + "&audience=x",
		map[string]string{"Authorization": "bearer " + github["ACTIONS_ID_TOKEN_REQUEST_TOKEN"]}}
	pipelines = question{http.MethodPost, azure["SYSTEM_OIDCREQUESTURI"] + "?api-version=7.1&serviceConnectionId=" + Connection,
		map[string]string{"Authorization": "Bearer " + azure["SYSTEM_ACCESSTOKEN"], "X-TFS-FedAuthRedirect": "Suppress"}}
	return gitHub, pipelines
}

func (s *Server) ask(t *testing.T, q question) (int, map[string]any) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), q.method, q.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range q.header {
		r.Header.Set(name, value)
	}
	client := s.server.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var body map[string]any
	if resp.Header.Get("Content-Type") == "application/json; charset=utf-8" {
		if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
			t.Fatal(err)
		}
	}
	return resp.StatusCode, body
}

// Each answer is another token, signed with the key that the issuer publishes; who is not the job gets none.
func TestServer(t *testing.T) {
	s := start(t)
	gitHub, pipelines := s.asking()
	for _, tt := range []struct {
		name, member, audience string
		question               question
	}{
		{"github", "value", "x", gitHub}, {"pipelines", "oidcToken", "api://AzureADTokenExchange", pipelines},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var texts [2]string
			for i := range texts {
				status, body := s.ask(t, tt.question)
				texts[i], _ = body[tt.member].(string)
				if status != http.StatusOK {
					t.Fatalf("%d: %v", status, body)
				}
			}
			if texts[0] == texts[1] {
				t.Error("the same token twice")
			}
			var claims jwt.RegisteredClaims
			if _, err := jwt.ParseWithClaims(texts[0], &claims, func(*jwt.Token) (any, error) { return &s.key.PublicKey, nil }); err != nil {
				t.Error(err)
			}
			if claims.Subject != s.subject || claims.Issuer != s.Issuer() || claims.Audience[0] != tt.audience {
				t.Errorf("claims %+v", claims)
			}
		})
	}
	if given := s.Given(); len(given) != 4 || s.Questions() != 4 {
		t.Errorf("%d tokens for %d questions", len(given), s.Questions())
	}
}

func TestServerRefuses(t *testing.T) {
	s := start(t)
	gitHub, pipelines := s.asking()
	with := func(q question, name, value string) question {
		q.header = maps.Clone(q.header)
		q.header[name] = value
		return q
	}
	at := func(q question, old, url string) question {
		q.url = strings.Replace(q.url, old, url, 1)
		return q
	}
	posted := gitHub
	posted.method = http.MethodPost
	for _, tt := range []struct {
		name     string
		question question
		want     int
	}{
		{"github, nobody's token", with(gitHub, "Authorization", "bearer x"), http.StatusUnauthorized},
		{"github, no token", with(gitHub, "Authorization", ""), http.StatusUnauthorized},
		{"github, posted", posted, http.StatusMethodNotAllowed},
		{"github, no audience", at(gitHub, "&audience=x", ""), http.StatusBadRequest},
		{"pipelines, nobody's token", with(pipelines, "Authorization", "Bearer x"), http.StatusUnauthorized},
		{"pipelines, nobody who would sign in", with(with(pipelines, "Authorization", ""), "X-TFS-FedAuthRedirect", ""), http.StatusFound},
		{"pipelines, another connection", at(pipelines, Connection, "x"), http.StatusNotFound},
		{"elsewhere", at(gitHub, "idtoken", "token"), http.StatusNotFound},
	} {
		if status, body := s.ask(t, tt.question); status != tt.want {
			t.Errorf("%s: %d, want %d: %v", tt.name, status, tt.want, body)
		}
	}
	if given := s.Given(); len(given) != 0 {
		t.Errorf("%d tokens were given", len(given))
	}
}
