package azure

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"azimds/imds/token"
)

// DeveloperCLI is the source "azure-developer-cli": it asks azd, as whom a person signed in there.
type DeveloperCLI struct{ tool *tool }

// azdTurn lets one azd of this process run at a time: they share ~/.azd.
var azdTurn = make(turn, 1)

// NewDeveloperCLI returns the source; it neither looks for azd nor runs it.
func NewDeveloperCLI(o ToolOptions) (*DeveloperCLI, error) {
	if err := checkTenant(o.Tenant); err != nil {
		return nil, err
	}
	credential, err := azidentity.NewAzureDeveloperCLICredential(&azidentity.AzureDeveloperCLICredentialOptions{
		TenantID: o.Tenant, AdditionallyAllowedTenants: []string{"*"},
	})
	if err != nil {
		return nil, fmt.Errorf("configuring credential %q: %w", KindDeveloperCLI, err)
	}
	t := newTool(tool{
		program: azdProgram, kind: KindDeveloperCLI, sdkName: "AzureDeveloperCLICredential", turn: azdTurn,
		credential: credential, client: azClientID, login: azdLogin,
		check: func(string) string { return "azd auth login --check-status" },
	}, o)
	d := &DeveloperCLI{tool: t}
	t.profile, t.account = d.checkProfile, d.Account
	return d, nil
}

// Describe names the source and whom it asks as, in a few words for people.
func (d *DeveloperCLI) Describe() string { return d.tool.describe() }

// Token runs `azd auth token` for the resource. The answer comes without azd where azd's own files already give it: when nobody
// is signed in, and when the account is a managed identity.
func (d *DeveloperCLI) Token(ctx context.Context, r token.Request) (token.Token, error) {
	return d.tool.ask(ctx, r)
}

// Account reads from azd's files as whom [DeveloperCLI.Token] will ask; it starts nothing. Of a person they do not tell the
// name. The error is as [CLI.Account] has it.
func (d *DeveloperCLI) Account() (Account, error) {
	if err := d.checkProfile(); err != nil {
		return Account{}, err
	}
	p, err := readAzdProfile(os.Getenv)
	if err != nil || p.delegated {
		return Account{}, nil //nolint:nilerr // azd itself says what is wrong with its files
	}
	return Account{
		Name: p.user.ClientID, Tenant: cmp.Or(d.tool.tenant, p.user.TenantID), SignedIn: p.user.TenantID,
		App: p.user.HomeAccountID == "" && p.user.ClientID != "",
	}, nil
}

// checkProfile answers from azd's files. What cannot be read is left to azd, and so is an azd that asks another program.
func (d *DeveloperCLI) checkProfile() error {
	if os.Getenv("AZD_AUTH_ENDPOINT") != "" {
		return nil
	}
	p, err := readAzdProfile(os.Getenv)
	switch {
	case err != nil:
		return nil //nolint:nilerr // azd itself says what is wrong with its files
	case p.delegated:
		return (&CLI{}).checkProfile()
	case p.user == nil && os.Getenv("AZD_IN_CLOUDSHELL") != "": // it asks the shell then, and only then
		return nil
	case p.user == nil:
		return d.tool.signedOut()
	case p.user.ManagedIdentity:
		return d.tool.managedIdentity()
	}
	return nil
}

// azdProfile is what azd's files say of its sign-in (azure-dev, cli/azd/pkg/auth/manager.go).
type azdProfile struct {
	delegated bool // azd asks az
	user      *azdUser
}

type azdUser struct {
	ManagedIdentity bool   `json:"managedIdentity"`
	HomeAccountID   string `json:"homeAccountId"` // of a person
	ClientID        string `json:"clientId"`      // of a service principal or an assigned identity
	TenantID        string `json:"tenantId"`
}

// azdConfig is the part of config.json and auth.json that matters. azd before 1.0 had all of it in config.json.
type azdConfig struct {
	Auth struct {
		UseAz   string `json:"useAzCliAuth"`
		Account struct {
			User *azdUser `json:"currentUser"`
		} `json:"account"`
	} `json:"auth"`
}

// parseAzdConfig reads one of the files; an empty text is a file that is not there.
func parseAzdConfig(data []byte) (azdConfig, error) {
	var c azdConfig
	if len(data) == 0 {
		return c, nil
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return azdConfig{}, fmt.Errorf("parsing azd configuration: %w", err)
	}
	return c, nil
}

// DeveloperCLIFiles are the files in which azd keeps who is signed in (azure-dev 1.23, cli/azd/pkg/auth/manager.go), whether they
// exist or not: in AZD_CONFIG_DIR, else ~/.azd. Getting a token changes neither.
func DeveloperCLIFiles(getenv func(string) string) []string {
	dir := getenv("AZD_CONFIG_DIR")
	if dir == "" {
		dir = filepath.Join(getenv("HOME"), ".azd")
	}
	return []string{filepath.Join(dir, "config.json"), filepath.Join(dir, "auth.json")}
}

// readAzdProfile reads the files that an azd started by this process would read.
func readAzdProfile(getenv func(string) string) (azdProfile, error) {
	var p azdProfile
	for _, path := range DeveloperCLIFiles(getenv) {
		data, err := os.ReadFile(path)
		if err != nil && !os.IsNotExist(err) {
			return azdProfile{}, fmt.Errorf("reading azd configuration: %w", err)
		}
		c, err := parseAzdConfig(data)
		if err != nil {
			return azdProfile{}, err
		}
		if use, err := strconv.ParseBool(c.Auth.UseAz); err == nil && use {
			p.delegated = true
		}
		if c.Auth.Account.User != nil {
			p.user = c.Auth.Account.User
		}
	}
	return p, nil
}

func azdLogin(tenant, resource string) string {
	command := "azd auth login"
	if tenant != "" {
		command += " --tenant-id " + tenant
	}
	if resource != "" {
		command += " --scope " + resource + "/.default"
	}
	return command
}
