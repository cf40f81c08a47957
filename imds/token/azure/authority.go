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
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"azimds/imds/token"
)

// applicationID stands at the front of the User-Agent, so that a tenant's administrator can tell whose requests these are.
const applicationID = "azimds"

// publicAuthority is where Entra of the public cloud answers.
var publicAuthority = cloud.AzurePublic.ActiveDirectoryAuthorityHost

// microsoftAuthorities are the authority hosts that Entra's instance discovery knows. For any other it is switched off: it would
// ask login.microsoftonline.com about a host that only this machine can see.
var microsoftAuthorities = map[string]bool{
	"login.microsoftonline.com": true, "login.microsoft.com": true, "login.windows.net": true, "sts.windows.net": true,
	"login.microsoftonline.us": true, "login.usgovcloudapi.net": true,
	"login.chinacloudapi.cn": true, "login.partner.microsoftonline.cn": true,
}

// application is who signs in to Entra by itself, and how.
type application struct {
	kind, tenant, clientID string
	host                   string // of the authority, as configured; "" is the public cloud
	secret                 token.Secret
	username               string // "" for an application proper
	login                  string // the command with which a person tries by hand, "" for an application proper
	// credential makes a new azidentity credential; it does no I/O.
	credential func(azcore.ClientOptions, bool) (azcore.TokenCredential, error)
}

// question is what r asks of Entra at host, for a hint.
func (app application) question(r token.Request, host string) Question {
	return Question{
		App: app.username == "", Login: app.login, Tenant: cmp.Or(r.Tenant, app.tenant), Resource: r.Resource,
		Client: app.clientID, Authority: host,
	}
}

// authority asks Entra for tokens in the name of applications.
type authority struct {
	transport *transport
	now       func() time.Time
}

// newAuthority trusts roots, or the system's certificates if nil; a nil now is time.Now.
func newAuthority(roots *x509.CertPool, now func() time.Time) authority {
	if now == nil {
		now = time.Now
	}
	return authority{transport: newTransport(roots), now: now}
}

// ask asks for one token. The credential is made anew each time, because azidentity's would answer from its memory; the
// connections are kept.
func (a authority) ask(ctx context.Context, r token.Request, app application) (token.Token, error) {
	scope, err := token.Scope(r.Resource)
	if err != nil {
		return token.Token{}, err
	}
	if err := checkTenant(r.Tenant); err != nil {
		return token.Token{}, err
	}
	if err := checkRegion(os.Getenv); err != nil {
		return token.Token{}, err
	}
	u, err := parseAuthority(app.host)
	if err != nil {
		return token.Token{}, err
	}
	credential, err := app.credential(a.clientOptions(u), !microsoftAuthorities[u.Hostname()])
	if err != nil {
		return token.Token{}, fmt.Errorf("configuring credential %q: %s", app.kind, scrub(err.Error(), app.secret))
	}
	ctx, x := withExchange(ctx)
	at, err := credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{scope}, TenantID: r.Tenant})
	if err != nil {
		return token.Token{}, a.explain(ctx, app, r, x, u.Host, err)
	}
	tenant := app.tenant
	if r.Tenant != "" {
		tenant = r.Tenant
	}
	t, err := relay(at, app.clientID, tenant, a.now())
	if err != nil {
		return token.Token{}, &token.Error{Kind: token.ErrUnavailable, Message: "Entra's answer is of no use: " + err.Error()}
	}
	return t, nil
}

// clientOptions make a credential ask the authority at u, in our own way.
func (a authority) clientOptions(u *url.URL) azcore.ClientOptions {
	return azcore.ClientOptions{
		Cloud:     cloud.Configuration{ActiveDirectoryAuthorityHost: u.String()},
		Retry:     retries(),
		Telemetry: policy.TelemetryOptions{ApplicationID: applicationID},
		Transport: a.transport,
	}
}

// explain turns azidentity's error into one that a person can act on. It is not wrapped: where MSAL cannot read an answer, its
// text holds all of it, a token included.
func (a authority) explain(ctx context.Context, app application, r token.Request, x *exchange, host string, err error) error {
	if x.host != "" {
		host = x.host
	}
	switch {
	case x.runner != nil:
		return x.runner
	case ctx.Err() != nil:
		return &token.Error{Kind: token.ErrUnavailable, Message: host + " did not answer in time", Err: context.Cause(ctx)}
	case x.err != nil:
		return unreachable(host, x.err)
	case x.refused != nil:
		return a.answered(app, r, host, x.refused)
	case x.asked:
		return &token.Error{
			Kind:    token.ErrUnavailable,
			Message: host + " answered with something that is not Entra's; is a proxy or a sign-in page of the network in between?",
			Command: "curl -sSI https://" + host,
		}
	default:
		return fmt.Errorf("using credential %q: %s", app.kind, shorten(scrub(err.Error(), app.secret)))
	}
}

// unreachable is a request that got no answer.
func unreachable(host string, err error) error {
	message := "cannot reach " + host
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err // its own text repeats the URL
	}
	var (
		authority x509.UnknownAuthorityError
		invalid   x509.CertificateInvalidError
		name      x509.HostnameError
	)
	switch {
	case brokenOff(err):
		message = host + " broke the connection off"
	case errors.As(err, &authority) || errors.As(err, &invalid) || errors.As(err, &name):
		message = "the certificate of " + host + " is not trusted; a proxy's own has to be among the certificates configured"
	}
	return &token.Error{Kind: token.ErrUnavailable, Message: message, Command: "curl -sSI https://" + host, Err: err}
}

// answered is an answer that is no token.
func (a authority) answered(app application, r token.Request, host string, answer *refusedAnswer) error {
	refusal, ok := readRefusal(answer, a.now())
	if ok {
		refusal.Description = scrub(refusal.Description, app.secret)
	}
	switch {
	case answer.status >= http.StatusInternalServerError:
		unavailable := &token.Error{Kind: token.ErrUnavailable, Message: fmt.Sprintf("%s answered %d", host, answer.status)}
		if ok {
			unavailable.Err = refusal
		}
		return unavailable
	case ok:
		return hinted(refusal, app.question(r, host))
	default:
		return &token.Error{
			Kind:    token.ErrUnavailable,
			Message: fmt.Sprintf("%s answered %d, not in Entra's words; is a proxy in between?", host, answer.status),
			Command: "curl -sSI https://" + host,
		}
	}
}

// parseAuthority reads an authority host: "" is the public cloud, a bare name gets https. It refuses http, which azidentity
// would too, and the metadata address.
func parseAuthority(authority string) (*url.URL, error) {
	if authority == "" {
		authority = publicAuthority
	}
	if !strings.Contains(authority, "://") {
		authority = "https://" + authority
	}
	u, err := url.Parse(authority)
	switch {
	case err != nil:
		return nil, fmt.Errorf("parsing authority host: %w", err)
	case u.Scheme != "https" || u.Hostname() == "" || u.User != nil:
		return nil, fmt.Errorf("authority host %q is not an https URL", u.Redacted())
	case u.Hostname() == metadataHost:
		return nil, fmt.Errorf("authority host %q is azimds itself", authority)
	}
	return u, nil
}

// checkRegion refuses region discovery: azidentity reads this variable, and MSAL then asks the metadata service where it is.
func checkRegion(getenv func(string) string) error {
	if getenv("AZURE_REGIONAL_AUTHORITY_NAME") != "TryAutoDetect" || getenv("REGION_NAME") != "" {
		return nil
	}
	return &token.Error{
		Kind:    token.ErrSignInRequired,
		Message: "AZURE_REGIONAL_AUTHORITY_NAME=TryAutoDetect makes the credential ask azimds itself for its region",
		Command: "unset AZURE_REGIONAL_AUTHORITY_NAME",
	}
}
