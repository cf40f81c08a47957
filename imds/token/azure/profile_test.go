package azure

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"azimds/imds/token"
)

const (
	person  = `{"id":"11111111-1111-1111-1111-111111111111","name":"dev","isDefault":true,"user":{"name":"dev@contoso.example","type":"user"}}`
	machine = `{"id":"55555555-5555-5555-5555-555555555555","name":"vm","user":{"name":"systemAssignedIdentity","type":"servicePrincipal","assignedIdentityInfo":"MSI"}}`
)

func TestCLIProfile(t *testing.T) {
	const bom = "\xef\xbb\xbf"
	for _, test := range []struct {
		name, profile, subscription string
		runs                        bool
		want                        string // in the error, when az is not run
	}{
		{"none", "", "", true, ""},
		{"broken", "{", "", true, ""},
		{"never signed in", bom + "{}", "", false, "nobody is signed in"},
		{"signed out", bom + `{"installationId":"x","subscriptions":[]}`, "", false, "nobody is signed in"},
		{"person", bom + `{"subscriptions":[` + person + `,` + machine + `]}`, "", true, ""},
		{"machine by id", `{"subscriptions":[` + person + `,` + machine + `]}`, "55555555-5555-5555-5555-555555555555", false, "azimds itself"},
		{"machine by name", `{"subscriptions":[` + person + `,` + machine + `]}`, "VM", false, "azimds itself"},
		{"machine by default", `{"subscriptions":[` + strings.Replace(machine, `"name":"vm"`, `"isDefault":true`, 1) + `]}`, "", false, "azimds itself"},
		{"user-assigned", `{"subscriptions":[` + strings.NewReplacer(`"name":"vm"`, `"isDefault":true`, "system", "user").Replace(machine) + `]}`, "", false, "azimds itself"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := fakeAz(t, `echo ran > ran; `+azAnswer("opaque"))
			if test.profile != "" {
				writeProfile(t, test.profile)
			}
			_, err := newCLI(t, CLIOptions{Subscription: test.subscription}).Token(t.Context(), token.Request{Resource: arm})
			_, ran := os.Stat(filepath.Join(dir, "ran"))
			if test.runs {
				if err != nil || ran != nil {
					t.Errorf("got %v, az: %v", err, ran)
				}
				return
			}
			checkError(t, err)
			if ran == nil {
				t.Error("az ran")
			}
			if !errors.Is(err, token.ErrSignInRequired) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestProfileInHome(t *testing.T) {
	home := t.TempDir()
	for _, dir := range []string{".azure", "other"} {
		if err := os.Mkdir(filepath.Join(home, dir), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(home, dir, "azureProfile.json"), []byte(`{"subscriptions":[`+person+`]}`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, config := range []string{"", "~/other", filepath.Join(home, "other")} {
		p, err := readProfile(func(name string) string {
			return map[string]string{"HOME": home, "AZURE_CONFIG_DIR": config}[name]
		})
		if err != nil || len(p.Accounts) != 1 {
			t.Errorf("AZURE_CONFIG_DIR=%q: got %+v, %v", config, p, err)
		}
	}
}

// TestProfileOfTheCloud has accounts in two clouds: az knows those of its own.
func TestProfileOfTheCloud(t *testing.T) {
	in := func(account, cloud string) string {
		return strings.Replace(account, `"user":`, `"environmentName":"`+cloud+`","isDefault":true,"user":`, 1)
	}
	both := `{"subscriptions":[` + in(person, "AzureCloud") + `,` + in(machine, "Elsewhere") + `]}`
	const dev = "dev@contoso.example"
	for _, test := range []struct{ name, profile, settings, variable, want, err string }{
		{name: "no settings", profile: both, want: dev},
		{name: "no cloud in them", profile: both, settings: "[core]\nname = Elsewhere\n", want: dev},
		{name: "the public one", profile: both, settings: "[cloud]\nname = AzureCloud\n", want: dev},
		{name: "another", profile: both, settings: "[core]\noutput = json\n\n[cloud]\n; az writes\nName: Elsewhere\n", err: "azimds itself"},
		{name: "a third", profile: both, settings: "[cloud]\nname = Nowhere\n", err: "nobody is signed in"},
		{name: "by variable", profile: both, settings: "[cloud]\nname = Elsewhere\n", variable: "azurecloud", want: dev},
		{name: "of no cloud", profile: `{"subscriptions":[` + person + `]}`, settings: "[cloud]\nname = Nowhere\n", want: dev},
	} {
		t.Run(test.name, func(t *testing.T) {
			fakeAz(t, `exit 1`)
			t.Setenv("AZURE_CLOUD_NAME", test.variable)
			writeProfile(t, test.profile)
			if test.settings != "" {
				if err := os.WriteFile(filepath.Join(os.Getenv("AZURE_CONFIG_DIR"), "config"), []byte(test.settings), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			account, err := newCLI(t, CLIOptions{}).Account()
			if test.err == "" && (err != nil || account.Name != test.want) {
				t.Errorf("got %+v, %v, want %s", account, err, test.want)
			}
			if test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
				t.Errorf("got %+v, %v, want %q", account, err, test.err)
			}
		})
	}
}

func FuzzParseProfile(f *testing.F) {
	f.Add([]byte("\xef\xbb\xbf{}"), "")
	f.Add([]byte(`{"installationId":"x","subscriptions":[`+person+`,`+machine+`]}`), "vm")
	f.Add([]byte(`{"subscriptions":null}`), "dev")
	f.Fuzz(func(t *testing.T, data []byte, subscription string) {
		p, err := parseProfile(data)
		if err != nil && len(p.Accounts) > 0 {
			t.Error("accounts beside an error")
		}
		if got := p.selected(subscription); len(got) > len(p.Accounts) {
			t.Errorf("%d of %d selected", len(got), len(p.Accounts))
		}
	})
}
