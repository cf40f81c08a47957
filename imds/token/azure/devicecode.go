package azure

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"azimds/imds/token"
)

// SignInPrompt is what a person needs to sign in on another device (RFC 8628 section 3.3).
type SignInPrompt struct {
	Code    string // to be entered
	URL     string // of the page that asks for it
	Message string // Entra's own words for both, a sentence or two
}

// DeviceCodeOptions say where a person signs in, and how they are asked to.
type DeviceCodeOptions struct {
	Tenant   string // an id or a domain; "" is whichever the person is at home in
	ClientID string // a public client; "" is the one that az signs in to
	// Prompt is called once for each code, by a goroutine of the source's own, which waits for it; nil asks nobody.
	Prompt func(SignInPrompt)
	// SignedIn is called each time somebody has signed in, and must not wait; nil tells nobody.
	SignedIn      func()
	AuthorityHost string           // https URL or host name; "" is the public cloud
	CA            *x509.CertPool   // all the certificates to trust (see [Roots]); nil means the system's
	Now           func() time.Time // nil means time.Now
}

// DeviceCode is the source "device-code": a person signs in with a browser anywhere, once for the life of the process (RFC 8628).
//
// Tokens come from the sign-in's refresh token, which stays in memory. MSAL keeps access tokens beside it and yields the same
// one again until five minutes before its end: a [token.Request] that is Fresh gets what there is.
type DeviceCode struct {
	options   DeviceCodeOptions
	authority authority
	host      *url.URL

	mu       sync.Mutex
	signedIn *azidentity.DeviceCodeCredential // nil until somebody is
	account  Account
	pending  *signIn // nil when nobody is waited for
	failed   error   // how the last sign-in ended; the next request is told
	closed   bool
	cancel   context.CancelFunc // of the pending sign-in
	running  sync.WaitGroup
}

// signIn is one code that is being waited for.
type signIn struct {
	known  chan struct{} // closed when there is a prompt or never will be
	prompt SignInPrompt
	err    error // set before known is closed, where there is no prompt
}

// NewDeviceCode returns the source; it asks nobody yet. It must be closed.
func NewDeviceCode(o DeviceCodeOptions) (*DeviceCode, error) {
	if err := checkTenant(o.Tenant); err != nil {
		return nil, fmt.Errorf("device code: %w", err)
	}
	host, err := parseAuthority(o.AuthorityHost)
	if err != nil {
		return nil, fmt.Errorf("device code: %w", err)
	}
	if o.ClientID == "" {
		o.ClientID = azClientID
	}
	return &DeviceCode{options: o, authority: newAuthority(o.CA, o.Now), host: host}, nil
}

// Close calls off the sign-in that is being waited for, and waits for its end. Requests fail from then on.
func (d *DeviceCode) Close() {
	d.mu.Lock()
	d.closed = true
	if d.cancel != nil {
		d.cancel()
	}
	d.mu.Unlock()
	d.running.Wait()
}

// Describe names the source, its tenant and its application, in a few words for people.
func (d *DeviceCode) Describe() string {
	return described(KindDeviceCode, "tenant", d.options.Tenant, "client", d.options.ClientID, "authority", d.options.AuthorityHost)
}

// Account is who signed in. The error is a [token.Error] of kind [token.ErrSignInRequired] where nobody has, and holds the code
// while one is being waited for.
func (d *DeviceCode) Account() (Account, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.signedIn != nil:
		return d.account, nil
	case d.pending != nil && d.pending.prompt.Code != "":
		return Account{}, d.pending.prompt.wanted()
	}
	return Account{}, &token.Error{
		Kind: token.ErrSignInRequired, Message: "nobody has signed in yet; the first request for a token asks for it",
		Command: requestToken("https://management.azure.com/"),
	}
}

// Token yields a token of whoever signed in. While a sign-in is wanted, it begins one, or finds it begun, and answers at once
// with a [token.Error] of kind [token.ErrSignInRequired] that holds the code: nobody waits for a person here. A sign-in that came
// to nothing is told to one request; the next begins another.
func (d *DeviceCode) Token(ctx context.Context, r token.Request) (token.Token, error) {
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
	ask := policy.TokenRequestOptions{Scopes: []string{scope}, TenantID: r.Tenant}
	d.mu.Lock()
	credential, tenant := d.signedIn, d.account.Tenant
	d.mu.Unlock()
	if credential != nil {
		if t, err := d.silent(ctx, credential, tenant, r, ask); !wantsSignIn(err) {
			return t, err
		}
	}
	return token.Token{}, d.want(ctx, r, ask)
}

// errNothingToAskWith is a sign-in that MSAL has nothing left of.
var errNothingToAskWith = errors.New("no refresh token")

// silent asks with the sign-in there is.
func (d *DeviceCode) silent(
	ctx context.Context, credential *azidentity.DeviceCodeCredential, tenant string, r token.Request, ask policy.TokenRequestOptions,
) (token.Token, error) {
	ctx, x := withExchange(ctx)
	at, err := credential.GetToken(ctx, ask)
	switch {
	case err == nil:
	case !x.asked && ctx.Err() == nil:
		return token.Token{}, errNothingToAskWith
	default: // azidentity says no more than that somebody has to sign in
		return token.Token{}, d.authority.explain(ctx, d.application(r), r, x, d.host.Host, err)
	}
	t, err := relay(at, d.options.ClientID, cmp.Or(r.Tenant, tenant), d.authority.now())
	if err != nil {
		return token.Token{}, &token.Error{Kind: token.ErrUnavailable, Message: "Entra's answer is of no use: " + err.Error()}
	}
	return t, nil
}

// wantsSignIn reports whether another sign-in mends what silent failed with.
func wantsSignIn(err error) bool {
	_, refused := errors.AsType[*token.EntraError](err)
	return errors.Is(err, errNothingToAskWith) || refused && errors.Is(err, token.ErrSignInRequired)
}

// application is what errors and hints need to know.
func (d *DeviceCode) application(r token.Request) application {
	return application{
		kind: KindDeviceCode, tenant: d.options.Tenant, clientID: d.options.ClientID,
		username: "person", login: requestToken(r.Resource),
	}
}

// want is the error that asks a person to sign in, for r.
func (d *DeviceCode) want(ctx context.Context, r token.Request, ask policy.TokenRequestOptions) error {
	d.mu.Lock()
	if err := d.failed; err != nil {
		d.failed = nil
		d.mu.Unlock()
		return err
	}
	s := d.pending
	if s == nil {
		var err error
		if s, err = d.begin(ctx, r, ask); err != nil {
			d.mu.Unlock()
			return err
		}
	}
	d.mu.Unlock()
	select {
	case <-s.known: // one round trip at most
	case <-ctx.Done():
		return &token.Error{Kind: token.ErrUnavailable, Message: d.host.Host + " did not answer in time", Err: context.Cause(ctx)}
	}
	if s.err != nil {
		return s.err
	}
	return s.prompt.wanted()
}

// begin begins a sign-in, with a credential of its own: the one in use would wait with every request until the person is done.
// The caller holds d.mu.
func (d *DeviceCode) begin(ctx context.Context, r token.Request, ask policy.TokenRequestOptions) (*signIn, error) {
	if d.closed {
		return nil, &token.Error{Kind: token.ErrUnavailable, Message: "the credential " + KindDeviceCode + " is being shut down"}
	}
	s := &signIn{known: make(chan struct{})}
	credential, err := azidentity.NewDeviceCodeCredential(&azidentity.DeviceCodeCredentialOptions{
		ClientOptions: d.authority.clientOptions(d.host), DisableInstanceDiscovery: !microsoftAuthorities[d.host.Hostname()],
		TenantID: d.options.Tenant, ClientID: d.options.ClientID, AdditionallyAllowedTenants: []string{"*"},
		DisableAutomaticAuthentication: true,
		UserPrompt: func(_ context.Context, m azidentity.DeviceCodeMessage) error {
			d.prompt(s, SignInPrompt{Code: m.UserCode, URL: m.VerificationURL, Message: m.Message})
			return nil
		},
	})
	if err != nil {
		return nil, fmt.Errorf("configuring credential %q: %w", KindDeviceCode, err)
	}
	// A sign-in outlives the request that wanted it.
	ctx, d.cancel = context.WithCancel(context.WithoutCancel(ctx))
	d.pending = s
	d.running.Go(func() { d.finish(ctx, s, credential, r, ask) })
	return s, nil
}

// prompt makes a code known to the requests that wait, and to the person.
func (d *DeviceCode) prompt(s *signIn, p SignInPrompt) {
	d.mu.Lock()
	s.prompt = p
	d.mu.Unlock()
	close(s.known)
	if d.options.Prompt != nil {
		d.options.Prompt(p)
	}
}

// finish waits for the person, and keeps what came of it.
func (d *DeviceCode) finish(
	ctx context.Context, s *signIn, credential *azidentity.DeviceCodeCredential, r token.Request, ask policy.TokenRequestOptions,
) {
	ctx, x := withExchange(ctx)
	record, err := credential.Authenticate(ctx, &ask)
	if err == nil && d.options.SignedIn != nil {
		defer d.options.SignedIn() // when it is known here
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	defer d.cancel()
	d.pending = nil
	prompted := s.prompt.Code != ""
	switch {
	case err == nil:
		d.signedIn, d.account, d.failed = credential, Account{Name: record.Username, Tenant: record.TenantID}, nil
	case prompted && d.lapsed(x):
		// nobody came: the next request gets a new code, and nothing has to be said of the old one
	case prompted:
		d.failed = d.authority.explain(ctx, d.application(r), r, x, d.host.Host, err)
	default:
		s.err = d.authority.explain(ctx, d.application(r), r, x, d.host.Host, err)
	}
	if !prompted {
		close(s.known)
	}
}

// lapsed reports whether a wait ended with nobody having decided: Entra says so, or had said nothing else until then.
func (d *DeviceCode) lapsed(x *exchange) bool {
	if x.refused == nil {
		return false
	}
	e, ok := readRefusal(x.refused, d.authority.now())
	return ok && (e.Code == "expired_token" || e.Code == "authorization_pending")
}

// wanted is the error of a request that needs a person to sign in first.
func (p SignInPrompt) wanted() error {
	told := &token.Error{
		Kind:    token.ErrSignInRequired,
		Message: fmt.Sprintf("sign in with the code %s at %s", strings.Join(strings.Fields(p.Code), " "), strings.Join(strings.Fields(p.URL), " ")),
	}
	if strings.HasPrefix(p.URL, "https://") {
		told.Command = "xdg-open " + word(p.URL)
	}
	return told
}

// requestToken is the command that asks this program for a token, and so begins a sign-in.
func requestToken(resource string) string { return "azimds token " + word(resource) }
