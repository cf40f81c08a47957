package azure

import (
	"context"
	"crypto/x509"
	"errors"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"azimds/imds/token"
	"azimds/test/entra"
	"azimds/test/runner"
)

const (
	jobSubject   = "repo:contoso/app:ref:refs/heads/main"
	otherSubject = "repo:contoso/app:pull_request"
)

// vouched is a source that a CI service vouches for, in a job of that service's.
type vouched struct {
	kind      string
	audience  string
	variables func(*runner.Server) map[string]string
	open      func(*testing.T, string, *x509.CertPool) vouchedSource // at an authority
}

// vouchedSource is what [GitHubActions] and [AzurePipelines] have in common.
type vouchedSource interface {
	Candidate
	Check() error
	Account() Account
}

var vouchers = []vouched{
	{KindGitHubActions, exchangeAudience, (*runner.Server).GitHub, func(t *testing.T, host string, pool *x509.CertPool) vouchedSource {
		g, err := NewGitHubActions(GitHubActionsOptions{AuthorityHost: host, CA: pool})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(g.client.CloseIdleConnections)
		t.Cleanup(g.authority.transport.client.CloseIdleConnections)
		return g
	}},
	{KindAzurePipelines, exchangeAudience, (*runner.Server).Pipelines, func(t *testing.T, host string, pool *x509.CertPool) vouchedSource {
		p, err := NewAzurePipelines(AzurePipelinesOptions{AuthorityHost: host, CA: pool})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.client.CloseIdleConnections)
		t.Cleanup(p.authority.transport.client.CloseIdleConnections)
		return p
	}},
}

// forget takes away what this machine, which may itself be a CI runner, says of a job.
func forget(t *testing.T) {
	t.Helper()
	names := slices.Concat(GitHubActionsVariables(), AzurePipelinesVariables(), []string{envTenant, envClient, envAuthority})
	for _, name := range names {
		t.Setenv(name, "")
	}
}

// job is a CI service with a job, and an authority at which one application trusts that job alone, with the roots to trust both.
func (v vouched) job(t *testing.T) (*runner.Server, *entra.Server, *x509.CertPool) {
	t.Helper()
	forget(t)
	ci, err := runner.New(jobSubject)
	if err != nil {
		t.Fatal(err)
	}
	ci.Start(nil)
	t.Cleanup(ci.Close)
	authority, pool := startEntraWith(t, entra.Options{
		Clients: []entra.Client{{ID: clientID, ObjectID: objectID, Federated: []entra.Federated{{
			Issuer: ci.Issuer(), Subject: jobSubject, Audience: v.audience,
		}}}},
		Issuers: ci.Client(nil), Hosts: slices.Collect(maps.Keys(microsoftAuthorities)),
	})
	pool.AddCert(ci.Certificate())
	for name, value := range v.variables(ci) {
		t.Setenv(name, value)
	}
	t.Setenv(envTenant, tenantID)
	t.Setenv(envClient, clientID)
	return ci, authority, pool
}

// TestVouched wants a token for the job that is trusted, none for another of the same service, and each time the word of the service
// anew.
func TestVouched(t *testing.T) {
	for _, v := range vouchers {
		t.Run(v.kind, func(t *testing.T) {
			ci, authority, pool := v.job(t)
			source := v.open(t, authority.URL(), pool)
			if err := source.Check(); err != nil || ci.Questions() != 0 {
				t.Fatalf("Check: %v, %d questions", err, ci.Questions())
			}
			if want := (Account{Name: clientID, Tenant: tenantID, App: true}); source.Account() != want {
				t.Errorf("account %+v", source.Account())
			}
			ask := func(subject string, want int) {
				t.Helper()
				ci.Become(subject)
				got, err := source.Token(t.Context(), token.Request{Resource: arm})
				refusal, _ := errors.AsType[*token.EntraError](err)
				switch issued := authority.Issued(); {
				case want == 0 && (err != nil || got.Value.Reveal() != issued[len(issued)-1].Token || got.ObjectID != objectID):
					t.Errorf("of %s: %v", subject, err)
				case want != 0 && (refusal == nil || !slices.Equal(refusal.ErrorCodes, []int{want})):
					t.Errorf("of %s: %v", subject, err)
				}
			}
			ask(jobSubject, 0)
			ask(otherSubject, 700213)
			ask(jobSubject, 0)
			ids := map[string]bool{}
			for _, given := range ci.Given() {
				ids[given.ID] = true
			}
			if len(ids) != 3 || ci.Questions() != 3 || len(authority.Issued()) != 2 {
				t.Errorf("%d questions and %d tokens of the service for %d of Entra's", ci.Questions(), len(ids), len(authority.Issued()))
			}
		})
	}
}

// TestVouchedDescribes holds that options go before variables, and Azure Pipelines' own variables before those of azidentity.
func TestVouchedDescribes(t *testing.T) {
	forget(t)
	t.Setenv(envTenant, "variable.example")
	t.Setenv(envClient, "variable")
	describe := func(c Candidate, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return c.Describe()
	}
	gitHub := func(o GitHubActionsOptions) string { g, err := NewGitHubActions(o); return describe(g, err) }
	pipelines := func(o AzurePipelinesOptions) string { p, err := NewAzurePipelines(o); return describe(p, err) }
	got := []string{
		gitHub(GitHubActionsOptions{}), gitHub(GitHubActionsOptions{Tenant: "option.example", ClientID: "option", AuthorityHost: "login.example"}),
		pipelines(AzurePipelinesOptions{}),
	}
	t.Setenv(envPipelinesTenant, "task.example")
	t.Setenv(envPipelinesClient, "task")
	t.Setenv(envPipelinesConnection, "connection")
	got = append(got, pipelines(AzurePipelinesOptions{}),
		pipelines(AzurePipelinesOptions{Tenant: "option.example", ClientID: "option", ServiceConnectionID: "1", AuthorityHost: "login.example"}))
	want := []string{
		"github-actions (tenant variable.example, client variable)", "github-actions (tenant option.example, client option, authority login.example)",
		"azure-pipelines (tenant variable.example, client variable)", "azure-pipelines (tenant task.example, client task, connection connection)",
		"azure-pipelines (tenant option.example, client option, connection 1, authority login.example)",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, o := range []GitHubActionsOptions{{Tenant: "a/b"}, {AuthorityHost: "http://login.example"}} {
		if _, err := NewGitHubActions(o); err == nil {
			t.Errorf("%+v is accepted", o)
		}
		if _, err := NewAzurePipelines(AzurePipelinesOptions{Tenant: o.Tenant, AuthorityHost: o.AuthorityHost}); err == nil {
			t.Errorf("%+v is accepted", o)
		}
	}
}

// TestGitHubActionsClouds wants GitHub to be asked for a token that is for Entra of the cloud in use, which takes no other.
func TestGitHubActionsClouds(t *testing.T) {
	for host, audience := range map[string]string{
		"login.microsoftonline.com": exchangeAudience, "login.microsoftonline.us": exchangeAudience + "USGov",
		"login.chinacloudapi.cn": exchangeAudience + "China", "login.partner.microsoftonline.cn": exchangeAudience + "China",
	} {
		t.Run(host, func(t *testing.T) {
			v := vouchers[0]
			v.audience = audience
			ci, authority, pool := v.job(t)
			source := v.open(t, host, pool).(*GitHubActions)
			at, err := url.Parse(authority.URL())
			if err != nil {
				t.Fatal(err)
			}
			dialer := new(net.Dialer)
			source.authority.transport.client.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
				return dialer.DialContext(ctx, network, at.Host)
			}
			if _, err := source.Token(t.Context(), token.Request{Resource: arm}); err != nil {
				t.Error(err)
			}
			if given := ci.Given(); len(given) != 1 || given[0].Audience != audience {
				t.Errorf("GitHub was asked for %+v", given)
			}
			elsewhere := v.open(t, authority.URL(), pool) // of no cloud: its tokens are for the public one
			if _, err := elsewhere.Token(t.Context(), token.Request{Resource: arm}); (err == nil) != (audience == exchangeAudience) {
				t.Errorf("with a token for another cloud: %v", err)
			}
		})
	}
}
