package azure

import (
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"azimds/imds/token"
)

// The variables of a job of Azure Pipelines. SYSTEM_ACCESSTOKEN is there in a step that maps it; those of the connection are what the
// tasks AzureCLI@2 and AzurePowerShell@5 set, of the connection that they were given (learn.microsoft.com, "Predefined variables"
// and "AzurePipelinesCredential class").
const (
	envPipelinesURL        = "SYSTEM_OIDCREQUESTURI"
	envPipelinesToken      = "SYSTEM_ACCESSTOKEN"
	envPipelines           = "TF_BUILD"
	envPipelinesConnection = "AZURESUBSCRIPTION_SERVICE_CONNECTION_ID"
	envPipelinesClient     = "AZURESUBSCRIPTION_CLIENT_ID"
	envPipelinesTenant     = "AZURESUBSCRIPTION_TENANT_ID"
)

// pipelinesEditor opens the file that a pipeline is in unless somebody chose another.
const pipelinesEditor = `"${EDITOR:-vi}" azure-pipelines.yml`

// mapsAccessToken is what a step of Azure Pipelines needs.
const mapsAccessToken = `"env: {SYSTEM_ACCESSTOKEN: $(System.AccessToken)}"` //nolint:gosec // a line of a pipeline's

// AzurePipelinesOptions are a service connection with workload identity federation. What is empty is read from the environment,
// at each request: AZURESUBSCRIPTION_SERVICE_CONNECTION_ID, AZURESUBSCRIPTION_CLIENT_ID (else AZURE_CLIENT_ID),
// AZURESUBSCRIPTION_TENANT_ID (else AZURE_TENANT_ID) and AZURE_AUTHORITY_HOST.
type AzurePipelinesOptions struct {
	Tenant, ClientID, ServiceConnectionID, AuthorityHost string

	CA  *x509.CertPool   // all the certificates to trust (see [Roots]); nil means the system's
	Now func() time.Time // nil means time.Now
}

// AzurePipelines is the source "azure-pipelines": the application of a service connection, for which Azure DevOps vouches with a token
// of ten minutes, a new one for each request to Entra.
type AzurePipelines struct {
	options   AzurePipelinesOptions
	authority authority
	client    *http.Client // Azure DevOps's
}

// NewAzurePipelines returns the source; it reads nothing yet, see [AzurePipelines.Check].
func NewAzurePipelines(o AzurePipelinesOptions) (*AzurePipelines, error) {
	if err := checkTenant(o.Tenant); err != nil {
		return nil, fmt.Errorf("azure pipelines: %w", err)
	}
	if _, err := parseAuthority(o.AuthorityHost); err != nil {
		return nil, fmt.Errorf("azure pipelines: %w", err)
	}
	return &AzurePipelines{options: o, authority: newAuthority(o.CA, o.Now), client: newRunnerClient(o.CA)}, nil
}

// OnAzurePipelines tells whether this is a job of Azure Pipelines.
func OnAzurePipelines(getenv func(string) string) bool {
	return getenv(envPipelines) != "" || getenv(envPipelinesURL) != ""
}

// AzurePipelinesVariables are those that [AzurePipelines] and [OnAzurePipelines] read, beside AZURE_*.
func AzurePipelinesVariables() []string {
	return []string{envPipelinesURL, envPipelinesToken, envPipelines, envPipelinesConnection, envPipelinesClient, envPipelinesTenant}
}

// Account is the application, as far as options and variables tell.
func (p *AzurePipelines) Account() Account {
	o := p.complete()
	return Account{Name: o.ClientID, Tenant: o.Tenant, App: true}
}

// Describe names the source, its tenant, client id and service connection, in a few words for people.
func (p *AzurePipelines) Describe() string {
	o := p.complete()
	return described(KindAzurePipelines, "tenant", o.Tenant, "client", o.ClientID, "connection", o.ServiceConnectionID, "authority", o.AuthorityHost)
}

// Check looks at the variables as [AzurePipelines.Token] will; it asks nobody. The error names what is missing and how to give it.
func (p *AzurePipelines) Check() error {
	_, _, err := p.application()
	return err
}

// Token has Azure DevOps vouch for the connection anew, and presents that to Entra.
func (p *AzurePipelines) Token(ctx context.Context, r token.Request) (token.Token, error) {
	app, via, err := p.application()
	if err != nil {
		return token.Token{}, err
	}
	t, err := p.authority.ask(ctx, r, app)
	return t, untrusted(err, app.clientID, via.claims)
}

func (p *AzurePipelines) complete() AzurePipelinesOptions {
	o := p.options
	o.Tenant = cmp.Or(o.Tenant, os.Getenv(envPipelinesTenant), os.Getenv(envTenant))
	o.ClientID = cmp.Or(o.ClientID, os.Getenv(envPipelinesClient), os.Getenv(envClient))
	o.ServiceConnectionID = cmp.Or(o.ServiceConnectionID, os.Getenv(envPipelinesConnection))
	o.AuthorityHost = cmp.Or(o.AuthorityHost, os.Getenv(envAuthority))
	return o
}

func (p *AzurePipelines) application() (application, *runnerTransport, error) {
	o := p.complete()
	fail := func(err error) (application, *runnerTransport, error) { return application{}, nil, err }
	if err := o.lacking(); err != nil {
		return fail(err)
	}
	if err := checkTenant(o.Tenant); err != nil {
		return fail(fmt.Errorf("reading %s: %w", envPipelinesTenant, err))
	}
	if _, err := parseAuthority(o.AuthorityHost); err != nil {
		return fail(fmt.Errorf("reading %s: %w", envAuthority, err))
	}
	endpoint, err := parseEndpoint(envPipelinesURL, os.Getenv(envPipelinesURL))
	if err != nil {
		return fail(err)
	}
	secret := token.NewSecret(os.Getenv(envPipelinesToken))
	via := &runnerTransport{entra: p.authority.transport, client: p.client, service: ciService{
		title: "Azure DevOps", endpoint: endpoint, secret: secret, member: "oidcToken",
		lacking: "the step needs " + mapsAccessToken + ", and the pipeline the service connection", command: pipelinesEditor,
	}}
	return application{
		kind: KindAzurePipelines, tenant: o.Tenant, clientID: o.ClientID, host: o.AuthorityHost, secret: secret,
		credential: func(co azcore.ClientOptions, noDiscovery bool) (azcore.TokenCredential, error) {
			co.Transport = via
			return azidentity.NewAzurePipelinesCredential(o.Tenant, o.ClientID, o.ServiceConnectionID, secret.Reveal(),
				&azidentity.AzurePipelinesCredentialOptions{
					ClientOptions: co, DisableInstanceDiscovery: noDiscovery, AdditionallyAllowedTenants: []string{"*"},
				})
		},
	}, via, nil
}

// lacking is the error of the first thing that is missing.
func (o AzurePipelinesOptions) lacking() error {
	absent := func(what string) error {
		return &token.Error{Kind: token.ErrSignInRequired, Message: what, Command: pipelinesEditor, Err: errNotConfigured}
	}
	switch {
	case os.Getenv(envPipelinesURL) == "":
		return absent(envPipelinesURL + " is not set: Azure Pipelines sets it in each of its jobs")
	case os.Getenv(envPipelinesToken) == "":
		return absent(envPipelinesToken + " is not set: the step needs " + mapsAccessToken)
	case o.ServiceConnectionID == "":
		return absent(envPipelinesConnection + " is not set: the task AzureCLI@2 or AzurePowerShell@5 sets it, with those of its tenant and client")
	case o.Tenant == "":
		return missing(KindAzurePipelines, envPipelinesTenant+" (or "+envTenant+")", exportTenant)
	case o.ClientID == "":
		return missing(KindAzurePipelines, envPipelinesClient+" (or "+envClient+")", exportClient)
	}
	return nil
}
