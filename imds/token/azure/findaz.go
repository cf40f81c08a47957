package azure

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"azimds/imds/token"
)

// program is a tool of the developer's that lends its sign-in.
type program struct {
	name    string   // of the executable
	title   string   // as people call it
	install string   // Microsoft's installer for any Linux
	dirs    []string // where packages and installers put it, tried after PATH; "~" is HOME
}

// InstallAz is the command that installs the Azure CLI on any Linux.
const InstallAz = "curl -fsSL https://aka.ms/InstallAzureCli | bash"

// usualDirs are where packages and package managers put programs. systemd and sudo give a PATH without most of them.
var usualDirs = []string{
	"/usr/local/bin", "/usr/bin", "/bin", "/snap/bin", "~/.local/bin", "~/bin",
	"/home/linuxbrew/.linuxbrew/bin", "~/.linuxbrew/bin", "/run/current-system/sw/bin", "~/.nix-profile/bin",
}

// The programs, each with its own installer's folder after the usual ones (learn.microsoft.com, "install-azure-cli-linux",
// "install-azd", "install-powershell-on-linux").
var (
	azProgram = program{
		name: "az", title: "the Azure CLI", install: InstallAz,
		dirs: slices.Concat(usualDirs, []string{"/opt/az/bin"}),
	}
	azdProgram = program{
		name: "azd", title: "the Azure Developer CLI", install: "curl -fsSL https://aka.ms/install-azd.sh | bash",
		dirs: slices.Concat(usualDirs, []string{"/opt/microsoft/azd", "~/.azd/bin"}),
	}
	pwshProgram = program{
		name: "pwsh", title: "PowerShell", install: "curl -fsSL https://aka.ms/install-powershell.sh | sudo bash",
		dirs: slices.Concat(usualDirs, []string{"/opt/microsoft/powershell/7", "~/.dotnet/tools"}),
	}
)

// FindAz yields the path of the az executable: the first in PATH, else the first where installers put it. getenv is read for
// PATH and HOME. az is started through PATH (azidentity runs `/bin/sh -c "az …"` with this process's environment), so when
// the result is outside PATH, its directory has to be appended to this process's PATH before a token is asked for.
//
// The error is a [token.Error] of kind [token.ErrSignInRequired] whose command installs it.
func FindAz(getenv func(string) string) (string, error) { return azProgram.find(getenv) }

// FindAzd is [FindAz] for azd.
func FindAzd(getenv func(string) string) (string, error) { return azdProgram.find(getenv) }

// FindPwsh is [FindAz] for pwsh.
func FindPwsh(getenv func(string) string) (string, error) { return pwshProgram.find(getenv) }

func (p program) find(getenv func(string) string) (string, error) {
	for _, dir := range searched(getenv, p.dirs) {
		path := filepath.Join(dir, p.name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", &token.Error{
		Kind:    token.ErrSignInRequired,
		Message: fmt.Sprintf("%s (%s) is neither in PATH nor where its installers put it", p.title, p.name),
		Command: p.install,
		Err:     errNotInstalled,
	}
}

// errNotInstalled marks a program that is nowhere.
var errNotInstalled = errors.New("not installed")

// notStarted explains exit code 127 of the shell: no such program in PATH, or one whose interpreter is gone.
func (p program) notStarted(getenv func(string) string) error {
	path, err := p.find(getenv)
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if slices.Contains(searched(getenv, nil), dir) {
		return &token.Error{
			Kind: token.ErrSignInRequired, Message: fmt.Sprintf("%s at %s does not start", p.title, path),
			Command: shellQuote(path) + " --version",
		}
	}
	return &token.Error{
		Kind: token.ErrSignInRequired, Message: fmt.Sprintf("%s is at %s, which is not in PATH", p.title, path),
		Command: `export PATH="$PATH":` + shellQuote(dir),
	}
}

// searched lists PATH and then dirs, each once. Relative entries of PATH are left out: what they mean depends on where the
// process stands, and azidentity starts programs in /bin.
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
