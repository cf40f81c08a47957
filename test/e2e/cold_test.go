package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"azimds/test/agent"
	"azimds/test/entra"
	"azimds/test/netns"
)

// TestColdToken has 64 processes ask for one token that nobody has yet; every third hangs up at once. az is started once,
// which a wrapper of that name counts, and everyone who waits is served.
func TestColdToken(t *testing.T) {
	netns.Root(t)
	ns := netns.New(t)
	authority := startEntra(t, ns)
	az := signInAz(t, ns, authority)
	dir := t.TempDir()
	agent.OpenUp(t, filepath.Join(dir, "x"))
	calls := filepath.Join(dir, "calls")
	if err := os.Mkdir(calls, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(calls, 0o777); err != nil {
		t.Fatal(err)
	}
	wrapper := fmt.Sprintf("#!/bin/sh\nmktemp %s/call.XXXXXX >/dev/null && exec %s \"$@\"\n", calls, az.Path)
	if err := os.WriteFile(filepath.Join(dir, "az"), []byte(wrapper), 0o755); err != nil {
		t.Fatal(err)
	}
	a := startAgent(t, ns, append(az.Env(), "AZIMDS_AZURE_CLI_CONFIG_DIR="+az.ConfigDir, "PATH="+dir+":/usr/bin:/bin:/usr/sbin:/sbin"), "--credential", "azure-cli")

	authority.Behave(entra.Behaviour{Delay: time.Second}) // all 64 are there before the token is
	var clients sync.WaitGroup
	for n := range 64 {
		kind := "read"
		if n%3 == 0 {
			kind = "hangup"
		}
		cmd := raw(t, ownerUID, kind)
		clients.Go(func() {
			out, code := runRaw(ns, cmd)
			if code != 0 || kind == "read" && !strings.Contains(out, `"access_token"`) {
				t.Errorf("client %d (%s) ended with %d: %s", n, kind, code, out)
			}
		})
	}
	clients.Wait()
	started, err := os.ReadDir(calls)
	if err != nil {
		t.Fatal(err)
	}
	if len(started) != 1 {
		t.Errorf("az was started %d times, want once\n%s", len(started), a.Said)
	}
	a.Stop()
}

func runRaw(ns *netns.NS, cmd *exec.Cmd) (string, int) {
	var out agent.Text
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := ns.Start(cmd); err != nil {
		return err.Error(), -1
	}
	if err := cmd.Wait(); err != nil {
		return out.String() + err.Error(), cmd.ProcessState.ExitCode()
	}
	return out.String(), 0
}
