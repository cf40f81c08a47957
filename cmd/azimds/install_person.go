package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"azimds/config"
	"azimds/imds/control"
	"azimds/imds/token/azure"
	"azimds/netsetup/holder"
)

// personLimit bounds a login shell of the user, whose start-up files may do anything, and a look at the sign-in.
const personLimit = 20 * time.Second

// personOutput bounds what is read of either, in bytes.
const personOutput = 1 << 20

// servicePath is the PATH of a service where the user's own is not known: systemd's default.
const servicePath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"

// lentVariables are those of the user that the server needs: where az and its sign-in are, proxies and certificates. None is a
// secret's place, and no other is copied.
var lentVariables = []string{
	"PATH", "AZURE_CONFIG_DIR", "HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE",
}

// look reads, as the user, what the server is going to have of that user's environment and which sign-in it is going to find. What
// it returns are variables for the server. Another user than root sees none but its own.
func (i *installation) look(ctx context.Context, settings []string) ([]string, error) {
	environ := os.Environ()
	switch uid := os.Geteuid(); {
	case uid == 0:
		var err error
		if environ, err = loginEnviron(ctx, i.owner); err != nil {
			i.note("the environment of %s could not be read, so that nothing is copied from it: %v", i.owner.Name, err)
		}
	case uint32(uid) != i.owner.UID:
		i.note("what the service needs of the environment of %s, and who is signed in, root alone can see: run this with sudo", i.owner.Name)
		return nil, nil
	}
	lent, secret := lentEnviron(environ)
	for _, name := range secret {
		i.note("%s has a password in it and is not copied; put it where root alone can read it: sudo systemctl edit azimds.service", name)
	}
	// The same at each sign-in of the user, and what a keyring, which may hold az's encrypted tokens, is found by.
	lent = append(lent, fmt.Sprintf("DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/%d/bus", i.owner.UID))
	seen, err := previewAs(ctx, i.owner, slices.Concat(settings, lent))
	if err != nil {
		return nil, err
	}
	if i.account = seen.Account; i.account.Error != "" {
		i.note("%s", withHint(i.account.Error, i.account.Hint))
	}
	return append(lent, seen.pins()...), nil
}

func (i *installation) note(format string, args ...any) {
	i.notes = append(i.notes, fmt.Sprintf(format, args...))
}

// lentEnviron is what the server gets of a user's environment, in the order of lentVariables, and the names of those that are left
// out because a password is in them.
func lentEnviron(environ []string) (lent, secret []string) {
	for _, name := range lentVariables {
		for _, spelt := range slices.Compact([]string{name, strings.ToLower(name)}) {
			value := valueOf(environ, spelt)
			if u, err := url.Parse(value); strings.HasSuffix(name, "_PROXY") && value != "" && (err != nil || u.User != nil) {
				secret = append(secret, spelt)
				continue
			}
			if name == "PATH" {
				value = absoluteFolders(value)
			}
			if value != "" && (spelt == name || strings.HasSuffix(name, "_PROXY")) {
				lent = append(lent, spelt+"="+value)
			}
		}
	}
	return lent, secret
}

// valueOf is a variable's value in an environment, the first one as [os.Getenv] has it.
func valueOf(environ []string, name string) string {
	for _, entry := range environ {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value
		}
	}
	return ""
}

// absoluteFolders are the entries of a PATH that mean the same wherever a program starts.
func absoluteFolders(path string) string {
	folders := slices.DeleteFunc(filepath.SplitList(path), func(f string) bool { return !filepath.IsAbs(f) })
	return strings.Join(folders, string(os.PathListSeparator))
}

// loginEnviron is the environment of a login shell of the user's, run as that user. The machine's own part of it comes from
// /etc/environment, which PAM reads elsewhere.
func loginEnviron(ctx context.Context, o holder.Owner) ([]string, error) {
	machine, err := os.ReadFile("/etc/environment")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	environ := machineEnviron(string(machine))
	shell, err := shellOf(ctx, o)
	if err != nil {
		return environ, err
	}
	name := "-" + filepath.Base(shell) // how login(1) tells a shell what it is
	login := command{shell, []string{name, "-c", `printf '\000'; env -0`}, append(baseEnviron(o, shell), environ...)}
	out, _, err := runAs(ctx, o, login)
	if err != nil {
		return environ, err
	}
	_, theirs, _ := strings.Cut(string(out), "\x00") // before it is what start-up files printed
	return append(strings.Split(theirs, "\x00"), environ...), nil
}

// machineEnviron reads /etc/environment as pam_env(8) does: NAME=value, perhaps with export before it and quotes around the value.
func machineEnviron(text string) []string {
	var environ []string
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "export "), "=")
		if ok && !strings.HasPrefix(name, "#") {
			environ = append(environ, name+"="+strings.Trim(value, `"'`))
		}
	}
	return environ
}

// baseEnviron is what systemd gives a service of the user's, before what its unit says.
func baseEnviron(o holder.Owner, shell string) []string {
	return []string{"HOME=" + o.Home, "USER=" + o.Name, "LOGNAME=" + o.Name, "SHELL=" + shell, "PATH=" + servicePath}
}

// shellOf is the user's login shell (passwd(5)).
func shellOf(ctx context.Context, o holder.Owner) (string, error) {
	out, err := exec.CommandContext(ctx, "getent", "passwd", strconv.FormatUint(uint64(o.UID), 10)).Output()
	if err != nil {
		return "", fmt.Errorf("looking for the shell of %s: %w", o, err)
	}
	fields := strings.Split(strings.TrimSpace(string(out)), ":")
	shell := fields[len(fields)-1]
	if !filepath.IsAbs(shell) || slices.Contains([]string{"nologin", "false"}, filepath.Base(shell)) {
		return "", fmt.Errorf("looking for the shell of %s: %q is none to sign in with", o, shell)
	}
	return shell, nil
}

// command is a program for runAs.
type command struct {
	path    string
	args    []string // with the name that it is told to have
	environ []string
}

// runAs runs a command as the user, apart from this terminal and for a limited time, and returns what it printed. What it leaves
// running may hold its output and is not waited for.
func runAs(ctx context.Context, o holder.Owner, c command) (out, said []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, personLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.path)
	cmd.Args, cmd.Env, cmd.Dir = c.args, c.environ, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if os.Geteuid() == 0 {
		groups, err := readGroupIDs()
		if err != nil {
			return nil, nil, err
		}
		cmd.SysProcAttr.Credential = groups.credential(o)
	}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	var stdout, stderr head
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil
	}
	if ended := context.Cause(ctx); ended != nil {
		err = ended
	}
	if err != nil {
		err = fmt.Errorf("running %q as %s: %w", c.path, o, err)
	}
	return stdout.b.Bytes(), stderr.b.Bytes(), err
}

// head keeps the beginning of what is written to it.
type head struct{ b bytes.Buffer }

// Write implements [io.Writer].
func (h *head) Write(p []byte) (int, error) {
	h.b.Write(p[:min(len(p), personOutput-h.b.Len())])
	return len(p), nil
}

// preview is what a server with this environment would find.
type preview struct {
	Account control.Account `json:"account"`
	Tool    bool            `json:"tool"` // the sign-in is a tool's, so that it may become another
	Failure *holder.Failure `json:"failure,omitempty"`
}

// pins are the variables that pin what was found.
func (p preview) pins() []string {
	var pins []string
	for _, pin := range []struct{ name, value string }{{"pin.account", p.Account.Name}, {"pin.tenant", p.Account.SignedIn}} {
		if p.Tool && pin.value != "" {
			pins = append(pins, config.Key{Name: pin.name}.Env()+"="+pin.value)
		}
	}
	return pins
}

// previewAs has this program look, as the user and with the environment that the server is going to have.
func previewAs(ctx context.Context, o holder.Owner, environ []string) (preview, error) {
	out, said, err := runAs(ctx, o, command{"/proc/self/exe", []string{"azimds", "preview"}, append(baseEnviron(o, "/bin/sh"), environ...)})
	if err != nil {
		return preview{}, fmt.Errorf("looking at the sign-in of %s: %w: %s", o, err, shortened(said))
	}
	var p preview
	if err := json.Unmarshal(out, &p); err != nil {
		return preview{}, fmt.Errorf("looking at the sign-in of %s: %w", o, err)
	}
	if p.Failure != nil {
		return preview{}, p.Failure
	}
	return p, nil
}

// newPreview is what previewAs runs.
func newPreview() *cobra.Command {
	return &cobra.Command{
		Use: "preview", Short: "Say what a server with this environment would find", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := holder.Confine(); err != nil {
				return err
			}
			p, err := look(cmd)
			if err != nil {
				failure := explain(err)
				p.Failure = &failure
			}
			return printJSON(cmd.OutOrStdout(), p)
		},
	}
}

// look reads the configuration, opens the credential and asks nobody for a token. A tool that is not there is an error: at the start of
// a server it would be none, as it may come.
func look(cmd *cobra.Command) (preview, error) {
	c, err := settings(cmd, false)
	if err != nil {
		return preview{}, err
	}
	credential, err := openCredential(c, io.Discard)
	if err != nil {
		return preview{}, err
	}
	defer credential.close()
	find := map[config.Credential]func(func(string) string) (string, error){
		config.CredentialAzureCLI: azure.FindAz, config.CredentialDeveloperCLI: azure.FindAzd, config.CredentialPowerShell: azure.FindPwsh,
	}[c.Credential]
	if find != nil {
		if _, err := find(os.Getenv); err != nil {
			return preview{}, err
		}
	}
	return preview{Account: credential.account(cmd.Context()), Tool: credential.tool}, nil
}
