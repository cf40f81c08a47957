// Package runner stands in for the part of a CI service that vouches for a job: over TLS, an endpoint of GitHub's kind and one of
// Azure DevOps's give the job a token about itself, and an OpenID issuer publishes the keys of those tokens.
//
// It takes only what the real services take, it notes each question and each token that it gave, and it can be told to
// misbehave (see [Behaviour]).
package runner

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Lifetime is that of GitHub's tokens; those of Azure DevOps live ten minutes.
const Lifetime = 5 * time.Minute

// Connection is the service connection that Azure DevOps knows here.
const Connection = "c0ffee5c-8d0e-4a3b-9c1d-2e3f4a5b6c7d"

// The paths of the two endpoints, in the shape of the real ones.
const (
	gitHubPath    = "/11//idtoken/8f4c1e7a-0b2d-4c3e-9a5f-6d7e8f901234/ca395085-040a-526b-2ce8-bdc85f692774"
	pipelinesPath = "/contoso/6d1e2f3a-4b5c-4d6e-8f90-a1b2c3d4e5f6/_apis/distributedtask/hubs/build/plans/1/jobs/2/oidctoken"
)

// keyID names the one key of the issuer.
const keyID = "the-key"

// Server is the CI service, with one job running. Make one with [New].
type Server struct {
	bearer  string // of the job
	key     *rsa.PrivateKey
	server  *httptest.Server
	leaving chan struct{} // closed when the server closes

	mu        sync.Mutex
	subject   string
	behaviour Behaviour
	questions int
	given     []Token
}

// Token is a token that the job was given.
type Token struct {
	ID, Subject, Audience string
	Text                  string
}

// Behaviour is how the endpoints treat the next questions; the issuer's documents go on as ever. The zero value is good behaviour.
type Behaviour struct {
	Status   int    // answer so, before anything is looked at; 0 for 200 where Body is not empty
	Body     string // the answer's
	BreakOff bool   // close the connection in place of an answer
	Hang     bool   // do not answer as long as the client waits
	Stall    bool   // send the head of an answer and no more, as long as the client waits
	Times    int    // for so many questions, then behave; 0 for until told otherwise
}

// New makes a service that runs a job with this subject. It serves nothing before [Server.Start].
func New(subject string) (*Server, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, fmt.Errorf("making the issuer's key: %w", err)
	}
	s := &Server{bearer: "job-" + rand.Text(), key: key, leaving: make(chan struct{}), subject: subject}
	s.server = httptest.NewUnstartedServer(s.routes())
	s.server.Config.ErrorLog = log.New(io.Discard, "", 0) // a client that hangs up is what tests do
	return s, nil
}

// Start serves on ln from now on until [Server.Close]; a nil ln is a free port of 127.0.0.1.
func (s *Server) Start(ln net.Listener) {
	if ln != nil {
		s.server.Listener.Close()
		s.server.Listener = ln
	}
	s.server.StartTLS()
}

// Close lets go of clients that wait and stops serving.
func (s *Server) Close() {
	close(s.leaving)
	s.server.Close()
}

// CAPEM is the certificate that clients have to trust.
func (s *Server) CAPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.server.Certificate().Raw})
}

// Certificate is the same for [x509.CertPool].
func (s *Server) Certificate() *x509.Certificate { return s.server.Certificate() }

// Issuer is who signs the tokens.
func (s *Server) Issuer() string { return s.server.URL }

// Bearer is the secret of the job, for which it is given tokens.
func (s *Server) Bearer() string { return s.bearer }

// GitHub are the variables that GitHub gives a job that has the permission id-token: write.
func (s *Server) GitHub() map[string]string {
	return map[string]string{
		"GITHUB_ACTIONS":                 "true",
		"ACTIONS_ID_TOKEN_REQUEST_URL":   s.server.URL + gitHubPath + "?api-version=2.0",
		"ACTIONS_ID_TOKEN_REQUEST_TOKEN": s.bearer,
	}
}

// Pipelines are the variables that Azure Pipelines gives a step which maps System.AccessToken, beside those of its service
// connection.
func (s *Server) Pipelines() map[string]string {
	return map[string]string{
		"TF_BUILD":                                "True",
		"SYSTEM_OIDCREQUESTURI":                   s.server.URL + pipelinesPath,
		"SYSTEM_ACCESSTOKEN":                      s.bearer,
		"AZURESUBSCRIPTION_SERVICE_CONNECTION_ID": Connection,
	}
}

// Become makes another job of the one that runs.
func (s *Server) Become(subject string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.subject = subject
}

// Behave sets how questions that come from now on are treated.
func (s *Server) Behave(b Behaviour) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.behaviour = b
}

// Questions are how many there were, whatever became of them.
func (s *Server) Questions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.questions
}

// Given are the tokens so far, in order.
func (s *Server) Given() []Token {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Token(nil), s.given...)
}

// Sign makes a token of the issuer's with claims of the test's own, as a service that puts it into a file or a variable would.
func (s *Server) Sign(claims jwt.MapClaims) (string, error) {
	t := jwt.NewWithClaims(jwt.SigningMethodRS256, claims)
	t.Header["kid"] = keyID
	text, err := t.SignedString(s.key)
	if err != nil {
		return "", fmt.Errorf("signing a token: %w", err)
	}
	return text, nil
}

// next counts a question and is the behaviour towards it.
func (s *Server) next() Behaviour {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.questions++
	b := s.behaviour
	if b.Times > 0 {
		if s.behaviour.Times--; s.behaviour.Times == 0 {
			s.behaviour = Behaviour{}
		}
	}
	return b
}

// give makes one more token for the job.
func (s *Server) give(audience string, lifetime time.Duration) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	t := Token{ID: rand.Text(), Subject: s.subject, Audience: audience}
	text, err := s.Sign(jwt.MapClaims{
		"jti": t.ID, "sub": t.Subject, "aud": audience, "iss": s.Issuer(),
		"iat": now.Unix(), "nbf": now.Add(-Lifetime).Unix(), "exp": now.Add(lifetime).Unix(),
	})
	if err != nil {
		return "", err
	}
	t.Text = text
	s.given = append(s.given, t)
	return text, nil
}

// keys is the issuer's key as RFC 7517 has it.
func (s *Server) keys() any {
	encode := base64.RawURLEncoding.EncodeToString
	return map[string]any{"keys": []map[string]string{{
		"kty": "RSA", "use": "sig", "alg": "RS256", "kid": keyID,
		"n": encode(s.key.N.Bytes()), "e": encode(big.NewInt(int64(s.key.E)).Bytes()),
	}}}
}

// Client reaches the issuer, as Entra does, by dial; nil is the network that the test is in.
func (s *Server) Client(dial func(network, address string) (net.Conn, error)) *http.Client {
	t := s.server.Client().Transport.(*http.Transport).Clone()
	t.DisableKeepAlives = true
	if dial != nil {
		t.DialContext = func(_ context.Context, network, address string) (net.Conn, error) { return dial(network, address) }
	}
	return &http.Client{Transport: t}
}
