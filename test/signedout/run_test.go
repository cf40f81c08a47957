package signedout

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"azimds/test/netns"
)

const scope = "https://vault.azure.net/.default"

// unassigned is the client id of an application that is no managed identity, as developers have it in AZURE_CLIENT_ID.
const unassigned = "11111111-2222-3333-4444-555555555555"

// patience is how long a client may take; the most patient SDK gives up before.
const patience = 150 * time.Second

// sdk is one SDK with one way to call it.
type sdk struct {
	name    string
	command []string
	chains  bool // it has a default chain with a managed identity in it
}

// situation is how a program asks.
type situation struct {
	name      string
	kind      string // of the client's command line
	id        bool   // AZURE_CLIENT_ID is set, and given to a lone credential
	signedOut bool   // az has nobody signed in either
}

var situations = []situation{
	{name: "lone", kind: "managed"},
	{name: "lone, id", kind: "managed", id: true},
	{name: "chain", kind: "default"},
	{name: "chain, id", kind: "default", id: true},
	{name: "chain, az signed out", kind: "default", signedOut: true},
	{name: "chain, id, az signed out", kind: "default", id: true, signedOut: true},
}

// result is what came of one program's wish for a token.
type result struct {
	SDK, Script    string
	Situation      situation
	Token          string        // azToken, imdsToken or ""
	Error, Type    string        // of the SDK
	Hinted         bool          // the error has the hint
	Elapsed        time.Duration // of the program's get; of the whole program when it got none
	UntilAz        time.Duration // from the first connection until az began; 0 when there was no connection or no az
	UntilEnd       time.Duration // from the first connection until the program ended; 0 without a connection
	Probes, Tokens int           // requests without and with the Metadata header
	Killed         bool          // it took longer than patience
}

func (r result) String() string {
	return fmt.Sprintf("%s, %s, %s: %s %s %.300q", r.SDK, r.Situation.name, r.Script, r.cell(), r.Type, r.Error)
}

// The tokens tell which credential of a chain they came from.
const azToken, imdsToken = "az-token", "imds-token"

// azSignedIn and azSignedOut are the next credential of a chain; they leave behind when they began.
const azSignedIn = `#!/bin/sh
date +%s%N >"$AZ_BEGAN"
cat <<EOF
{"accessToken": "` + azToken + `", "expiresOn": "2099-01-01 00:00:00.000000", "expires_on": 4070908800, "subscription": "s", "tenant": "t", "tokenType": "Bearer"}
EOF
`

const azSignedOut = `#!/bin/sh
date +%s%N >"$AZ_BEGAN"
echo "ERROR: Please run 'az login' to setup account." >&2
exit 1
`

// ask runs one program in a namespace of its own.
func ask(t testing.TB, client sdk, how situation, s script) result {
	t.Helper()
	dir := t.TempDir()
	az := azSignedIn
	if how.signedOut {
		az = azSignedOut
	}
	must(t, os.WriteFile(filepath.Join(dir, "az"), []byte(az), 0o755))
	ns, e := netns.New(t), &endpoint{script: s}
	if !s.absent {
		ns.Run(t, "ip", "address", "add", "169.254.169.254/32", "dev", "lo")
		stop, err := e.start(ns)
		must(t, err)
		defer stop()
	}
	cmd := program(client, how, dir)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &out, &errs, time.Second // az may outlive a program that was killed
	r := result{SDK: client.name, Script: s.name, Situation: how}
	begin := time.Now()
	must(t, ns.Start(cmd))
	timer := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	err := cmd.Wait()
	r.Killed = !timer.Stop()
	end := time.Now()
	r.Elapsed = end.Sub(begin)
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		t.Fatal(err)
	}
	r.read(t, out.Bytes(), errs.String())
	e.mu.Lock()
	defer e.mu.Unlock()
	r.Probes, r.Tokens = e.probes, e.tokens
	if !e.first.IsZero() {
		r.UntilEnd = end.Sub(e.first)
	}
	if began, err := os.ReadFile(filepath.Join(dir, "began")); err == nil && !e.first.IsZero() {
		nanoseconds, err := strconv.ParseInt(strings.TrimSpace(string(began)), 10, 64)
		must(t, err)
		r.UntilAz = time.Unix(0, nanoseconds).Sub(e.first)
	}
	return r
}

// program is the client as the situation has it, with an az from dir and nothing else of this machine's settings.
func program(client sdk, how situation, dir string) *exec.Cmd {
	args := append(slices.Clone(client.command[1:]), how.kind, scope)
	env := []string{"PATH=" + dir + ":/usr/bin:/bin", "HOME=" + dir, "AZ_BEGAN=" + filepath.Join(dir, "began")}
	if how.id {
		env = append(env, "AZURE_CLIENT_ID="+unassigned)
		if how.kind == "managed" {
			args = append(args, "--client-id", unassigned)
		}
	}
	cmd := exec.Command(client.command[0], args...)
	cmd.Env = env
	return cmd
}

// read reads the line a client printed.
func (r *result) read(t testing.TB, out []byte, stderr string) {
	t.Helper()
	var line struct {
		Token, Error, Type string
		MS                 float64
	}
	if err := json.Unmarshal(out, &line); err != nil && !r.Killed {
		t.Errorf("%s, %s, %s: %v: %q %s", r.SDK, r.Situation.name, r.Script, err, out, stderr)
	}
	r.Token, r.Error, r.Type, r.Hinted = line.Token, line.Error, line.Type, strings.Contains(line.Error, hint)
	if line.Token != "" {
		r.Elapsed = time.Duration(line.MS * float64(time.Millisecond))
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
