package signedout

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"azimds/test/netns"
	"azimds/test/tools"
)

// unassigned is the client id of an application that is no managed identity, as developers have it in AZURE_CLIENT_ID.
const unassigned = "11111111-2222-3333-4444-555555555555"

// patience is how long a client may take; the most patient SDK gives up after 100 s.
const patience = 200 * time.Second

// sdk is one SDK with one way to call it.
type sdk struct {
	name    string
	command []string
	chains  bool // it has a default chain with a managed identity in it
	resets  int  // how many probes are reset before the chain goes on; 0 for a probe that names a resource
	times   int  // to measure
}

func sdks(t testing.TB) []sdk {
	t.Helper()
	netns.Root(t)
	node, err := exec.LookPath("node")
	netns.Need(t, "node", err)
	python, modules := tools.Python(t), tools.NodeModules(t)
	return []sdk{
		{"go", []string{filepath.Join(bin, "client")}, true, 1, 9},
		{"python", []string{python, filepath.Join(bin, "client.py")}, true, 0, 5},
		{"python async", []string{python, filepath.Join(bin, "client_async.py")}, true, 0, 5},
		{"javascript", []string{node, filepath.Join(bin, "client.mjs"), "--modules", modules}, true, 1, 5},
		{"java", tools.JavaClient(t), true, 2, 3}, // HttpURLConnection repeats a request whose connection broke
		{"rust", []string{tools.RustClient(t)}, false, 0, 9},
	}
}

// way is how a program asks.
type way struct {
	name string
	kind string // of the client's command line
	id   string // in AZURE_CLIENT_ID, and given to a lone credential; "" for none
	az   string // folder of az, the next credential of a chain
}

var ways = []way{
	{name: "lone", kind: "managed", az: "next"},
	{name: "chain", kind: "default", az: "next"},
	{name: "chain, `AZURE_CLIENT_ID`", kind: "default", id: unassigned, az: "next"},
}

// azToken tells that a chain went on to its next credential.
const azToken = "az-token"

// azSignedIn and azSignedOut are that credential; they leave behind when they began.
const (
	azSignedIn = `#!/bin/sh
date +%s%N >"$AZ_BEGAN"
echo '{"accessToken": "` + azToken + `", "expiresOn": "2099-01-01 00:00:00.000000", "expires_on": 4070908800, "subscription": "s", "tenant": "t", "tokenType": "Bearer"}'
`
	azSignedOut = `#!/bin/sh
date +%s%N >"$AZ_BEGAN"
echo "ERROR: Please run 'az login' to setup account." >&2
exit 1
`
)

// got is what came of one program's wish for a token.
type got struct {
	token       string        // "" when it got none
	err, kind   string        // of the SDK
	elapsed     time.Duration // of the program's get, when it got one
	began, next time.Time     // of the program and of az; the latter zero without an az
	end         time.Time
}

// run runs one program in a namespace.
func run(t testing.TB, ns *netns.NS, client sdk, how way, resource string) got {
	t.Helper()
	home := openDir(t)
	must(t, os.Chown(home, ownerUID, ownerUID))
	cmd := program(client, how, resource+"/.default", home)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &out, &errs, time.Second // az may outlive a program that was killed
	g := got{began: time.Now()}
	must(t, ns.Start(cmd))
	timer := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	err := cmd.Wait()
	if !timer.Stop() {
		t.Fatalf("%s did not end within %v", client.name, patience)
	}
	g.end = time.Now()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		t.Fatal(err)
	}
	g.read(t, out.Bytes(), errs.String())
	if began, err := os.ReadFile(filepath.Join(home, "began")); err == nil {
		nanoseconds, err := strconv.ParseInt(strings.TrimSpace(string(began)), 10, 64)
		must(t, err)
		g.next = time.Unix(0, nanoseconds)
	}
	return g
}

// program is the client, with an az and nothing else of this machine's settings.
func program(client sdk, how way, scope, home string) *exec.Cmd {
	args := append(slices.Clone(client.command[1:]), how.kind, scope)
	env := []string{"PATH=" + filepath.Join(bin, how.az) + ":/usr/bin:/bin", "HOME=" + home, "AZ_BEGAN=" + filepath.Join(home, "began"), "LANG=C.UTF-8"}
	if how.id != "" {
		env = append(env, "AZURE_CLIENT_ID="+how.id)
		if how.kind == "managed" {
			args = append(args, "--client-id", how.id)
		}
	}
	cmd := exec.Command(client.command[0], args...)
	cmd.Env, cmd.Dir, cmd.SysProcAttr = env, home, owner()
	return cmd
}

// read reads the line a client printed.
func (g *got) read(t testing.TB, out []byte, stderr string) {
	t.Helper()
	var line struct {
		Token, Error, Type string
		MS                 float64
	}
	if err := json.Unmarshal(out, &line); err != nil {
		t.Errorf("%v: %q %s", err, out, stderr)
	}
	g.token, g.err, g.kind = line.Token, line.Error, line.Type
	g.elapsed = time.Duration(line.MS * float64(time.Millisecond))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
