package signin

import (
	"strings"
	"testing"
)

func TestWhoSaysAccountsAndCloudsOnly(t *testing.T) {
	two := `{"subscriptions": [{"id": "a", "isDefault": true}, {"id": "b"}]}`
	for _, test := range []struct {
		name, file, one, other string
		same                   bool
	}{
		{"other user", "azureProfile.json", profile("ann", "s", "n"), profile("bob", "s", "n"), false},
		{"other subscription", "azureProfile.json", profile("ann", "s", "n"), profile("ann", "s2", "n"), false},
		{"other default", "azureProfile.json", two, `{"subscriptions": [{"id": "a"}, {"id": "b", "isDefault": true}]}`, false},
		{"other name", "azureProfile.json", profile("ann", "s", "n"), profile("ann", "s", "n2"), true},
		{"other order", "azureProfile.json", two, `{"subscriptions": [{"id": "b"}, {"id": "a", "isDefault": true}]}`, true},
		{"nobody", "azureProfile.json", `{}`, "\xef\xbb\xbf" + `{"installationId": "i", "subscriptions": []}`, true},
		{"other cloud", "config", "[cloud]\nname = AzureUSGovernment", "[cloud]\nname = AzureChinaCloud", false},
		{"other spelling", "config", "[cloud]\nname = AzureUSGovernment", "[core]\nx=1\n\n [cloud] \n# name = x\nNAME:AzureUSGovernment\n", true},
		{"the default cloud", "config", "[cloud]\nname = AzureCloud", "", true},
		{"name of something else", "config", "[core]\nname = x", "", true},
		{"tokens", "msal_token_cache.json", "{", "}", true},
		{"clouds", "clouds.config", "[AzureCloud]\nsubscription = a\n", "[AzureCloud]\nsubscription = b\n", false},
		{"principals", "service_principal_entries.json", "[1]", "[2]", false},
	} {
		one, err := who(test.file, []byte(test.one))
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		other, err := who(test.file, []byte(test.other))
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		if (one == other) != test.same {
			t.Errorf("%s: %q and %q, want same=%t", test.name, one, other, test.same)
		}
	}
}

func TestWhoRefusesAHalfWrittenProfile(t *testing.T) {
	text := profile("ann", "s", "n")
	for i := range len(text) {
		if got, err := who("azureProfile.json", []byte(text[:i])); err == nil {
			t.Errorf("%q says %q, want an error", text[:i], got)
		}
	}
}

func FuzzWho(f *testing.F) {
	for _, text := range []string{profile("ann", "s", "n"), "{}", "", "[cloud]\nname = x", "[cloud\nname", "=", "[]\n:", "[cloud]\nname=a=b"} {
		for _, file := range []string{"azureProfile.json", "config", "clouds.config", "msal_token_cache.json"} {
			f.Add(file, []byte(text))
		}
	}
	f.Fuzz(func(t *testing.T, file string, text []byte) {
		got, err := who(file, text)
		if err != nil && got != "" {
			t.Errorf("%q beside the error %v", got, err)
		}
		if again, _ := who(file, text); again != got {
			t.Errorf("%q, then %q", got, again)
		}
		if file == "config" && strings.ContainsAny(got, "\n") {
			t.Errorf("a cloud of several lines: %q", got)
		}
	})
}
