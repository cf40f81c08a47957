package azure

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"azimds/imds/token"
)

// powerShellClientID is the application that Connect-AzAccount signs in to.
const powerShellClientID = "1950a258-227b-4e31-a9cf-717495945fc2"

// PowerShell is the source "azure-powershell": it asks the module Az.Accounts, as whom a person signed in there.
type PowerShell struct{ tool *tool }

// pwshTurn lets one pwsh of this process run at a time: they share ~/.Azure.
var pwshTurn = make(turn, 1)

// NewPowerShell returns the source; it neither looks for pwsh nor runs it.
func NewPowerShell(o ToolOptions) (*PowerShell, error) {
	if err := checkTenant(o.Tenant); err != nil {
		return nil, err
	}
	credential, err := azidentity.NewAzurePowerShellCredential(&azidentity.AzurePowerShellCredentialOptions{
		TenantID: o.Tenant, AdditionallyAllowedTenants: []string{"*"},
	})
	if err != nil {
		return nil, fmt.Errorf("configuring credential %q: %w", KindPowerShell, err)
	}
	t := newTool(tool{
		program: pwshProgram, kind: KindPowerShell, sdkName: "AzurePowerShellCredential", turn: pwshTurn,
		credential: credential, client: powerShellClientID, login: pwshLogin,
		check: func(resource string) string {
			return "pwsh -NoProfile -Command 'Get-AzAccessToken -ResourceUrl " + resource + " | Select-Object ExpiresOn'"
		},
	}, o)
	p := &PowerShell{tool: t}
	t.profile, t.account = p.checkProfile, p.Account
	return p, nil
}

// Describe names the source and whom it asks as, in a few words for people.
func (p *PowerShell) Describe() string { return p.tool.describe() }

// Token runs Get-AzAccessToken for the resource in a pwsh of its own. The answer comes without pwsh where its saved context
// already gives it: when nobody is signed in, and when the account is a managed identity.
func (p *PowerShell) Token(ctx context.Context, r token.Request) (token.Token, error) {
	return p.tool.ask(ctx, r)
}

// Account reads from the saved context as whom [PowerShell.Token] will ask; it starts nothing. The error is as [CLI.Account]
// has it.
func (p *PowerShell) Account() (Account, error) {
	if err := p.checkProfile(); err != nil {
		return Account{}, err
	}
	c, err := readPwshContext(os.Getenv)
	if err != nil {
		return Account{}, nil //nolint:nilerr // PowerShell itself says what is wrong with its context
	}
	return Account{
		Name: c.Account.ID, Tenant: cmp.Or(p.tool.tenant, c.Tenant.ID), SignedIn: c.Tenant.ID, App: c.Account.Type == "ServicePrincipal",
	}, nil
}

// checkProfile answers from the saved context. A pwsh of its own, as each of ours is, knows no other.
func (p *PowerShell) checkProfile() error {
	c, err := readPwshContext(os.Getenv)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return p.tool.signedOut()
	case err != nil:
		return nil //nolint:nilerr // PowerShell itself says what is wrong with its context
	case c.Account == nil:
		return p.tool.signedOut()
	case c.Account.Type == "ManagedService":
		return p.tool.managedIdentity()
	}
	return nil
}

// pwshContext is the default one of the contexts that Az.Accounts saves for the next session.
type pwshContext struct {
	Account *struct {
		ID   string `json:"Id"`
		Type string // "User", "ServicePrincipal", "ManagedService" and others
	}
	Tenant struct {
		ID string `json:"Id"`
	}
}

// parsePwshContext reads AzureRmContext.json. Without a default context, the one yielded has no account.
func parsePwshContext(data []byte) (pwshContext, error) {
	var saved struct {
		DefaultContextKey string
		Contexts          map[string]pwshContext
	}
	if err := json.Unmarshal(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")), &saved); err != nil {
		return pwshContext{}, fmt.Errorf("parsing PowerShell context: %w", err)
	}
	return saved.Contexts[saved.DefaultContextKey], nil
}

// readPwshContext reads the context that a pwsh started by this process would read. AzureRmContextSettings.json, if there is
// one, may name another folder and file.
func readPwshContext(getenv func(string) string) (pwshContext, error) {
	dir := filepath.Join(getenv("HOME"), ".Azure")
	var settings struct{ ContextDirectory, ContextFile string }
	data, err := os.ReadFile(filepath.Join(dir, "AzureRmContextSettings.json"))
	if err == nil {
		err = json.Unmarshal(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")), &settings)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return pwshContext{}, fmt.Errorf("reading PowerShell settings: %w", err)
	}
	data, err = os.ReadFile(filepath.Join(cmp.Or(settings.ContextDirectory, dir), cmp.Or(settings.ContextFile, "AzureRmContext.json")))
	if err != nil {
		return pwshContext{}, fmt.Errorf("reading PowerShell context: %w", err)
	}
	return parsePwshContext(data)
}

func pwshLogin(tenant, resource string) string {
	command := "Connect-AzAccount"
	if tenant != "" {
		command += " -Tenant " + tenant
	}
	if resource != "" {
		command += " -AuthScope " + resource
	}
	return "pwsh -NoProfile -Command '" + command + "'"
}
