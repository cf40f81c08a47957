package signin

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// limit is more than az's files ever hold; msal_token_cache.json has some 5 KB a token.
const limit = 32 << 20

type digest [sha256.Size]byte

// content is what a file holds: the part that says who is signed in, and all of it. Secrets are in some; only digests stay.
type content struct{ who, text digest }

// read reads one file. An absent file says what an empty one of its kind does.
func read(path string) (content, error) {
	name := filepath.Base(path)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return content{who: sha256.Sum256([]byte(nobody(name)))}, nil
	}
	if err != nil {
		return content{}, fmt.Errorf("reading file %q: %w", path, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && len(text) > limit {
		err = errors.New("too long")
	}
	if err != nil {
		return content{}, fmt.Errorf("reading file %q: %w", path, err)
	}
	named, err := who(name, text)
	if err != nil {
		return content{}, fmt.Errorf("reading file %q: %w", path, err)
	}
	return content{who: sha256.Sum256([]byte(named)), text: sha256.Sum256(text)}, nil
}

// nobody is what [who] says of an absent file. That of a token cache is not the same as an empty one: it is deleted to sign out.
func nobody(name string) string {
	if tokenCache(name) {
		return "absent"
	}
	return ""
}

// who is what a file of that name says about accounts and clouds, in a form that stays the same as long as it says the same.
// The error is that of a file that is half written.
func who(name string, text []byte) (string, error) {
	switch {
	case name == "azureProfile.json":
		return accounts(text)
	case name == "config":
		return Cloud(text), nil
	case tokenCache(name):
		return "", nil
	}
	return string(bytes.TrimSpace(text)), nil
}

// tokenCache: az rewrites these with each token that it renews.
func tokenCache(name string) bool { return strings.HasPrefix(name, "msal_token_cache.") }

// accounts lists those of azureProfile.json, which az writes with a byte order mark. Left out is what az updates on its own
// account: a subscription's name and state, the installation's id.
func accounts(text []byte) (string, error) {
	var profile struct {
		Subscriptions []struct {
			ID          string `json:"id"`
			Tenant      string `json:"tenantId"`
			Environment string `json:"environmentName"`
			Default     bool   `json:"isDefault"`
			User        struct {
				Name string `json:"name"`
				Type string `json:"type"`
			} `json:"user"`
		} `json:"subscriptions"`
	}
	if err := json.Unmarshal(bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")), &profile); err != nil {
		return "", fmt.Errorf("parsing az profile: %w", err)
	}
	var lines []string
	for _, s := range profile.Subscriptions {
		lines = append(lines, fmt.Sprintf("%q %q %q %q %q %t\n", s.ID, s.Tenant, s.Environment, s.User.Name, s.User.Type, s.Default))
	}
	slices.Sort(lines)
	return strings.Join(lines, ""), nil
}

// Cloud is the one named in az's file "config": "name" in section "cloud", as Python's configparser reads it (knack 0.12,
// config.py); "" is AzureCloud, which it is as long as none is named. The file holds many settings that have nothing to do with accounts.
func Cloud(text []byte) string {
	section, name := "", ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if inner, ok := strings.CutPrefix(line, "["); ok {
			section, _, _ = strings.Cut(inner, "]")
			continue
		}
		end := strings.IndexAny(line, "=:")
		if section != "cloud" || end < 0 || strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") {
			continue
		}
		if strings.EqualFold(strings.TrimSpace(line[:end]), "name") {
			name = strings.TrimSpace(line[end+1:])
		}
	}
	if name == "AzureCloud" {
		return ""
	}
	return name
}
