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

// ClientSecretOptions are a service principal and its secret.
type ClientSecretOptions struct {
	Tenant        string // an id or a domain
	ClientID      string
	Secret        token.Secret
	AuthorityHost string           // https URL or host name; "" is the public cloud
	CA            *x509.CertPool   // all the certificates to trust (see [Roots]); nil means the system's
	Now           func() time.Time // nil means time.Now
}

// ClientSecret is the source "client-secret": an application of its own, by the client credentials grant (RFC 6749 section 4.4).
type ClientSecret struct {
	app       application
	authority authority
}

// NewClientSecret returns the source; it does no I/O. Tenant, ClientID and Secret are required.
func NewClientSecret(o ClientSecretOptions) (*ClientSecret, error) {
	switch {
	case o.Tenant == "":
		return nil, errors.New("client secret: no tenant")
	case o.ClientID == "":
		return nil, errors.New("client secret: no client id")
	case o.Secret.Empty():
		return nil, errors.New("client secret: no secret")
	}
	if err := checkTenant(o.Tenant); err != nil {
		return nil, fmt.Errorf("client secret: %w", err)
	}
	if _, err := parseAuthority(o.AuthorityHost); err != nil {
		return nil, fmt.Errorf("client secret: %w", err)
	}
	return &ClientSecret{
		app:       secretApplication(KindClientSecret, o.Tenant, o.ClientID, o.AuthorityHost, o.Secret),
		authority: newAuthority(o.CA, o.Now),
	}, nil
}

// Describe names the source, its tenant and its client id, in a few words for people.
func (s *ClientSecret) Describe() string {
	return described(KindClientSecret, "tenant", s.app.tenant, "client", s.app.clientID, "authority", s.app.host)
}

// Token asks Entra. [token.Request.Tenant] makes it ask in another tenant, where the application must exist too.
func (s *ClientSecret) Token(ctx context.Context, r token.Request) (token.Token, error) {
	return s.authority.ask(ctx, r, s.app)
}

func secretApplication(kind, tenant, clientID, host string, secret token.Secret) application {
	return application{
		kind: kind, tenant: tenant, clientID: clientID, host: host, secret: secret,
		credential: func(o azcore.ClientOptions, noDiscovery bool) (azcore.TokenCredential, error) {
			return azidentity.NewClientSecretCredential(tenant, clientID, secret.Reveal(), &azidentity.ClientSecretCredentialOptions{
				ClientOptions: o, DisableInstanceDiscovery: noDiscovery, AdditionallyAllowedTenants: []string{"*"},
			})
		},
	}
}
