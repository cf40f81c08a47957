package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"azimds/config"
	"azimds/imds/token/azure"
	"azimds/imds/token/signin"
)

func openCLI(c config.Config) (*credential, error) {
	opened, err := openLender(newCLI(c))
	if err != nil {
		return nil, err
	}
	opened.tool, opened.files = true, signin.AzureCLIFiles(os.Getenv)
	return opened, nil
}

func openDeveloperCLI(c config.Config) (*credential, error) {
	opened, err := openLender(newDeveloperCLI(c))
	if err != nil {
		return nil, err
	}
	opened.tool, opened.files = true, azure.DeveloperCLIFiles(os.Getenv)
	return opened, nil
}

func openPowerShell(c config.Config) (*credential, error) {
	opened, err := openLender(newPowerShell(c))
	if err != nil {
		return nil, err
	}
	opened.tool = true
	return opened, nil
}

// newCLI lends the login of the Azure CLI. azidentity starts az with this process's environment, so its folder is put right
// there.
func newCLI(c config.Config) (lender, error) {
	if c.AzureCLI.ConfigDir != "" {
		if err := os.Setenv("AZURE_CONFIG_DIR", c.AzureCLI.ConfigDir); err != nil {
			return lender{}, fmt.Errorf("choosing az's folder: %w", err)
		}
	}
	source, err := azure.NewCLI(azure.CLIOptions{
		Tenant: toolTenant(c), Subscription: c.AzureCLI.Subscription, Timeout: c.AzureCLI.Timeout,
	})
	if err != nil {
		return lender{}, &configError{err: err}
	}
	return newTool(source, source.Account, azure.FindAz)
}

// newDeveloperCLI lends the login of the Azure Developer CLI.
func newDeveloperCLI(c config.Config) (lender, error) {
	source, err := azure.NewDeveloperCLI(azure.ToolOptions{Tenant: toolTenant(c), Timeout: c.AzureCLI.Timeout})
	if err != nil {
		return lender{}, &configError{err: err}
	}
	return newTool(source, source.Account, azure.FindAzd)
}

// newPowerShell lends the login of PowerShell's module Az.Accounts.
func newPowerShell(c config.Config) (lender, error) {
	source, err := azure.NewPowerShell(azure.ToolOptions{Tenant: toolTenant(c), Timeout: c.AzureCLI.Timeout})
	if err != nil {
		return lender{}, &configError{err: err}
	}
	return newTool(source, source.Account, azure.FindPwsh)
}

// toolTenant is the tenant that a tool is asked for tokens of; empty means its own. The one that is pinned yields to whatever says
// another, as a subscription does.
func toolTenant(c config.Config) string {
	if c.AzureCLI.Subscription != "" {
		return c.Tenant
	}
	return cmp.Or(c.Tenant, c.Pin.Tenant)
}

// newTool lends the login of a program. azidentity looks for it in PATH alone, so what is elsewhere is added there. A missing
// program is no reason not to start: it is said, and each request says it again until it is there.
func newTool(
	source azure.Candidate, account func() (azure.Account, error), find func(func(string) string) (string, error),
) (lender, error) {
	if program, err := find(os.Getenv); err == nil {
		if err := addToPath(filepath.Dir(program)); err != nil {
			return lender{}, err
		}
	}
	return lender{Candidate: source, account: func() (azure.Account, error) {
		if _, err := find(os.Getenv); err != nil {
			return azure.Account{}, err
		}
		return account()
	}}, nil
}

// addToPath appends dir to this process's PATH unless it is there. An empty entry would be the working directory.
func addToPath(dir string) error {
	path := os.Getenv("PATH")
	if slices.Contains(filepath.SplitList(path), dir) {
		return nil
	}
	if path != "" {
		dir = path + string(os.PathListSeparator) + dir
	}
	if err := os.Setenv("PATH", dir); err != nil {
		return fmt.Errorf("adding to PATH: %w", err)
	}
	return nil
}
