package main

import (
	"cmp"
	"crypto/x509"
	"fmt"
	"os"
	"slices"
	"strings"

	"azimds/config"
	"azimds/imds/token"
	"azimds/imds/token/azure"
)

// The variables of azidentity that say who an application is.
const (
	envTenant    = "AZURE_TENANT_ID"
	envClient    = "AZURE_CLIENT_ID"
	envAuthority = "AZURE_AUTHORITY_HOST"
)

// authority is the Entra that a credential asks without a tool in between.
type authority struct {
	host  string         // as configured; "" is that of AZURE_AUTHORITY_HOST where variables are read, else the public cloud's
	roots *x509.CertPool // all the certificates to trust; nil means the system's
}

func authorityOf(c config.Config) (authority, error) {
	at := authority{host: c.AuthorityHost}
	if c.AuthorityHost == "" && c.Cloud != config.CloudPublic {
		host, err := azure.AuthorityHost(string(c.Cloud))
		if err != nil {
			return authority{}, &configError{err: err}
		}
		at.host = strings.TrimSuffix(host, "/")
	}
	var err error
	at.roots, err = trustedRoots(c.CAFile)
	return at, err
}

// getenv is [os.Getenv] with the authority configured, if one is, in the place of the environment's.
func (at authority) getenv(name string) string {
	if name == envAuthority && at.host != "" {
		return at.host
	}
	return os.Getenv(name)
}

// trustedRoots are the system's certificates and those of file; nil without a file.
func trustedRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, &configError{err: fmt.Errorf("reading ca-file: %w", err)}
	}
	roots, err := azure.Roots(pem)
	if err != nil {
		return nil, &configError{err: fmt.Errorf("reading ca-file %q: %w", file, err)}
	}
	return roots, nil
}

func openClientSecret(c config.Config, at authority) (*credential, error) {
	secret := os.Getenv(c.ClientSecret.SecretEnv)
	if c.ClientSecret.SecretFile != "" {
		var err error
		if secret, err = config.ReadSecret(c.ClientSecret.SecretFile); err != nil {
			return nil, &configError{err: err}
		}
	}
	source, err := azure.NewClientSecret(azure.ClientSecretOptions{
		Tenant: c.Tenant, ClientID: c.ClientSecret.ClientID, Secret: token.NewSecret(secret),
		AuthorityHost: at.host, CA: at.roots,
	})
	if err != nil {
		return nil, &configError{err: err}
	}
	account := azure.Account{Name: c.ClientSecret.ClientID, Tenant: c.Tenant, App: true}
	return lender{source, func() (azure.Account, error) { return account, nil }}.credential(), nil
}

func newClientCertificate(c config.Config, at authority) (lender, error) {
	source, err := azure.NewClientCertificate(azure.ClientCertificateOptions{
		Tenant: c.Tenant, ClientID: c.ClientCertificate.ClientID,
		File: c.ClientCertificate.File, PasswordFile: c.ClientCertificate.PasswordFile,
		SendChain: c.ClientCertificate.SendChain, ReadFile: config.ReadPrivate,
		AuthorityHost: at.host, CA: at.roots,
	})
	if err != nil {
		return lender{}, &configError{err: err}
	}
	return lender{source, func() (azure.Account, error) {
		return azure.Account{Name: c.ClientCertificate.ClientID, Tenant: c.Tenant, App: true}, source.Check()
	}}, nil
}

func newWorkloadIdentity(c config.Config, at authority) (lender, error) {
	source, err := azure.NewWorkloadIdentity(azure.WorkloadIdentityOptions{
		Tenant: c.Tenant, ClientID: c.WorkloadIdentity.ClientID, TokenFile: c.WorkloadIdentity.TokenFile,
		TokenEnv: c.WorkloadIdentity.TokenEnv, AuthorityHost: at.host, CA: at.roots,
	})
	if err != nil {
		return lender{}, &configError{err: err}
	}
	return lender{source, func() (azure.Account, error) {
		return azure.Account{
			Name: cmp.Or(c.WorkloadIdentity.ClientID, os.Getenv(envClient)), Tenant: cmp.Or(c.Tenant, os.Getenv(envTenant)), App: true,
		}, source.Check()
	}}, nil
}

func newUsernamePassword(c config.Config, at authority) (lender, error) {
	password, err := config.ReadSecret(c.UsernamePassword.PasswordFile)
	if err != nil {
		return lender{}, &configError{err: err}
	}
	source, err := azure.NewUsernamePassword(azure.UsernamePasswordOptions{
		Tenant: c.Tenant, ClientID: c.UsernamePassword.ClientID, Username: c.UsernamePassword.Username,
		Password: token.NewSecret(password), AuthorityHost: at.host, CA: at.roots,
	})
	if err != nil {
		return lender{}, &configError{err: err}
	}
	account := azure.Account{Name: c.UsernamePassword.Username, Tenant: c.Tenant}
	return lender{source, func() (azure.Account, error) { return account, nil }}, nil
}

func newEnvironment(at authority) lender {
	source := azure.NewEnvironment(azure.EnvironmentOptions{Getenv: at.getenv, CA: at.roots})
	return lender{source, func() (azure.Account, error) {
		a := azure.Account{Name: os.Getenv(envClient), Tenant: os.Getenv(envTenant), App: true}
		if os.Getenv("AZURE_CLIENT_SECRET") == "" && os.Getenv("AZURE_CLIENT_CERTIFICATE_PATH") == "" {
			a.Name, a.App = os.Getenv("AZURE_USERNAME"), false
		}
		return a, source.Check()
	}}
}

// readsEnvironment tells of the credentials that the AZURE_* variables describe, or may.
func readsEnvironment(c config.Credential) bool {
	return slices.Contains([]config.Credential{
		config.CredentialEnvironment, config.CredentialWorkloadIdentity, config.CredentialGitHubActions, config.CredentialAzurePipelines,
		config.CredentialAuto,
	}, c)
}
