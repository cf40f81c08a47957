package azure

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"azimds/imds/token"
)

// The variables of azidentity's EnvironmentCredential, which other SDKs read alike.
const (
	envTenant      = "AZURE_TENANT_ID"
	envClient      = "AZURE_CLIENT_ID"
	envSecret      = "AZURE_CLIENT_SECRET" //nolint:gosec // the name of a variable
	envCertificate = "AZURE_CLIENT_CERTIFICATE_PATH"
	envPassword    = "AZURE_CLIENT_CERTIFICATE_PASSWORD" //nolint:gosec // the name of a variable
	envChain       = "AZURE_CLIENT_SEND_CERTIFICATE_CHAIN"
	envUsername    = "AZURE_USERNAME"
	envUserSecret  = "AZURE_PASSWORD"
	envAuthority   = "AZURE_AUTHORITY_HOST"
)

// The commands that set two of them.
const (
	exportTenant = "export " + envTenant + `="$(az account show --query tenantId --output tsv)"`
	exportClient = "read -r " + envClient + " && export " + envClient
)

// EnvironmentOptions say where the environment is read.
type EnvironmentOptions struct {
	Getenv func(string) string // nil means os.Getenv
	CA     *x509.CertPool      // all the certificates to trust (see [Roots]); nil means the system's
	Now    func() time.Time    // nil means time.Now
}

// Environment is the source "environment": a service principal that variables describe, as azidentity's EnvironmentCredential
// reads them. AZURE_TENANT_ID and AZURE_CLIENT_ID are required, and the first that is set of AZURE_CLIENT_SECRET,
// AZURE_CLIENT_CERTIFICATE_PATH (PEM or PKCS12, with AZURE_CLIENT_CERTIFICATE_PASSWORD) and AZURE_USERNAME (with
// AZURE_PASSWORD, see [UsernamePassword]). AZURE_AUTHORITY_HOST and AZURE_CLIENT_SEND_CERTIFICATE_CHAIN are obeyed.
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
		return application{}, missing(KindEnvironment, envTenant, exportTenant)
	case clientID == "":
		return application{}, missing(KindEnvironment, envClient, exportClient)
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
	if path := e.getenv(envCertificate); path != "" {
		return e.certificate(tenant, clientID, host, path)
	}
	username := e.getenv(envUsername)
	if username == "" {
		return application{}, missing(KindEnvironment, envSecret+" (or "+envCertificate+")", readSecret(envSecret))
	}
	password := token.NewSecret(e.getenv(envUserSecret))
	if password.Empty() {
		return application{}, missing(KindEnvironment, envUserSecret, readSecret(envUserSecret))
	}
	return passwordApplication(KindEnvironment, tenant, clientID, host, username, password), nil
}

// SecretVariables are the variables of this package's sources whose values are secrets.
func SecretVariables() []string {
	return []string{envSecret, envPassword, envUserSecret, envGitHubToken, envPipelinesToken}
}

// readSecret is the command that sets a variable to what a person types, and shows it nowhere.
func readSecret(variable string) string { return "read -rs " + variable + " && export " + variable }

func (e *Environment) certificate(tenant, clientID, host, path string) (application, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		command := mend(err, path)
		if wrapped, ok := errors.AsType[*fs.PathError](err); ok {
			err = wrapped.Err // its own text repeats the path
		}
		return application{}, &token.Error{
			Kind: token.ErrSignInRequired, Message: fmt.Sprintf("%s names %q, which cannot be read", envCertificate, path),
			Command: command, Err: fmt.Errorf("%w: %w", errUnusable, err),
		}
	}
	pair, err := parseKeyPair(data, []byte(e.getenv(envPassword)))
	if err != nil {
		return application{}, &token.Error{
			Kind:    token.ErrSignInRequired,
			Message: fmt.Sprintf("%s names %q, which is not a certificate with its key, or %s does not open it", envCertificate, path, envPassword),
			Command: "openssl storeutl -noout -certs " + shellQuote(path),
			Err:     fmt.Errorf("%w: %w", errUnusable, err),
		}
	}
	if err := pair.inTime(path, clientID, e.authority.now()); err != nil {
		return application{}, err
	}
	chain := e.getenv(envChain)
	return certificateApplication(KindEnvironment, tenant, clientID, host, pair, chain == "1" || strings.EqualFold(chain, "true")), nil
}

// missing is the error of a variable that is not set. The command never has the value itself in it: it would stay in the
// shell's history.
func missing(kind, variable, command string) error {
	return &token.Error{
		Kind:    token.ErrSignInRequired,
		Message: variable + " is not set, which the credential " + kind + " needs",
		Command: command,
		Err:     errNotConfigured,
	}
}

// errNotConfigured marks a credential that nobody has set up here.
var errNotConfigured = errors.New("not configured")
