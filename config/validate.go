package config

import (
	"errors"
	"fmt"
)

// Validate reports everything about c that is not allowed, one error a finding, joined. Each names the key, its value and
// what is allowed. Settings of a credential that is not chosen are checked for their form alone.
func (c Config) Validate() error {
	var found []error
	for _, k := range keys {
		found = append(found, k.check(&c))
	}
	switch c.Credential {
	case CredentialAzureCLI:
		found = append(found, c.validateAzureCLI())
	case CredentialClientSecret:
		found = append(found, c.validateClientSecret())
	}
	return errors.Join(found...)
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
	const because = "when credential is client-secret"
	var found []error
	if c.Tenant == "" {
		found = append(found, fmt.Errorf("tenant is empty, must be a tenant's GUID or one of its domains %s", because))
	}
	if c.ClientSecret.ClientID == "" {
		found = append(found, fmt.Errorf("client-secret.client-id is empty, must be a GUID %s", because))
	}
	if (c.ClientSecret.SecretFile == "") == (c.ClientSecret.SecretEnv == "") {
		state := "neither is"
		if c.ClientSecret.SecretFile != "" {
			state = "both are"
		}
		found = append(found, fmt.Errorf(
			"exactly one of client-secret.secret-file and client-secret.secret-env must be set %s, %s", because, state))
	}
	return errors.Join(found...)
}
