package azure

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"azimds/imds/token"
)

// TestToolProfiles holds what is told from the tools' files alone: no program runs.
func TestToolProfiles(t *testing.T) {
	var told messages
	azd, pwsh := toolCases[0], toolCases[1]
	const user = `{"auth":{"account":{"currentUser":`
	for _, test := range []struct {
		name string
		tool toolCase
		file string
		text string // "" removes the file
		want Account
	}{
		{name: "azd, a person", tool: azd, file: ".azd/config.json", text: "{}"},
		{name: "azd, a service principal", tool: azd, file: ".azd/auth.json", text: user + `{"clientId":"` + clientID + `","tenantId":"` + tenantID + `"}}}}`,
			want: Account{Name: clientID, Tenant: tenantID, SignedIn: tenantID, App: true}},
		{name: "azd, never signed in", tool: azd, file: ".azd/auth.json"},
		{name: "azd, signed out", tool: azd, file: ".azd/auth.json", text: `{"auth":{"account":{}}}`},
		{name: "azd, managed identity", tool: azd, file: ".azd/auth.json", text: user + `{"managedIdentity":true}}}}`},
		{name: "azd, assigned identity", tool: azd, file: ".azd/auth.json", text: user + `{"managedIdentity":true,"clientId":"` + clientID + `"}}}}`},
		{name: "azd, by way of a signed-out az", tool: azd, file: ".azd/config.json", text: `{"auth":{"useAzCliAuth":"true"}}`},
		{name: "azd, broken", tool: azd, file: ".azd/auth.json", text: `{`},
		{name: "PowerShell, a person", tool: pwsh, file: ".Azure/other.json", text: "{}", want: Account{Name: userName, Tenant: tenantID, SignedIn: tenantID}},
		{name: "PowerShell, a service principal", tool: pwsh, file: ".Azure/AzureRmContext.json", text: pwshSaved("ServicePrincipal", clientID),
			want: Account{Name: clientID, Tenant: tenantID, SignedIn: tenantID, App: true}},
		{name: "PowerShell, never signed in", tool: pwsh, file: ".Azure/AzureRmContext.json"},
		{name: "PowerShell, signed out", tool: pwsh, file: ".Azure/AzureRmContext.json", text: `{"DefaultContextKey":"Default","Contexts":{"Default":{"Account":null}}}`},
		{name: "PowerShell, managed identity", tool: pwsh, file: ".Azure/AzureRmContext.json", text: pwshSaved("ManagedService", "MSI@50342")},
		{name: "PowerShell, broken", tool: pwsh, file: ".Azure/AzureRmContext.json", text: `{`},
	} {
		t.Run(test.name, func(t *testing.T) {
			jwt := fakeJWT(t, tenantID, clientID)
			home := test.tool.fake(t, "echo ran > ran; "+test.tool.answer(jwt))
			put(t, home, ".azure/azureProfile.json", "{}")
			if put(t, home, test.file, test.text); test.text == "" {
				if err := os.Remove(filepath.Join(home, test.file)); err != nil {
					t.Fatal(err)
				}
			}
			source := test.tool.source(t, ToolOptions{}).(interface {
				token.Source
				Account() (Account, error)
			})
			account, err := source.Account()
			_, again := source.Token(t.Context(), token.Request{Resource: arm})
			if err == nil {
				if diff := cmp.Diff(test.want, account); diff != "" || again != nil {
					t.Errorf("account (-want +got):\n%s\nToken says %v", diff, again)
				}
				return
			}
			checkError(t, err)
			if again == nil || again.Error() != err.Error() {
				t.Errorf("Account says %v, Token says %v", err, again)
			}
			if _, err := os.Stat(filepath.Join(home, "ran")); err == nil {
				t.Error("the program ran")
			}
			told.add(test.name, err)
		})
	}
	told.compare(t, "profiles.golden")
}

// TestAzdElsewhere has azd ask another program where nobody is signed in to azd itself; a managed identity is refused even so.
func TestAzdElsewhere(t *testing.T) {
	azd := toolCases[0]
	for _, test := range []struct {
		name, variable, auth string
		runs                 bool
	}{
		{"Cloud Shell", "AZD_IN_CLOUDSHELL", "", true},
		{"a managed identity in Cloud Shell", "AZD_IN_CLOUDSHELL", `{"auth":{"account":{"currentUser":{"managedIdentity":true}}}}`, false},
		{"an editor's sign-in", "AZD_AUTH_ENDPOINT", "", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			home := azd.fake(t, azd.answer(fakeJWT(t, tenantID, clientID)))
			put(t, home, ".azd/auth.json", test.auth)
			t.Setenv(test.variable, "1")
			if _, err := azd.source(t, ToolOptions{}).Token(t.Context(), token.Request{Resource: arm}); (err == nil) != test.runs {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestToolNotInstalled(t *testing.T) {
	for _, c := range toolCases {
		home := c.fake(t, "")
		t.Setenv("PATH", home)
		source := c.source(t, ToolOptions{})
		source.(interface{ nowhere() }).nowhere()
		for _, signedIn := range []bool{true, false} {
			if !signedIn {
				for _, dir := range []string{".azd", ".Azure"} {
					if err := os.RemoveAll(filepath.Join(home, dir)); err != nil {
						t.Fatal(err)
					}
				}
			}
			_, err := source.Token(t.Context(), token.Request{Resource: arm})
			checkError(t, err)
			if !errors.Is(err, errNotInstalled) || !errors.Is(err, token.ErrSignInRequired) {
				t.Errorf("%s, signed in: %t: got %v", c.name, signedIn, err)
			}
		}
	}
}

// nowhere makes the program be looked for in PATH alone: the machine may have one.
func (d *DeveloperCLI) nowhere() { d.tool.dirs = nil }
func (p *PowerShell) nowhere()   { p.tool.dirs = nil }

func FuzzParsePwshContext(f *testing.F) {
	f.Add([]byte(pwshSaved("User", userName)))
	f.Add([]byte(`{"DefaultContextKey":"Default","Contexts":{"Default":{"Account":null}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if c, err := parsePwshContext(data); err != nil && c.Account != nil {
			t.Error("both a context and an error")
		}
	})
}

func FuzzParseAzdConfig(f *testing.F) {
	f.Add([]byte(`{"auth":{"useAzCliAuth":"true","account":{"currentUser":{"managedIdentity":true}}}}`))
	f.Add([]byte(``))
	f.Fuzz(func(t *testing.T, data []byte) {
		if c, err := parseAzdConfig(data); err != nil && c.Auth.Account.User != nil {
			t.Error("both an account and an error")
		}
	})
}
