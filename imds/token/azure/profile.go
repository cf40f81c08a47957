package azure

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// profile is az's list of accounts, azureProfile.json (azure-cli-core 2.91, _profile.py).
type profile struct {
	Accounts []account `json:"subscriptions"`
}

type account struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Default bool   `json:"isDefault"`
	Tenant  string `json:"tenantId"`
	User    struct {
		// Name is the person's or the application's, or one of two words that stand for a managed identity.
		Name string `json:"name"`
		Type string `json:"type"` // "user" or "servicePrincipal"
	} `json:"user"`
}

// managedIdentity says what az's own _parse_managed_identity_account does.
func (a account) managedIdentity() bool {
	return a.User.Name == "systemAssignedIdentity" || a.User.Name == "userAssignedIdentity"
}

// parseProfile reads azureProfile.json, which az writes with a byte order mark. An az that never signed in writes "{}".
func parseProfile(data []byte) (profile, error) {
	var p profile
	if err := json.Unmarshal(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")), &p); err != nil {
		return profile{}, fmt.Errorf("parsing az profile: %w", err)
	}
	return p, nil
}

// selected are the accounts that az would choose among: the subscription named, by id or name, else the default ones. Each
// cloud has a default of its own, and which cloud is meant stands elsewhere, so there can be several.
func (p profile) selected(subscription string) []account {
	var out []account
	for _, a := range p.Accounts {
		if subscription == "" && a.Default ||
			subscription != "" && (strings.EqualFold(a.ID, subscription) || strings.EqualFold(a.Name, subscription)) {
			out = append(out, a)
		}
	}
	return out
}

// readProfile reads the profile that an az started by this process would read.
func readProfile(getenv func(string) string) (profile, error) {
	dir := getenv("AZURE_CONFIG_DIR")
	if dir == "" {
		dir = "~/.azure"
	}
	if rest, ok := strings.CutPrefix(dir, "~/"); ok {
		dir = filepath.Join(getenv("HOME"), rest)
	}
	path := filepath.Join(dir, "azureProfile.json")
	data, err := os.ReadFile(path)
	if err != nil {
		return profile{}, fmt.Errorf("reading az profile: %w", err)
	}
	return parseProfile(data)
}
