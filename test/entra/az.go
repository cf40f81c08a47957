package entra

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"strings"
)

// azCloud is what the Azure CLI calls the server.
const azCloud = "AzimdsTest"

// Az is a real Azure CLI that knows one cloud, a [Server], and talks to nobody else.
type Az struct {
	Path      string // of the program
	ConfigDir string // its AZURE_CONFIG_DIR, which az makes if it is missing; one login each
	CAFile    string // Server.CAPEM in a file that az can read
	URL       string // Server.URL, as az reaches it

	// Run runs a command to its end; nil is (*exec.Cmd).Run. It is the place to enter the network namespace that the
	// server listens in, or to take on another user, whose ConfigDir must then be: no file there is written but by az.
	Run func(*exec.Cmd) error
}

// Login registers the server as az's cloud, in a ConfigDir that has none, and signs in as an application. An error holds
// what az printed.
func (a Az) Login(ctx context.Context, tenant, clientID, secret string) error {
	for _, args := range [][]string{
		// MSAL would ask the real Entra whether it knows the authority; az would send its makers how it is used, and fetch
		// an extension for a command that it does not know
		{"config", "set", "--only-show-errors", "core.instance_discovery=false", "core.collect_telemetry=false",
			"core.survey_message=false", "extension.use_dynamic_install=no"},
		{"cloud", "register", "--name", azCloud, "--skip-endpoint-discovery",
			"--endpoint-active-directory", a.URL,
			"--endpoint-resource-manager", a.URL,
			"--endpoint-management", a.URL,
			"--endpoint-active-directory-resource-id", "https://management.core.windows.net/",
		},
		{"cloud", "set", "--name", azCloud},
		{"login", "--service-principal", "--username", clientID, "--password", secret, "--tenant", tenant, "--output", "none"},
	} {
		if _, err := a.Output(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

// Output runs az and returns what it printed. An error holds its standard error, and only the words of its command, none of
// its options: a password may be among them.
func (a Az) Output(ctx context.Context, args ...string) ([]byte, error) {
	cmd := a.Command(ctx, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	run := a.Run
	if run == nil {
		run = (*exec.Cmd).Run
	}
	if err := run(cmd); err != nil {
		words := args
		for i, arg := range args {
			if strings.HasPrefix(arg, "-") {
				words = args[:i]
				break
			}
		}
		return nil, fmt.Errorf("running az %q: %w", words, errors.Join(err, errors.New(strings.TrimSpace(stderr.String()))))
	}
	return stdout.Bytes(), nil
}

// deadProxy is where az's requests to anybody but the server end: nothing listens on the port of the discard protocol. The
// first az in a new ConfigDir looks for a newer version of itself (handle_version_update in azure-cli-core 2.91.0,
// util.py), which no setting turns off.
const deadProxy = "http://127.0.0.1:9"

// Command is az with its environment set, not started: of the caller's environment it has neither credentials nor proxies.
func (a Az) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, a.Path, args...)
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(strings.ToUpper(v), "=")
		if !strings.HasPrefix(name, "AZURE_") && !strings.HasSuffix(name, "_PROXY") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, "AZURE_CORE_COLLECT_TELEMETRY=false", "HTTPS_PROXY="+deadProxy, "HTTP_PROXY="+deadProxy)
	if u, err := url.Parse(a.URL); err == nil {
		cmd.Env = append(cmd.Env, "NO_PROXY="+u.Hostname())
	}
	cmd.Env = append(cmd.Env, a.Env()...)
	return cmd
}

// Env are the variables by which any program that runs az makes it use this login.
//
// Two habits of MSAL for Python 1.39 (throttled_http_client.py), which az keeps in ConfigDir and so across processes, matter
// to a test that changes a server's [Behaviour]: a refusal with status 400 is repeated from memory for 60 seconds, one with
// Retry-After, 429 or 5xx for as long as it says or 5 seconds.
func (a Az) Env() []string {
	return []string{"AZURE_CONFIG_DIR=" + a.ConfigDir, "REQUESTS_CA_BUNDLE=" + a.CAFile}
}
