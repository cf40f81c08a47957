package azure

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"azimds/imds/token"
)

// envTokenFile is the variable of azidentity's WorkloadIdentityCredential that names the file.
const envTokenFile = "AZURE_FEDERATED_TOKEN_FILE"

// WorkloadIdentityOptions are a service principal and where a federated token for it is: in a file, or in the variable of that name.
// What is empty is read from the environment, at each request: AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_FEDERATED_TOKEN_FILE,
// where no variable is named either, and AZURE_AUTHORITY_HOST.
type WorkloadIdentityOptions struct {
	Tenant, ClientID, TokenFile, TokenEnv, AuthorityHost string
	// ReadFile reads TokenFile, once a token; nil means os.ReadFile. Its error is shown as it is.
	ReadFile func(name string) ([]byte, error)
	Getenv   func(string) string // nil means os.Getenv
	CA       *x509.CertPool      // all the certificates to trust (see [Roots]); nil means the system's
	Now      func() time.Time    // nil means time.Now
}

// WorkloadIdentity is the source "workload-identity": an application or managed identity in Azure that trusts another issuer's
// token, which some agent keeps fresh in a file, or which a CI job was started with (RFC 7523 section 2.2; Kubernetes, SPIFFE, GitLab).
type WorkloadIdentity struct {
	options   WorkloadIdentityOptions
	authority authority
}

// NewWorkloadIdentity returns the source; it reads nothing yet, see [WorkloadIdentity.Check].
func NewWorkloadIdentity(o WorkloadIdentityOptions) (*WorkloadIdentity, error) {
	if err := checkTenant(o.Tenant); err != nil {
		return nil, fmt.Errorf("workload identity: %w", err)
	}
	if _, err := parseAuthority(o.AuthorityHost); err != nil {
		return nil, fmt.Errorf("workload identity: %w", err)
	}
	if o.ReadFile == nil {
		o.ReadFile = os.ReadFile
	}
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	return &WorkloadIdentity{options: o, authority: newAuthority(o.CA, o.Now)}, nil
}

// Describe names the source, its tenant, client id and file or variable, in a few words for people.
func (w *WorkloadIdentity) Describe() string {
	o := w.complete()
	return described(KindWorkloadIdentity, "tenant", o.Tenant, "client", o.ClientID, "file", o.TokenFile, "variable", o.TokenEnv,
		"authority", o.AuthorityHost)
}

// Check reads the token as [WorkloadIdentity.Token] will. The error names what is missing and how to give it.
func (w *WorkloadIdentity) Check() error {
	_, _, err := w.application()
	return err
}

// Token presents to Entra the token that is there now: one in a file that was rotated counts at once. azidentity's own credential
// would go on with the old one for ten minutes.
func (w *WorkloadIdentity) Token(ctx context.Context, r token.Request) (token.Token, error) {
	app, claims, err := w.application()
	if err != nil {
		return token.Token{}, err
	}
	t, err := w.authority.ask(ctx, r, app)
	return t, untrusted(err, app.clientID, claims)
}

func (w *WorkloadIdentity) complete() WorkloadIdentityOptions {
	o := w.options
	o.Tenant = cmp.Or(o.Tenant, o.Getenv(envTenant))
	o.ClientID = cmp.Or(o.ClientID, o.Getenv(envClient))
	if o.TokenEnv == "" {
		o.TokenFile = cmp.Or(o.TokenFile, o.Getenv(envTokenFile))
	}
	o.AuthorityHost = cmp.Or(o.AuthorityHost, o.Getenv(envAuthority))
	return o
}

func (w *WorkloadIdentity) application() (application, token.Claims, error) {
	o := w.complete()
	fail := func(err error) (application, token.Claims, error) { return application{}, token.Claims{}, err }
	switch {
	case o.TokenEnv != "" && o.Getenv(o.TokenEnv) == "":
		return fail(missing(KindWorkloadIdentity, o.TokenEnv, readSecret(o.TokenEnv)))
	case o.TokenFile == "" && o.TokenEnv == "":
		return fail(missing(KindWorkloadIdentity, envTokenFile, "read -r "+envTokenFile+" && export "+envTokenFile))
	case o.Tenant == "":
		return fail(missing(KindWorkloadIdentity, envTenant, exportTenant))
	case o.ClientID == "":
		return fail(missing(KindWorkloadIdentity, envClient, exportClient))
	}
	if err := checkTenant(o.Tenant); err != nil {
		return fail(fmt.Errorf("reading %s: %w", envTenant, err))
	}
	if _, err := parseAuthority(o.AuthorityHost); err != nil {
		return fail(fmt.Errorf("reading %s: %w", envAuthority, err))
	}
	assertion, claims, err := w.assertion(o)
	if err != nil {
		return fail(err)
	}
	return application{
		kind: KindWorkloadIdentity, tenant: o.Tenant, clientID: o.ClientID, host: o.AuthorityHost, secret: assertion,
		credential: func(co azcore.ClientOptions, noDiscovery bool) (azcore.TokenCredential, error) {
			return azidentity.NewClientAssertionCredential(o.Tenant, o.ClientID,
				func(context.Context) (string, error) { return assertion.Reveal(), nil },
				&azidentity.ClientAssertionCredentialOptions{
					ClientOptions: co, DisableInstanceDiscovery: noDiscovery, AdditionallyAllowedTenants: []string{"*"},
				})
		},
	}, claims, nil
}

// assertion reads the token that is there now.
func (w *WorkloadIdentity) assertion(o WorkloadIdentityOptions) (token.Secret, token.Claims, error) {
	place, again := fmt.Sprintf("%q", o.TokenFile), "what should renew it has stopped"
	told := &token.Error{Kind: token.ErrSignInRequired, Command: "ls -l " + shellQuote(o.TokenFile), Err: errUnusable}
	text := o.Getenv(o.TokenEnv)
	if o.TokenEnv != "" {
		place, again, told.Command = o.TokenEnv, "only a new start of azimds can have another", readSecret(o.TokenEnv)
	} else {
		data, err := readNamed(o.ReadFile, "the federated token", o.TokenFile)
		if err != nil {
			return token.Secret{}, token.Claims{}, err
		}
		text = string(data)
	}
	text = strings.TrimSpace(text)
	claims, err := token.ParseClaims(text)
	switch {
	case err != nil:
		told.Message, told.Err = place+" holds no token", fmt.Errorf("%w: %w", errUnusable, err)
		return token.Secret{}, token.Claims{}, told
	case !claims.ExpiresOn.IsZero() && !claims.ExpiresOn.After(w.authority.now()):
		told.Message = fmt.Sprintf("the token in %s expired at %s; %s", place, claims.ExpiresOn.UTC().Format(time.RFC3339), again)
		return token.Secret{}, token.Claims{}, told
	}
	return token.NewSecret(text), claims, nil
}

// untrusted makes the command of a refused federated token one that registers exactly that token's issuer, subject and audience.
func untrusted(err error, clientID string, claims token.Claims) error {
	refusal, ok := errors.AsType[*token.EntraError](err)
	if !ok || !slices.ContainsFunc(refusal.ErrorCodes, func(n int) bool { return n == 70021 || n == 700211 || n == 700213 }) {
		return err
	}
	subject, _ := claims.Raw["sub"].(string)
	told, ok := errors.AsType[*token.Error](err)
	if !ok || claims.Issuer == "" || subject == "" {
		return err
	}
	parameters, encoding := json.Marshal(struct {
		Name      string   `json:"name"`
		Issuer    string   `json:"issuer"`
		Subject   string   `json:"subject"`
		Audiences []string `json:"audiences"`
	}{"azimds", claims.Issuer, subject, []string{cmp.Or(claims.Audience, exchangeAudience)}})
	if encoding != nil {
		return err
	}
	better := *told
	better.Command = fmt.Sprintf("az ad app federated-credential create --id %s --parameters %s", word(clientID), shellQuote(string(parameters)))
	return &better
}
