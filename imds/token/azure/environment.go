package azure

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"azimds/imds/token"
)

// The variables of azidentity's EnvironmentCredential, which other SDKs read alike.
const (
	envTenant      = "AZURE_TENANT_ID"
	envClient      = "AZURE_CLIENT_ID"
	envSecret      = "AZURE_CLIENT_SECRET"
	envCertificate = "AZURE_CLIENT_CERTIFICATE_PATH"
	envPassword    = "AZURE_CLIENT_CERTIFICATE_PASSWORD"
	envChain       = "AZURE_CLIENT_SEND_CERTIFICATE_CHAIN"
	envAuthority   = "AZURE_AUTHORITY_HOST"
)

// EnvironmentOptions say where the environment is read.
type EnvironmentOptions struct {
	Getenv func(string) string // nil means os.Getenv
	CA     *x509.CertPool      // all the certificates to trust (see [Roots]); nil means the system's
	Now    func() time.Time    // nil means time.Now
}

// Environment is the source "environment": a service principal that variables describe, as azidentity's EnvironmentCredential
// reads them. AZURE_TENANT_ID and AZURE_CLIENT_ID are required, and either AZURE_CLIENT_SECRET or, if that is not set,
// AZURE_CLIENT_CERTIFICATE_PATH (PEM or PKCS12, with AZURE_CLIENT_CERTIFICATE_PASSWORD). AZURE_AUTHORITY_HOST and
// AZURE_CLIENT_SEND_CERTIFICATE_CHAIN are obeyed. A user name with a password is not: Entra asks for multi-factor
// authentication there, and azidentity has withdrawn it.
type Environment struct {
	getenv    func(string) string
	authority authority
}

// NewEnvironment returns the source; it reads nothing yet. [Environment.Check] tells whether the environment is complete.
func NewEnvironment(o EnvironmentOptions) *Environment {
	e := &Environment{getenv: o.Getenv, authority: newAuthority(o.CA, o.Now)}
	if e.getenv == nil {
		e.getenv = os.Getenv
	}
	return e
}

// Describe names the source and what the environment says of it, secrets excepted, in a few words for people.
func (e *Environment) Describe() string {
	return described(KindEnvironment, "tenant", e.getenv(envTenant), "client", e.getenv(envClient), "authority", e.getenv(envAuthority))
}

// Check reads the environment, and the certificate it names, as [Environment.Token] will. The error names what is missing and how
// to give it.
func (e *Environment) Check() error {
	_, err := e.application()
	return err
}

// Token asks Entra as the service principal that the environment describes now; a certificate that was renewed counts at
// once.
func (e *Environment) Token(ctx context.Context, r token.Request) (token.Token, error) {
	app, err := e.application()
	if err != nil {
		return token.Token{}, err
	}
	return e.authority.ask(ctx, r, app)
}

func (e *Environment) application() (application, error) {
	tenant, clientID, host := e.getenv(envTenant), e.getenv(envClient), e.getenv(envAuthority)
	switch {
	case tenant == "":
		return application{}, missing(envTenant, "export "+envTenant+`="$(az account show --query tenantId --output tsv)"`)
	case clientID == "":
		return application{}, missing(envClient, "read -r "+envClient+" && export "+envClient)
	}
	if err := checkTenant(tenant); err != nil {
		return application{}, fmt.Errorf("reading %s: %w", envTenant, err)
	}
	if _, err := parseAuthority(host); err != nil {
		return application{}, fmt.Errorf("reading %s: %w", envAuthority, err)
	}
	if secret := e.getenv(envSecret); secret != "" {
		return secretApplication(KindEnvironment, tenant, clientID, host, token.NewSecret(secret)), nil
	}
	path := e.getenv(envCertificate)
	if path == "" {
		return application{}, missing(envSecret+" (or "+envCertificate+")", "read -rs "+envSecret+" && export "+envSecret)
	}
	return e.certificate(tenant, clientID, host, path)
}

func (e *Environment) certificate(tenant, clientID, host, path string) (application, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		var wrapped *fs.PathError
		if errors.As(err, &wrapped) {
			err = wrapped.Err // its own text repeats the path
		}
		return application{}, &token.Error{
			Kind: token.ErrSignInRequired, Message: fmt.Sprintf("%s names %q, which cannot be read", envCertificate, path),
			Command: "ls -l " + shellQuote(path), Err: err,
		}
	}
	password := token.NewSecret(e.getenv(envPassword))
	certificates, key, err := azidentity.ParseCertificates(data, []byte(password.Reveal()))
	if err != nil {
		return application{}, &token.Error{
			Kind:    token.ErrSignInRequired,
			Message: fmt.Sprintf("%s names %q, which is not a certificate with its key, or %s does not open it", envCertificate, path, envPassword),
			Command: "openssl storeutl -noout -certs " + shellQuote(path),
			Err:     errors.New(scrub(err.Error(), password)),
		}
	}
	chain := e.getenv(envChain)
	return application{
		kind: KindEnvironment, tenant: tenant, clientID: clientID, host: host, secret: password,
		credential: func(o azcore.ClientOptions, noDiscovery bool) (azcore.TokenCredential, error) {
			return azidentity.NewClientCertificateCredential(tenant, clientID, certificates, key, &azidentity.ClientCertificateCredentialOptions{
				ClientOptions: o, DisableInstanceDiscovery: noDiscovery, AdditionallyAllowedTenants: []string{"*"},
				SendCertificateChain: chain == "1" || chain == "true",
			})
		},
	}, nil
}

// missing is the error of a variable that is not set. The command never has the value itself in it: it would stay in the
// shell's history.
func missing(variable, command string) error {
	return &token.Error{
		Kind:    token.ErrSignInRequired,
		Message: variable + " is not set, which the credential " + KindEnvironment + " needs",
		Command: command,
	}
}
