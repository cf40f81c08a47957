package azure

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"azimds/imds/token"
	"azimds/test/runner"
)

// TestVouchedFailures holds what people are told of a job that is not vouched for.
func TestVouchedFailures(t *testing.T) {
	for _, v := range vouchers {
		var told messages
		ci, authority, pool := v.job(t)
		t.Setenv(envGitHubWorkflow, "contoso/app/.github/workflows/it's mine.yml@refs/heads/main")
		page := "<html>Please sign in"
		for _, test := range []struct {
			name      string
			of        string            // a kind; "" is all
			set       map[string]string // variables
			behaviour runner.Behaviour
			subject   string
			untrusted bool // the roots are the system's
			questions int
		}{
			{name: "no address", set: map[string]string{envGitHubURL: "", envPipelinesURL: ""}},
			{name: "no secret of the job", set: map[string]string{envGitHubToken: "", envPipelinesToken: ""}},
			{name: "no connection", of: KindAzurePipelines, set: map[string]string{envPipelinesConnection: ""}},
			{name: "no tenant", set: map[string]string{envTenant: ""}},
			{name: "no client", set: map[string]string{envClient: ""}},
			{name: "broken tenant", set: map[string]string{envTenant: "a b"}},
			{name: "no address at all", set: map[string]string{envGitHubURL: "x", envPipelinesURL: "x"}},
			{name: "in the clear", set: map[string]string{envGitHubURL: "http://ci.example/", envPipelinesURL: "http://ci.example/"}},
			{name: "azimds itself", set: map[string]string{envGitHubURL: "http://169.254.169.254/", envPipelinesURL: "https://169.254.169.254/"}},
			{name: "nobody there", set: map[string]string{envGitHubURL: "http://127.0.0.1:1/", envPipelinesURL: "http://127.0.0.1:1/"}},
			{name: "wrong secret of the job", set: map[string]string{envGitHubToken: "n0body", envPipelinesToken: "n0body"}, questions: 1},
			{name: "unknown connection", of: KindAzurePipelines, set: map[string]string{envPipelinesConnection: objectID}, questions: 1},
			{name: "forbidden", behaviour: runner.Behaviour{Status: 403, Body: `{"message":"` + ci.Bearer() + ` may not.\n"}`}, questions: 1},
			{name: "forbidden by a proxy", behaviour: runner.Behaviour{Status: 403, Body: page}, questions: 1},
			{name: "throttled", behaviour: runner.Behaviour{Status: 429}, questions: 1},
			{name: "out of order", behaviour: runner.Behaviour{Status: 503, Body: page}, questions: 2},
			{name: "elsewhere", behaviour: runner.Behaviour{Status: 302}, questions: 1},
			{name: "a page", behaviour: runner.Behaviour{Body: page}, questions: 1},
			{name: "nothing", behaviour: runner.Behaviour{Status: 204}, questions: 1},
			{name: "no token in it", behaviour: runner.Behaviour{Body: `{"value":null,"oidcToken":null}`}, questions: 1},
			{name: "a token that is none", behaviour: runner.Behaviour{Body: `{"value":"eyJmaddeupX","oidcToken":"eyJmaddeupX"}`}, questions: 1},
			{name: "breaks off", behaviour: runner.Behaviour{BreakOff: true}, questions: 2},
			{name: "hangs", behaviour: runner.Behaviour{Hang: true}, questions: 1},
			{name: "hangs after the head", behaviour: runner.Behaviour{Stall: true}, questions: 1},
			{name: "certificate of nobody", untrusted: true},
			{name: "another subject", subject: otherSubject, questions: 1},
		} {
			if test.of != "" && test.of != v.kind {
				continue
			}
			t.Run(v.kind+"/"+test.name, func(t *testing.T) {
				for name, value := range test.set {
					t.Setenv(name, value)
				}
				ci.Become(cmp.Or(test.subject, jobSubject))
				ci.Behave(test.behaviour)
				before, given := ci.Questions(), len(ci.Given())
				source := v.open(t, authority.URL(), pool)
				client := clientOf(source)
				if test.behaviour.Hang || test.behaviour.Stall {
					client.Timeout = 50 * time.Millisecond
				}
				if test.untrusted {
					client.Transport.(*http.Transport).TLSClientConfig.RootCAs = nil
				}
				_, err := source.Token(t.Context(), token.Request{Resource: arm})
				secrets := []string{ci.Bearer(), "n0body", "eyJmaddeupX"}
				for _, one := range ci.Given()[given:] {
					secrets = append(secrets, one.Text)
				}
				checkError(t, err, secrets...)
				if got := ci.Questions() - before; got != test.questions {
					t.Errorf("%d questions, want %d", got, test.questions)
				}
				if refusal, ok := errors.AsType[*token.EntraError](err); ok {
					refusal.Description, _, _ = strings.Cut(refusal.Description, " Trace ID: ")
				}
				told.add(test.name, err)
			})
		}
		t.Run(v.kind, func(t *testing.T) { told.compare(t, v.kind+".golden") })
		if n := len(authority.Issued()); n != 0 {
			t.Errorf("%d tokens were issued", n)
		}
	}
}

func clientOf(source vouchedSource) *http.Client {
	if g, ok := source.(*GitHubActions); ok {
		return g.client
	}
	return source.(*AzurePipelines).client
}

// TestRunnerIsBounded has a service take the question and say nothing, or nothing more.
func TestRunnerIsBounded(t *testing.T) {
	for name, answer := range map[string]string{
		"nothing": "", "half a head": "HTTP/1.1 200 OK\r\n", "a head": "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := newRunnerClient(x509.NewCertPool())
				client.Transport.(*http.Transport).DialContext = func(context.Context, string, string) (net.Conn, error) {
					ours, theirs := net.Pipe()
					go func() {
						_, _ = theirs.Read(make([]byte, 4096))
						_, _ = io.WriteString(theirs, answer)
					}()
					return ours, nil
				}
				endpoint, err := parseEndpoint(envGitHubURL, "http://127.0.0.1/")
				if err != nil {
					t.Fatal(err)
				}
				via := &runnerTransport{client: client, service: ciService{title: "GitHub", endpoint: endpoint, member: "value"}}
				begun := time.Now()
				ctx, x := withExchange(t.Context())
				_, err = via.gitHubAssertion(azcore.ClientOptions{Transport: via, Retry: retries()}, "x")(ctx)
				if err == nil || !errors.Is(x.runner, token.ErrUnavailable) {
					t.Errorf("the answer is %v, and %v is told", err, x.runner)
				}
				if took := time.Since(begun); took != runnerTimeout {
					t.Errorf("it took %v", took)
				}
				client.CloseIdleConnections()
			})
		})
	}
}
