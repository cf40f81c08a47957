package azure

import (
	"os"
	"path/filepath"
	"strings"

	"azimds/imds/token"
)

// installAz is Microsoft's installer for any Linux (learn.microsoft.com/cli/azure/install-azure-cli-linux, "script").
const installAz = "curl -L https://aka.ms/InstallAzureCli | bash"

// azDirs is where packages, pip, pipx and the install script put az, tried after PATH; "~" is HOME. systemd and sudo give
// a PATH without most of them.
var azDirs = []string{
	"/usr/local/bin", "/usr/bin", "/bin", "/opt/az/bin", "/snap/bin", "~/.local/bin", "~/bin",
	"/home/linuxbrew/.linuxbrew/bin", "~/.linuxbrew/bin", "/run/current-system/sw/bin", "~/.nix-profile/bin",
}

// FindAz yields the path of the az executable: the first in PATH, else the first where installers put it. getenv is read for
// PATH and HOME. az is started through PATH (azidentity runs `/bin/sh -c "az …"` with this process's environment), so when
// the result is outside PATH, its directory has to be appended to this process's PATH before a token is asked for.
//
// The error is a [token.Error] of kind [token.ErrSignInRequired] that says where it was looked for.
func FindAz(getenv func(string) string) (string, error) {
	return findAz(getenv, azDirs)
}

func findAz(getenv func(string) string, dirs []string) (string, error) {
	looked := searched(getenv, dirs)
	for _, dir := range looked {
		path := filepath.Join(dir, "az")
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", &token.Error{
		Kind:    token.ErrSignInRequired,
		Message: "the Azure CLI (az) is in none of " + strings.Join(looked, ", "),
		Command: installAz,
	}
}

// searched lists PATH and then dirs, each once. Relative entries of PATH are left out: what they mean depends on where the
// process stands, and azidentity starts az in /bin.
func searched(getenv func(string) string, dirs []string) []string {
	all := filepath.SplitList(getenv("PATH"))
	for _, dir := range dirs {
		if rest, ok := strings.CutPrefix(dir, "~"); ok {
			home := getenv("HOME")
			if home == "" {
				continue
			}
			dir = home + rest
		}
		all = append(all, dir)
	}
	seen := make(map[string]bool, len(all))
	var out []string
	for _, dir := range all {
		if filepath.IsAbs(dir) && !seen[filepath.Clean(dir)] {
			seen[filepath.Clean(dir)] = true
			out = append(out, filepath.Clean(dir))
		}
	}
	return out
}
