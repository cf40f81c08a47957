package azure

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"azimds/imds/token"
)

// UsernamePasswordOptions are a person's name and password, and the application that they sign in to.
type UsernamePasswordOptions struct {
	Tenant        string // an id or a domain
	ClientID      string // a public client of that tenant's; "" is the one that az signs in to
	Username      string // user principal name
	Password      token.Secret
	AuthorityHost string           // https URL or host name; "" is the public cloud
	CA            *x509.CertPool   // all the certificates to trust (see [Roots]); nil means the system's
	Now           func() time.Time // nil means time.Now
}

// UsernamePassword is the source "username-password": a person's own password (RFC 6749 section 4.3), for test accounts. It
// cannot do multi-factor authentication, which Entra demands of people by default; azidentity 1.15 calls its credential
// deprecated for that reason.
type UsernamePassword struct {
	app       application
	authority authority
}

// NewUsernamePassword returns the source; it does no I/O. Tenant, Username and Password are required.
func NewUsernamePassword(o UsernamePasswordOptions) (*UsernamePassword, error) {
	switch {
	case o.Tenant == "":
		return nil, errors.New("user name and password: no tenant")
	case o.Username == "":
		return nil, errors.New("user name and password: no user name")
	case o.Password.Empty():
		return nil, errors.New("user name and password: no password")
	}
	if err := checkTenant(o.Tenant); err != nil {
		return nil, fmt.Errorf("user name and password: %w", err)
	}
	if _, err := parseAuthority(o.AuthorityHost); err != nil {
		return nil, fmt.Errorf("user name and password: %w", err)
	}
	if o.ClientID == "" {
		o.ClientID = azClientID
	}
	return &UsernamePassword{
		app:       passwordApplication(KindUsernamePassword, o.Tenant, o.ClientID, o.AuthorityHost, o.Username, o.Password),
		authority: newAuthority(o.CA, o.Now),
	}, nil
}

// Describe names the source, its tenant and the person, in a few words for people.
func (u *UsernamePassword) Describe() string {
	return described(KindUsernamePassword, "tenant", u.app.tenant, "user", u.app.username, "authority", u.app.host)
}

// Token asks Entra. [token.Request.Tenant] makes it ask in another tenant, where the person must be a guest.
func (u *UsernamePassword) Token(ctx context.Context, r token.Request) (token.Token, error) {
	return u.authority.ask(ctx, r, u.app)
}

func passwordApplication(kind, tenant, clientID, host, username string, password token.Secret) application {
	return application{
		kind: kind, tenant: tenant, clientID: clientID, host: host, secret: password, username: username,
		credential: func(o azcore.ClientOptions, noDiscovery bool) (azcore.TokenCredential, error) {
			//nolint:staticcheck // deprecated because it cannot do multi-factor authentication, which the type's doc says
			return azidentity.NewUsernamePasswordCredential(tenant, clientID, username, password.Reveal(),
				&azidentity.UsernamePasswordCredentialOptions{
					ClientOptions: o, DisableInstanceDiscovery: noDiscovery, AdditionallyAllowedTenants: []string{"*"},
				})
		},
	}
}
