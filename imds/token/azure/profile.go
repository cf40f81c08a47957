package azure

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"azimds/imds/token/signin"
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
	Cloud   string `json:"environmentName"`
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

// in are the accounts of one cloud, and those of which no cloud is said: az knows no others while that cloud is its own.
func (p profile) in(cloud string) profile {
	var out profile
	for _, a := range p.Accounts {
		if a.Cloud == "" || strings.EqualFold(a.Cloud, cloud) {
			out.Accounts = append(out.Accounts, a)
		}
	}
	return out
}

// selected are the accounts that az would choose among: the subscription named, by id or name, else the default one. Each cloud
// has a default of its own, so there can be several where it is not known which cloud is az's.
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

// azCloud is the cloud that az talks to, by its settings, unless the variable that goes before them names one.
func azCloud(getenv func(string) string, settings []byte) string {
	return cmp.Or(getenv("AZURE_CLOUD_NAME"), signin.Cloud(settings), "AzureCloud")
}

// readProfile reads the accounts that an az started by this process would know: those of its cloud, or all of them where its
// settings cannot be read.
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
	p, err := parseProfile(data)
	if err != nil {
		return profile{}, err
	}
	settings, err := os.ReadFile(filepath.Join(dir, "config"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	return p.in(azCloud(getenv, settings)), nil
}
