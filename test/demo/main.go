// Command demo shows azimds at work, with no network and no Azure: in a network namespace of its own it starts the agent
// with emulated tokens, asks it with curl and with the Azure SDK for Go, both as they are, stops it, and shows that nothing
// stays behind. It exits 0 when all of that went well and 1 otherwise.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"azimds/test/demo/sandbox"
)

const (
	resource = "https://vault.azure.net"
	endpoint = "169.254.169.254:80"
	query    = "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource=" + resource

	// patience bounds each command shown. A lone step takes milliseconds; an SDK that finds nobody retries for a minute.
	patience = 20 * time.Second
)

// options are the flags.
type options struct {
	azimds, client, mode string
}

// reply is what is read of a token response, and the line the client program prints.
type reply struct {
	AccessToken string `json:"access_token"`
	Token       string `json:"token"`
}

func main() {
	var o options
	flag.StringVar(&o.azimds, "azimds", "bin/azimds", "the agent's `program`")
	flag.StringVar(&o.client, "client", "bin/demo-client", "the `program` built from test/clients/go")
	flag.StringVar(&o.mode, "mode", "auto", "how to intercept: `mode` as in azimds run --mode")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code, err := run(ctx, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		code = max(code, 1)
	}
	stop()
	os.Exit(code)
}

// run checks what is needed and runs the demo in a sandbox, whose exit code it returns.
func run(ctx context.Context, o options) (int, error) {
	if sandbox.Inside() {
		if err := sandbox.Enter(); err != nil {
			return 1, err
		}
		return 0, inside(ctx, o, os.Stdout)
	}
	if flag.NArg() > 0 {
		return 2, fmt.Errorf("reading arguments: unexpected %q", flag.Args())
	}
	for _, program := range []string{o.azimds, o.client} {
		if _, err := exec.LookPath(program); err != nil {
			return 1, fmt.Errorf("finding %q: %w (run: make build)", program, errors.Unwrap(err))
		}
	}
	if _, err := exec.LookPath("curl"); err != nil {
		return 1, errors.New("curl is not installed (Debian and Ubuntu: sudo apt install curl, Fedora: sudo dnf install curl)")
	}
	return sandbox.Rerun(ctx, os.Args[1:])
}

// inside is the demo itself, in its own namespaces.
func inside(ctx context.Context, o options, out io.Writer) (err error) {
	home, err := os.MkdirTemp("", "azimds-demo-")
	if err != nil {
		return fmt.Errorf("making a home directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(home)) }()
	before, err := network(ctx)
	if err != nil {
		return err
	}

	title(out, "The agent, with tokens it signs itself")
	agent, err := start(o, home)
	if err != nil {
		return err
	}
	command(out, "azimds run --mode "+o.mode+" --credential emulated")
	if err := agent.answering(ctx); err != nil {
		return errors.Join(err, agent.stop())
	}
	indented(out, agent.said())
	if err := ask(ctx, o, home, out); err != nil {
		return errors.Join(err, agent.stop())
	}

	title(out, "Stopped, and nothing stays")
	command(out, fmt.Sprintf("kill -TERM %d", agent.pid()))
	if err := agent.stop(); err != nil {
		return err
	}
	return nothingLeft(ctx, before, out)
}

// ask shows a token got in two ways.
func ask(ctx context.Context, o options, home string, out io.Writer) error {
	title(out, "A token with curl, as on an Azure VM")
	command(out, `curl -s -H Metadata:true "http://169.254.169.254/metadata/identity/oauth2/\`+"\n"+
		"token?api-version=2018-02-01&resource="+resource+`"`)
	r, err := answer(ctx, home, out, "curl", "-s", "-H", "Metadata:true", query)
	if err != nil {
		return err
	}
	if err := claims(out, r.AccessToken); err != nil {
		return err
	}

	title(out, "A token with DefaultAzureCredential of the Azure SDK for Go")
	command(out, filepath.Base(o.client)+" default "+resource+"/.default")
	r, err = answer(ctx, home, out, o.client, "default", resource+"/.default")
	if err != nil {
		return err
	}
	return claims(out, r.Token)
}

// answer runs a command that prints a JSON object, and shows that object.
func answer(ctx context.Context, home string, out io.Writer, name string, args ...string) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = environment(home), &stdout, &stderr
	runErr := cmd.Run()
	var r reply
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
		return reply{}, fmt.Errorf("running %q: %w, said %q", name, errors.Join(runErr, err), stderr.String())
	}
	if runErr != nil || r.AccessToken+r.Token == "" {
		return reply{}, fmt.Errorf("getting a token with %q: %s", filepath.Base(name), bytes.TrimSpace(stdout.Bytes()))
	}
	return r, object(out, stdout.Bytes())
}
