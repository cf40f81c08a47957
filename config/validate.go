package config

import (
	"errors"
	"fmt"
)

// Validate reports everything about c that is not allowed, one error a finding, joined. Each names the key, its value and
// what is allowed. Settings of a credential that is not chosen are checked for their form alone.
func (c Config) Validate() error {
	return errors.Join(c.validateValues(), c.validateEndpoint(), c.validateCredential(), c.validateRuleZones())
}

// validateEndpoint refuses a way of intercepting where nothing is intercepted.
func (c Config) validateEndpoint() error {
	if c.Endpoint.Kind == EndpointNone || c.Mode == ModeAuto {
		return nil
	}
	return fmt.Errorf("mode is %q and endpoint.kind is %q, must be one of them: an endpoint is served in the place of an interception",
		c.Mode, c.Endpoint.Kind)
}

// validateValues looks at each key by itself.
func (c Config) validateValues() error {
	var found []error
	for _, k := range keys {
		found = append(found, k.check(&c))
	}
	return errors.Join(found...)
}

// validateCredential looks at the keys that have to go together.
func (c Config) validateCredential() error {
	found := []error{c.validateCloud()}
	switch c.Credential {
	case CredentialAzureCLI:
		found = append(found, c.validateAzureCLI())
	case CredentialAuto:
		found = append(found, c.validateAzureCLI(), c.validateWorkloadIdentity())
	case CredentialWorkloadIdentity:
		found = append(found, c.validateWorkloadIdentity())
	case CredentialClientSecret:
		found = append(found, c.validateClientSecret())
	case CredentialClientCertificate:
		found = append(found, c.validateClientCertificate())
	case CredentialUsernamePassword:
		found = append(found, c.validateUsernamePassword())
	}
	return errors.Join(found...)
}

// validateCloud refuses two answers to where Entra is.
func (c Config) validateCloud() error {
	if c.Cloud == CloudPublic || c.AuthorityHost == "" {
		return nil
	}
	return fmt.Errorf("cloud is %q and authority-host is %q, must be one of them: each says where Entra is", c.Cloud, c.AuthorityHost)
}

// validateAzureCLI holds az's own rule: get-access-token takes --tenant or --subscription.
func (c Config) validateAzureCLI() error {
	if c.Tenant == "" || c.AzureCLI.Subscription == "" {
		return nil
	}
	return fmt.Errorf("tenant is %q and azure-cli.subscription is %q, must be one of them: az takes no more",
		c.Tenant, c.AzureCLI.Subscription)
}

func (c Config) validateClientSecret() error {
	found := []error{
		c.required("tenant", c.Tenant, "a tenant's GUID or one of its domains"),
		c.required("client-secret.client-id", c.ClientSecret.ClientID, "a GUID"),
	}
	if (c.ClientSecret.SecretFile == "") == (c.ClientSecret.SecretEnv == "") {
		state := "neither is"
		if c.ClientSecret.SecretFile != "" {
			state = "both are"
		}
		found = append(found, fmt.Errorf(
			"exactly one of client-secret.secret-file and client-secret.secret-env must be set when credential is %s, %s", c.Credential, state))
	}
	return errors.Join(found...)
}

func (c Config) validateClientCertificate() error {
	return errors.Join(
		c.required("tenant", c.Tenant, "a tenant's GUID or one of its domains"),
		c.required("client-certificate.client-id", c.ClientCertificate.ClientID, "a GUID"),
		c.required("client-certificate.file", c.ClientCertificate.File, "an absolute path"),
	)
}

// validateWorkloadIdentity refuses two answers to where the token is.
func (c Config) validateWorkloadIdentity() error {
	if c.WorkloadIdentity.TokenFile == "" || c.WorkloadIdentity.TokenEnv == "" {
		return nil
	}
	return fmt.Errorf("at most one of workload-identity.token-file and workload-identity.token-env may be set when credential is %s, both are",
		c.Credential)
}

func (c Config) validateUsernamePassword() error {
	return errors.Join(
		c.required("tenant", c.Tenant, "a tenant's GUID or one of its domains"),
		c.required("username-password.username", c.UsernamePassword.Username, "a name like alice@contoso.com"),
		c.required("username-password.password-file", c.UsernamePassword.PasswordFile, "an absolute path"),
	)
}

// required reports a key without which the credential chosen has nothing to ask with.
func (c Config) required(key, value, want string) error {
	if value != "" {
		return nil
	}
	return fmt.Errorf("%s is empty, must be %s when credential is %s", key, want, c.Credential)
}
