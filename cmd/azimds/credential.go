package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"azimds/config"
	"azimds/imds/control"
	"azimds/imds/token"
	"azimds/imds/token/azure"
	"azimds/imds/token/emulated"
	"azimds/imds/token/signin"
)

// credential is the developer's credential, opened as the configuration says.
type credential struct {
	source   token.Source
	describe string
	emulated bool
	issuer   http.Handler // of emulated tokens; nil for others
	start    func()       // begins what may take a while
	close    func()       // waits for it
	account  func(context.Context) control.Account
	files    []string // whose contents say who is signed in; none for a credential that does not change
}

// openCredential makes the source of tokens that c names. It looks for az and for files, and asks nobody.
func openCredential(c config.Config) (*credential, error) {
	roots, err := trustedRoots(c.CAFile)
	if err != nil {
		return nil, err
	}
	switch c.Credential {
	case config.CredentialAzureCLI:
		return openCLI(c)
	case config.CredentialClientSecret:
		return openClientSecret(c, roots)
	case config.CredentialEnvironment:
		return openEnvironment(roots)
	case config.CredentialEmulated:
		return openEmulated(c)
	default:
		return nil, &configError{fmt.Errorf("credential is %q: not one that is known", c.Credential)}
	}
}

// trustedRoots are the system's certificates and those of file; nil without a file.
func trustedRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, &configError{fmt.Errorf("reading ca-file: %w", err)}
	}
	roots, err := azure.Roots(pem)
	if err != nil {
		return nil, &configError{fmt.Errorf("reading ca-file %q: %w", file, err)}
	}
	return roots, nil
}

// openCLI lends the login of the Azure CLI. azidentity starts az with this process's environment and looks for it in PATH
// alone, so both are put right here. A missing az
// is no reason not to start: it is said, and each request says it again until it is there.
func openCLI(c config.Config) (*credential, error) {
	source, err := azure.NewCLI(azure.CLIOptions{
		Tenant: c.Tenant, Subscription: c.AzureCLI.Subscription, Timeout: c.AzureCLI.Timeout,
	})
	if err != nil {
		return nil, &configError{err}
	}
	if c.AzureCLI.ConfigDir != "" {
		if err := os.Setenv("AZURE_CONFIG_DIR", c.AzureCLI.ConfigDir); err != nil {
			return nil, fmt.Errorf("choosing az's folder: %w", err)
		}
	}
	account := func(context.Context) control.Account {
		if _, err := azure.FindAz(os.Getenv); err != nil {
			return accountError(err)
		}
		signedIn, err := source.Account()
		if err != nil {
			return accountError(err)
		}
		return control.Account{Name: signedIn.Name, Tenant: signedIn.Tenant, Type: accountType(signedIn.App)}
	}
	if az, err := azure.FindAz(os.Getenv); err == nil {
		path := os.Getenv("PATH")
		if err := os.Setenv("PATH", path+string(os.PathListSeparator)+filepath.Dir(az)); err != nil {
			return nil, fmt.Errorf("adding az to PATH: %w", err)
		}
	}
	return &credential{
		source: source, describe: source.Describe(), account: account, start: nothing, close: nothing,
		files: signin.AzureCLIFiles(os.Getenv),
	}, nil
}

func openClientSecret(c config.Config, roots *x509.CertPool) (*credential, error) {
	secret := os.Getenv(c.ClientSecret.SecretEnv)
	if c.ClientSecret.SecretFile != "" {
		var err error
		if secret, err = config.ReadSecret(c.ClientSecret.SecretFile); err != nil {
			return nil, &configError{err}
		}
	}
	source, err := azure.NewClientSecret(azure.ClientSecretOptions{
		Tenant: c.Tenant, ClientID: c.ClientSecret.ClientID, Secret: token.NewSecret(secret),
		AuthorityHost: c.AuthorityHost, CA: roots,
	})
	if err != nil {
		return nil, &configError{err}
	}
	account := control.Account{Name: c.ClientSecret.ClientID, Tenant: c.Tenant, Type: accountType(true)}
	return &credential{source: source, describe: source.Describe(), account: always(account), start: nothing, close: nothing}, nil
}

func openEnvironment(roots *x509.CertPool) (*credential, error) {
	source := azure.NewEnvironment(azure.EnvironmentOptions{CA: roots})
	if err := source.Check(); err != nil {
		return nil, err
	}
	account := control.Account{Name: os.Getenv("AZURE_CLIENT_ID"), Tenant: os.Getenv("AZURE_TENANT_ID"), Type: accountType(true)}
	return &credential{source: source, describe: source.Describe(), account: always(account), start: nothing, close: nothing}, nil
}

func openEmulated(c config.Config) (*credential, error) {
	source := emulated.New(emulated.Options{
		TenantID: c.Emulated.Tenant, ClientID: c.Emulated.ClientID, ObjectID: c.Emulated.ObjectID,
		ResourceID: c.Emulated.ResourceID, Lifetime: c.Emulated.Lifetime,
	})
	account := control.Account{
		Name:   cmp.Or(c.Emulated.ClientID, emulated.DefaultClientID),
		Tenant: cmp.Or(c.Emulated.Tenant, emulated.DefaultTenantID),
		Type:   accountType(true),
	}
	return &credential{
		source: source, describe: "emulated", emulated: true, issuer: source.Issuer(),
		start: source.Start, close: source.Close, account: always(account),
	}, nil
}

// accountType says whether an account is a person's: such tokens differ from a managed identity's.
func accountType(app bool) string {
	if app {
		return "app"
	}
	return "user"
}

func nothing() {}

func always(a control.Account) func(context.Context) control.Account {
	return func(context.Context) control.Account { return a }
}

func accountError(err error) control.Account {
	message, hint := control.Explain(err)
	return control.Account{Error: message, Hint: hint}
}
