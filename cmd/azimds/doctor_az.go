package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"azimds/config"
	"azimds/imds/token/azure"
)

// checkCLI looks whether az is there, as whom it is signed in, and how long it takes. Where an agent runs it is not called: two az
// at a time damage each other's files (azure-cli#29329), and the agent may have one.
func (p patient) checkCLI(ctx context.Context, d *diagnosis) {
	if p.mistake != nil || p.config.Credential != config.CredentialAzureCLI {
		return
	}
	if p.theirs {
		d.missed("whether "+p.owner+" is signed in to the Azure CLI", "This process has the home of somebody else.",
			"azimds doctor   # as "+p.owner+", without sudo")
		return
	}
	az, err := p.findAz()
	if err != nil {
		told := explain(err)
		d.found(kindAzMissing, told.Hint, "%s", told.Message)
		return
	}
	gone := p.interpreterGone(az)
	if gone != "" {
		d.found(kindAzBroken, azure.InstallAz, "%s is a script for %s, which is not there", az, gone)
	}
	account, err := p.account()
	if err != nil {
		told, k := explain(err), kindAzSignedOut
		if errors.Is(err, azure.ErrManagedIdentity) {
			k = kindAzManaged
		}
		d.found(k, told.Hint, "%s", told.Message)
		return
	}
	if gone == "" {
		p.timeAz(ctx, d, az, account)
	}
}

// timeAz runs az once, which asks nobody.
func (p patient) timeAz(ctx context.Context, d *diagnosis, az string, account azure.Account) {
	took, err := p.runAz(ctx, az)
	failed, isFailed := errors.AsType[*azError](err)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		d.found(kindAzTimeout, fmt.Sprintf("export AZIMDS_AZURE_CLI_TIMEOUT=%s", min(2*p.config.AzureCLI.Timeout, maxAzTimeout)),
			"az account show did not end within %s", p.config.AzureCLI.Timeout)
	case isFailed && strings.Contains(failed.said, "az login"):
		d.found(kindAzSignedOut, "az login", "az account show says: %s", failed.said)
	case err != nil:
		d.found(kindAzBroken, azure.InstallAz, "%s", err)
	default:
		d.found(kindAz, "", "az account show took %s; az is signed in as %s", took.Round(time.Second/10), signedInAs(account))
	}
}

// maxAzTimeout is the longest azure-cli.timeout.
const maxAzTimeout = 5 * time.Minute

// signedInAs is as whom az is signed in, for people.
func signedInAs(a azure.Account) string {
	switch {
	case a.Name == "":
		return "somebody whom its files do not tell"
	case a.App:
		return a.Name + ", an application, in tenant " + a.Tenant
	}
	return a.Name + ", a person, in tenant " + a.Tenant
}

// azError is an az that ended badly.
type azError struct {
	said string // the last line of its standard error
	err  error
}

func (e *azError) Error() string { return fmt.Sprintf("az account show: %v: %s", e.err, e.said) }
func (e *azError) Unwrap() error { return e.err }

// runAz runs "az account show", which reads az's files and asks nobody, and says how long it took. At the limit az is killed, with
// what it has started: it is often a script that starts Python. The error wraps [context.DeadlineExceeded] then.
func runAz(ctx context.Context, az string, limit time.Duration) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, az, "account", "show", "--output", "none")
	cmd.Env = append(os.Environ(), "AZURE_CORE_COLLECT_TELEMETRY=false") // else it leaves a process that uploads
	cmd.Stderr = &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second // for one that got away with our pipe
	begun := time.Now()
	err := cmd.Run()
	took := time.Since(begun)
	switch {
	case ctx.Err() != nil:
		return took, fmt.Errorf("running az account show: %w", ctx.Err())
	case err != nil:
		lines := strings.Split(strings.TrimSpace(said.String()), "\n")
		return took, &azError{printable(lines[len(lines)-1]), err}
	}
	return took, nil
}

// interpreterGone is the interpreter that a script names and that is not there, as after an update of Python; else "".
func (p patient) interpreterGone(script string) string {
	f, err := os.Open(filepath.Join(p.root, script))
	if err != nil {
		return ""
	}
	defer f.Close()
	line, err := bufio.NewReader(io.LimitReader(f, 4096)).ReadString('\n')
	name, is := strings.CutPrefix(line, "#!")
	if words := strings.Fields(name); err == nil && is && len(words) > 0 {
		if _, err := os.Stat(filepath.Join(p.root, words[0])); errors.Is(err, fs.ErrNotExist) {
			return words[0]
		}
	}
	return ""
}
