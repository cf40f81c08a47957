package azure

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"azimds/imds/token"
)

// runnerTimeout bounds one question to a CI service, from dialling to the end of the answer; they answer within a second.
const runnerTimeout = 10 * time.Second

// newRunnerClient reaches CI services; nil roots are the system's. It follows nobody elsewhere: a page to sign in at is no token.
func newRunnerClient(roots *x509.CertPool) *http.Client {
	client := newTransport(roots).client
	client.Timeout = runnerTimeout
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return client
}

// ciService is the endpoint at which a CI service vouches for a job: for a secret that the job alone has, it gives a token about that
// job, which lives for minutes.
type ciService struct {
	title    string       // whose it is, for people
	endpoint *url.URL     // without the query, which says for whom the token is to be
	secret   token.Secret // of the job
	member   string       // of the answer: it holds the token
	lacking  string       // what a refusal may mean, a clause
	command  string       // where that is mended
}

// parseEndpoint reads the address of a CI service out of a variable. The job's secret goes there: not in the clear, but on this
// machine itself.
func parseEndpoint(variable, value string) (*url.URL, error) {
	u, err := url.Parse(value)
	why := "is no https URL"
	switch {
	case err != nil || u.Hostname() == "" || u.User != nil:
	case u.Hostname() == metadataHost:
		why = "is the address of azimds itself"
	case u.Scheme == "https", u.Scheme == "http" && loopback(u.Hostname()):
		return u, nil
	}
	return nil, &token.Error{
		Kind: token.ErrSignInRequired, Message: variable + " " + why, Command: "printenv " + variable, Err: errUnusable,
	}
}

func loopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// runnerTransport is the policy.Transporter of a credential that a CI service vouches for: what is for that service's endpoint
// goes there, everything else to Entra. azidentity knows of the service's answers only that they are no token, so they are read
// here, and what became of the question is noted in the context's exchange. It is made for one request for a token.
type runnerTransport struct {
	entra   *transport
	client  *http.Client // newRunnerClient's
	service ciService
	text    token.Secret // the last token that the service gave
	claims  token.Claims // what that says
}

// Do implements policy.Transporter.
func (t *runnerTransport) Do(r *http.Request) (*http.Response, error) {
	at := t.service.endpoint
	if r.URL.Scheme != at.Scheme || r.URL.Host != at.Host || r.URL.Path != at.Path {
		return t.entra.Do(r)
	}
	resp, told := t.ask(r)
	if x, ok := r.Context().Value(exchangeKey{}).(*exchange); ok {
		x.runner = told
	}
	if resp != nil {
		return resp, nil // also a refusal: some are worth a second try
	}
	return nil, told
}

// ask returns the answer, if there is a whole one that may be passed on, and what a person is told where it is no token.
func (t *runnerTransport) ask(r *http.Request) (*http.Response, error) {
	resp, err := t.client.Do(r) //nolint:gosec // the address is that of the job's own environment
	if err != nil {
		return nil, t.service.unreachable(err)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return nil, t.service.unreachable(err)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	if resp.StatusCode >= http.StatusBadRequest {
		return resp, t.service.refused(resp.StatusCode, body)
	}
	var answer map[string]json.RawMessage
	var text string
	if resp.StatusCode == http.StatusOK && json.Unmarshal(body, &answer) == nil && json.Unmarshal(answer[t.service.member], &text) == nil {
		if claims, err := token.ParseClaims(text); err == nil {
			t.text, t.claims = token.NewSecret(text), claims
			return resp, nil
		}
	}
	return nil, &token.Error{
		Kind:    token.ErrUnavailable,
		Message: t.service.endpoint.Host + " answered with something that is no token; is a proxy or a sign-in page of the network in between?",
		Command: t.service.look(),
	}
}

// look is the command with which a person sees who is there.
func (r ciService) look() string { return "curl -sSI " + word(r.endpoint.Scheme+"://"+r.endpoint.Host) }

// unreachable is a question that got no answer, or not in time.
func (r ciService) unreachable(err error) error {
	late, ok := errors.AsType[net.Error](err)
	dial, dialled := errors.AsType[*net.OpError](err)
	if ok && late.Timeout() && (!dialled || dial.Op != "dial") {
		return &token.Error{
			Kind: token.ErrUnavailable, Message: r.endpoint.Host + " did not answer in time; " + r.title + " was asked for a token about this job there",
			Command: r.look(),
		}
	}
	return unreachable(r.endpoint.Host, err)
}

// refused is an answer that the job is to have no token, with the service's own words if it has any.
func (r ciService) refused(status int, body []byte) error {
	told := &token.Error{
		Kind: token.ErrSignInRequired, Message: fmt.Sprintf("%s gave this job no token about itself: %s answered %d", r.title, r.endpoint.Host, status),
		Command: r.command, Err: errUnusable,
	}
	var said struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(body, &said) == nil && said.Message != "" {
		said.Message = strings.Join(strings.Fields(scrub(said.Message, r.secret)), " ")
		told.Message += ` "` + strings.TrimSuffix(shorten(said.Message), ".") + `"`
	}
	if status >= http.StatusInternalServerError || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout {
		told.Kind, told.Err = token.ErrUnavailable, nil
		told.Command = r.look()
		return told
	}
	told.Message += "; " + r.lacking
	return told
}
