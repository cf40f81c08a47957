package azure

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"azimds/imds/token"
)

// DefaultCLITimeout bounds one run of az. az takes 1 to 13 s on developers' machines (azure-cli#20404), and azidentity's own
// 10 s cut off what would have succeeded.
const DefaultCLITimeout = 30 * time.Second

// CLIOptions says as whom to ask az. The zero value is az's current account.
type CLIOptions struct {
	// Tenant is an id or a domain; "" is the account's own. Not together with Subscription: az refuses the pair.
	Tenant string
	// Subscription, an id or a name, selects the account that has it; "" is az's default.
	Subscription string
	// Timeout bounds one run of az; 0 means DefaultCLITimeout.
	Timeout time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// CLI is the source "azure-cli": it asks the Azure CLI, as whom a person signed in there.
type CLI struct {
	tenant, subscription string
	timeout              time.Duration
	now                  func() time.Time
	credential           *azidentity.AzureCLICredential
}

// NewCLI returns the source; it neither looks for az nor runs it. It refuses what az would: a tenant or subscription with
// characters that have no place there, and both together.
func NewCLI(o CLIOptions) (*CLI, error) {
	if o.Tenant != "" && o.Subscription != "" {
		return nil, errors.New("az takes a tenant or a subscription, not both")
	}
	if err := checkTenant(o.Tenant); err != nil {
		return nil, err
	}
	credential, err := azidentity.NewAzureCLICredential(&azidentity.AzureCLICredentialOptions{
		TenantID: o.Tenant, Subscription: o.Subscription, AdditionallyAllowedTenants: []string{"*"},
	})
	if err != nil {
		return nil, fmt.Errorf("configuring credential %q: %w", KindCLI, err)
	}
	c := &CLI{tenant: o.Tenant, subscription: o.Subscription, timeout: o.Timeout, now: o.Now, credential: credential}
	if c.timeout == 0 {
		c.timeout = DefaultCLITimeout
	}
	if c.now == nil {
		c.now = time.Now
	}
	return c, nil
}

// Describe names the source and whom it asks as, in a few words for people.
func (c *CLI) Describe() string {
	return described(KindCLI, "tenant", c.tenant, "subscription", c.subscription)
}

// azTurn lets one az of this process run at a time, whichever source asks: they share ~/.azure, and az does not survive
// itself there (azure-cli#29329). What outlives its time-out is an exception: see [CLI.Token].
var azTurn = make(turn, 1)

// Token runs `az account get-access-token` for the resource. A wait for another az ends with ctx; the run itself ends with
// ctx or after Timeout. When it ends so, azidentity kills the process it started and lets go of az's output; the Python that
// a packaged az starts as its child ends by itself a little later.
//
// The answer comes without az where az's profile already gives it: when nobody is signed in, and when the account is a
// managed identity, which az would ask of this very program.
func (c *CLI) Token(ctx context.Context, r token.Request) (token.Token, error) {
	scope, tenant, err := c.question(r)
	if err != nil {
		return token.Token{}, err
	}
	if err := c.checkProfile(); err != nil {
		return token.Token{}, err
	}
	if err := azTurn.take(ctx, azProgram.title); err != nil {
		return token.Token{}, err
	}
	defer azTurn.pass()
	run, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	at, err := c.credential.GetToken(run, policy.TokenRequestOptions{Scopes: []string{scope}, TenantID: r.Tenant})
	f := cliFailure{resource: r.Resource, scope: scope, tenant: tenant, subscription: c.subscription, timeout: c.timeout}
	if err != nil {
		if a, aErr := c.Account(); aErr == nil && a.App {
			f.application = a.Name
		}
		return token.Token{}, f.explain(run, err)
	}
	t, err := relay(at, "", tenant, c.now())
	if err != nil {
		return token.Token{}, f.unavailable("the Azure CLI's answer is of no use: "+err.Error(), nil)
	}
	return repeated(t), nil
}

// question turns a request into what az is asked, and refuses what would not reach az as it is meant.
func (c *CLI) question(r token.Request) (scope, tenant string, err error) {
	if strings.HasPrefix(r.Resource, "-") { // az would read it as an option
		return "", "", fmt.Errorf("resource %q begins with a dash: %w", r.Resource, token.ErrUnsupportedResource)
	}
	if scope, err = token.Scope(r.Resource); err != nil {
		return "", "", err
	}
	if err = checkTenant(r.Tenant); err != nil {
		return "", "", err
	}
	if r.Tenant == "" {
		return scope, c.tenant, nil
	}
	if c.subscription != "" {
		return "", "", &token.Error{
			Kind: token.ErrSignInRequired,
			Message: fmt.Sprintf("az takes a tenant or a subscription, not both: tenant %s was asked for and subscription %q is configured",
				r.Tenant, c.subscription),
		}
	}
	return scope, r.Tenant, nil
}

// checkProfile answers from az's profile what az would take a second, or for ever, to say. A profile that is absent or that
// cannot be read is left to az.
func (c *CLI) checkProfile() error {
	p, err := readProfile(os.Getenv)
	if err != nil {
		return nil //nolint:nilerr // az itself says what is wrong with its profile
	}
	if len(p.Accounts) == 0 {
		return errSignedOut
	}
	for _, a := range p.selected(c.subscription) {
		if a.managedIdentity() {
			return ErrManagedIdentity
		}
	}
	return nil
}

// ErrManagedIdentity refuses an az account that would be asked of the metadata service, that is, of this program.
var ErrManagedIdentity = &token.Error{
	Kind:    token.ErrSignInRequired,
	Message: "the Azure CLI is signed in as a managed identity, which would be asked of azimds itself; sign in as a person or a service principal",
	Command: "az login",
}
