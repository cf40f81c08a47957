package azure

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"azimds/imds/token"
)

// The variables of a job of GitHub Actions. The first two are there in one that has the permission id-token: write
// (docs.github.com, "OpenID Connect reference").
const (
	envGitHubURL      = "ACTIONS_ID_TOKEN_REQUEST_URL"
	envGitHubToken    = "ACTIONS_ID_TOKEN_REQUEST_TOKEN"
	envGitHub         = "GITHUB_ACTIONS"
	envGitHubWorkflow = "GITHUB_WORKFLOW_REF" // OWNER/REPOSITORY/PATH@REF
)

// gitHubPermission is what a job of GitHub Actions needs.
const gitHubPermission = `"permissions: {id-token: write}"`

// GitHubActionsOptions are a service principal that trusts jobs of GitHub Actions. What is empty is read from the environment, at
// each request: AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_AUTHORITY_HOST.
type GitHubActionsOptions struct {
	Tenant, ClientID, AuthorityHost string
	Getenv                          func(string) string // nil means os.Getenv
	CA                              *x509.CertPool      // all the certificates to trust (see [Roots]); nil means the system's
	Now                             func() time.Time    // nil means time.Now
}

// GitHubActions is the source "github-actions": an application or managed identity in Azure that trusts the job in which this
// process runs. GitHub vouches for the job with a token that lives for five minutes, so that each request to Entra has one of its
// own, and goes on as long as the job does.
type GitHubActions struct {
	options   GitHubActionsOptions
	authority authority
	client    *http.Client // GitHub's
}

// NewGitHubActions returns the source; it reads nothing yet, see [GitHubActions.Check].
func NewGitHubActions(o GitHubActionsOptions) (*GitHubActions, error) {
	if err := checkTenant(o.Tenant); err != nil {
		return nil, fmt.Errorf("github actions: %w", err)
	}
	if _, err := parseAuthority(o.AuthorityHost); err != nil {
		return nil, fmt.Errorf("github actions: %w", err)
	}
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	return &GitHubActions{options: o, authority: newAuthority(o.CA, o.Now), client: newRunnerClient(o.CA)}, nil
}

// OnGitHubActions tells whether this is a job of GitHub Actions.
func OnGitHubActions(getenv func(string) string) bool {
	return getenv(envGitHub) == "true" || getenv(envGitHubURL) != ""
}

// GitHubActionsVariables are those that [GitHubActions] and [OnGitHubActions] read, beside AZURE_*.
func GitHubActionsVariables() []string {
	return []string{envGitHubURL, envGitHubToken, envGitHub, envGitHubWorkflow}
}

// Account is the application, as far as options and variables tell.
func (g *GitHubActions) Account() Account {
	o := g.complete()
	return Account{Name: o.ClientID, Tenant: o.Tenant, App: true}
}

// Describe names the source, its tenant and client id, in a few words for people.
func (g *GitHubActions) Describe() string {
	o := g.complete()
	return described(KindGitHubActions, "tenant", o.Tenant, "client", o.ClientID, "authority", o.AuthorityHost)
}

// Check looks at the variables as [GitHubActions.Token] will; it asks nobody. The error names what is missing and how to give it.
func (g *GitHubActions) Check() error {
	_, _, err := g.application()
	return err
}

// Token has GitHub vouch for the job anew, and presents that to Entra. No token of GitHub's is used twice.
func (g *GitHubActions) Token(ctx context.Context, r token.Request) (token.Token, error) {
	app, via, err := g.application()
	if err != nil {
		return token.Token{}, err
	}
	t, err := g.authority.ask(ctx, r, app)
	return t, untrusted(err, app.clientID, via.claims)
}

func (g *GitHubActions) complete() GitHubActionsOptions {
	o := g.options
	o.Tenant = cmp.Or(o.Tenant, o.Getenv(envTenant))
	o.ClientID = cmp.Or(o.ClientID, o.Getenv(envClient))
	o.AuthorityHost = cmp.Or(o.AuthorityHost, o.Getenv(envAuthority))
	return o
}

func (g *GitHubActions) application() (application, *runnerTransport, error) {
	o := g.complete()
	fail := func(err error) (application, *runnerTransport, error) { return application{}, nil, err }
	for _, name := range []string{envGitHubURL, envGitHubToken} {
		if o.Getenv(name) == "" {
			return fail(&token.Error{
				Kind: token.ErrSignInRequired, Message: name + " is not set: GitHub sets it in a job that has " + gitHubPermission,
				Command: workflowEditor(o.Getenv), Err: errNotConfigured,
			})
		}
	}
	switch {
	case o.Tenant == "":
		return fail(missing(KindGitHubActions, envTenant, exportTenant))
	case o.ClientID == "":
		return fail(missing(KindGitHubActions, envClient, exportClient))
	}
	if err := checkTenant(o.Tenant); err != nil {
		return fail(fmt.Errorf("reading %s: %w", envTenant, err))
	}
	authority, err := parseAuthority(o.AuthorityHost)
	if err != nil {
		return fail(fmt.Errorf("reading %s: %w", envAuthority, err))
	}
	endpoint, err := parseEndpoint(envGitHubURL, o.Getenv(envGitHubURL))
	if err != nil {
		return fail(err)
	}
	via := &runnerTransport{entra: g.authority.transport, client: g.client, service: ciService{
		title: "GitHub", endpoint: endpoint, secret: token.NewSecret(o.Getenv(envGitHubToken)), member: "value",
		lacking: "a job has them as long as it runs and has " + gitHubPermission, command: workflowEditor(o.Getenv),
	}}
	return application{
		kind: KindGitHubActions, tenant: o.Tenant, clientID: o.ClientID, host: o.AuthorityHost, secret: via.service.secret,
		credential: func(co azcore.ClientOptions, noDiscovery bool) (azcore.TokenCredential, error) {
			co.Transport = via
			return azidentity.NewClientAssertionCredential(o.Tenant, o.ClientID, via.gitHubAssertion(co, audienceAt(authority.Hostname())),
				&azidentity.ClientAssertionCredentialOptions{
					ClientOptions: co, DisableInstanceDiscovery: noDiscovery, AdditionallyAllowedTenants: []string{"*"},
				})
		},
	}, via, nil
}

// gitHubAssertion asks GitHub for a token for an audience, each time that it is called.
func (t *runnerTransport) gitHubAssertion(o azcore.ClientOptions, audience string) func(context.Context) (string, error) {
	pipeline := runtime.NewPipeline(applicationID, "", runtime.PipelineOptions{}, &o)
	address := *t.service.endpoint
	address.RawQuery = strings.TrimPrefix(address.RawQuery+"&audience="+url.QueryEscape(audience), "&")
	return func(ctx context.Context) (string, error) {
		r, err := runtime.NewRequest(ctx, http.MethodGet, address.String())
		if err != nil {
			return "", fmt.Errorf("asking %q: %w", address.Host, err)
		}
		r.Raw().Header.Set("Authorization", "bearer "+t.service.secret.Reveal())
		r.Raw().Header.Set("Accept", "application/json")
		resp, err := pipeline.Do(r)
		if err != nil {
			return "", err
		}
		if err := resp.Body.Close(); err != nil {
			return "", fmt.Errorf("reading answer of %q: %w", address.Host, err)
		}
		if resp.StatusCode != http.StatusOK {
			return "", errNotVouched
		}
		return t.text.Reveal(), nil
	}
}

// errNotVouched ends a request for a token; the person is told what the transport noted.
var errNotVouched = errors.New("the CI service gave no token")

// workflowEditor is the command that opens the workflow which this job is of, in the folder of the repository.
func workflowEditor(getenv func(string) string) string {
	file := ".github/workflows"
	if path, _, ok := strings.Cut(getenv(envGitHubWorkflow), "@"); ok {
		if parts := strings.SplitN(path, "/", 3); len(parts) == 3 && parts[2] != "" {
			file = parts[2]
		}
	}
	return `"${EDITOR:-vi}" ` + word(file)
}
