package main

import (
	"slices"
	"strings"

	"azimds/config"
	"azimds/imds/token/azure"
)

// newGitHubActions lends the application that trusts the job of GitHub Actions in which this process runs.
func newGitHubActions(c config.Config, at authority) (lender, error) {
	source, err := azure.NewGitHubActions(azure.GitHubActionsOptions{
		Tenant: c.Tenant, ClientID: c.GitHubActions.ClientID, AuthorityHost: at.host, CA: at.roots,
	})
	if err != nil {
		return lender{}, &configError{err: err}
	}
	return lender{source, func() (azure.Account, error) { return source.Account(), source.Check() }}, nil
}

// newAzurePipelines lends the application of a service connection of the pipeline in which this process runs.
func newAzurePipelines(c config.Config, at authority) (lender, error) {
	source, err := azure.NewAzurePipelines(azure.AzurePipelinesOptions{
		Tenant: c.Tenant, ClientID: c.AzurePipelines.ClientID, ServiceConnectionID: c.AzurePipelines.ServiceConnectionID,
		AuthorityHost: at.host, CA: at.roots,
	})
	if err != nil {
		return lender{}, &configError{err: err}
	}
	return lender{source, func() (azure.Account, error) { return source.Account(), source.Check() }}, nil
}

// newJobs are the CI jobs that this process may be in: none on a developer's machine.
func newJobs(c config.Config, at authority, getenv func(string) string) ([]lender, error) {
	var jobs []lender
	for _, service := range []struct {
		here func(func(string) string) bool
		open func(config.Config, authority) (lender, error)
	}{
		{azure.OnGitHubActions, newGitHubActions}, {azure.OnAzurePipelines, newAzurePipelines},
	} {
		if !service.here(getenv) {
			continue
		}
		job, err := service.open(c, at)
		if err != nil {
			return nil, err
		}
		jobs = append(jobs, job)
	}
	return jobs, nil
}

// credentialReads tells whether the credential that is configured reads a variable. One of a CI job reads of AZURE_* what says which
// application it is, and no secret.
func credentialReads(c config.Config, name string) bool {
	application := slices.Contains([]string{envTenant, envClient, envAuthority}, name)
	federated := name != "" && name == c.WorkloadIdentity.TokenEnv
	gitHub := slices.Contains(azure.GitHubActionsVariables(), name)
	pipelines := slices.Contains(azure.AzurePipelinesVariables(), name)
	switch c.Credential {
	case config.CredentialClientSecret:
		return name != "" && name == c.ClientSecret.SecretEnv
	case config.CredentialEnvironment:
		return strings.HasPrefix(name, "AZURE_")
	case config.CredentialWorkloadIdentity:
		return strings.HasPrefix(name, "AZURE_") || federated
	case config.CredentialGitHubActions:
		return application || gitHub
	case config.CredentialAzurePipelines:
		return application || pipelines
	case config.CredentialAuto:
		return strings.HasPrefix(name, "AZURE_") || federated || gitHub || pipelines
	default:
		return false
	}
}

// withoutSecrets is environ for a program that is no credential's business.
func withoutSecrets(c config.Config, environ []string) []string {
	secrets := append(azure.SecretVariables(), c.ClientSecret.SecretEnv, c.WorkloadIdentity.TokenEnv)
	return slices.DeleteFunc(slices.Clone(environ), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return name != "" && slices.Contains(secrets, name)
	})
}
