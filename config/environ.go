package config

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// SystemFile is the configuration of the machine. Root alone must be able to write it.
const SystemFile = "/etc/azimds/config.yaml"

// UserFile returns the configuration of the person whose environment this is, in the form of [os.Environ]:
// $XDG_CONFIG_HOME/azimds/config.yaml, else $HOME/.config/azimds/config.yaml. It is empty when neither variable is an
// absolute path: the XDG Base Directory Specification has relative ones ignored.
func UserFile(environ []string) string {
	base := variableOf(environ, "XDG_CONFIG_HOME")
	if !filepath.IsAbs(base) {
		home := variableOf(environ, "HOME")
		if !filepath.IsAbs(home) {
			return ""
		}
		base = filepath.Join(home, ".config")
	}
	return filepath.Join(base, "azimds", "config.yaml")
}

// variableOf returns the value of an environment variable, the first one as [os.Getenv] does.
func variableOf(environ []string, name string) string {
	for _, entry := range environ {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value
		}
	}
	return ""
}

// ours returns the variables that begin with AZIMDS_ and are not empty.
func ours(environ []string) map[string]string {
	found := map[string]string{}
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, envPrefix) {
			continue
		}
		if value := variableOf(environ, name); value != "" {
			found[name] = value
		}
	}
	return found
}

// secretVariables are those that would hold a secret if there were such keys.
var secretVariables = []string{
	envPrefix + "CLIENT_SECRET_SECRET", envPrefix + "CLIENT_CERTIFICATE_PASSWORD", envPrefix + "USERNAME_PASSWORD_PASSWORD",
	envPrefix + "WORKLOAD_IDENTITY_TOKEN",
}

// strangers reports variables that were surely meant to set a key and do not: one that is spelled nearly like a key's, and
// one that holds a secret where only its name belongs. Other AZIMDS_ variables are somebody's own, such as the one that
// client-secret.secret-env names.
func strangers(environ []string, c Config) error {
	known := make(map[string]bool, len(keys))
	candidates := make([]string, 0, len(keys))
	for _, k := range keys {
		known[k.Env()] = true
		candidates = append(candidates, strings.ToLower(strings.TrimPrefix(k.Env(), envPrefix)))
	}
	var found []error
	for _, name := range slices.Sorted(maps.Keys(ours(environ))) {
		switch {
		case known[name] || name == c.ClientSecret.SecretEnv || name == c.WorkloadIdentity.TokenEnv:
		case slices.Contains(secretVariables, name):
			found = append(found, unset(name, fmt.Errorf("%s: %w", name, errSecretValue)))
		default:
			near := nearest(strings.TrimPrefix(name, envPrefix), candidates)
			for i := range near {
				near[i] = envPrefix + strings.ToUpper(near[i])
			}
			if len(near) > 0 {
				found = append(found, unset(name, fmt.Errorf("unknown environment variable %q%s", name, didYouMean(near))))
			}
		}
	}
	return errors.Join(found...)
}
