package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"azimds/config"
	"azimds/imds/control"
	"azimds/netsetup"
	"azimds/netsetup/holder"
	"azimds/systemd"
)

func TestLentEnviron(t *testing.T) {
	for _, tt := range []struct {
		name, environ, lent, secret string // entries between "|"
	}{
		{"all of it", "NO_PROXY=localhost|no_proxy=local|HTTPS_PROXY=http://proxy:3128|https_proxy=http://proxy:3128|SSL_CERT_DIR=/c|PATH=/opt/az/bin:/usr/bin|AZURE_CONFIG_DIR=/a",
			"PATH=/opt/az/bin:/usr/bin|AZURE_CONFIG_DIR=/a|HTTPS_PROXY=http://proxy:3128|https_proxy=http://proxy:3128|NO_PROXY=localhost|no_proxy=local|SSL_CERT_DIR=/c", ""},
		{"secrets and what is not known", "AZURE_CLIENT_SECRET=s3cr3t|SSH_AUTH_SOCK=/tmp/s|LD_PRELOAD=/tmp/x.so|AZIMDS_MODE=dummy|HOME=/root", "", ""},
		{"secrets of a CI job", "ACTIONS_ID_TOKEN_REQUEST_TOKEN=s3cr3t|ACTIONS_ID_TOKEN_REQUEST_URL=https://ci|SYSTEM_ACCESSTOKEN=s3cr3t|" +
			"SYSTEM_OIDCREQUESTURI=https://ci|AZURE_ID_TOKEN=s3cr3t|AZURE_FEDERATED_TOKEN_FILE=/t|AZURE_CLIENT_ID=x|GITHUB_ACTIONS=true", "", ""},
		{"a proxy's password", "HTTPS_PROXY=http://me:s3cr3t@proxy:3128|http_proxy=http://proxy:3128", "http_proxy=http://proxy:3128", "HTTPS_PROXY"},
		{"a proxy that is no address", "ALL_PROXY=http://[me:s3cr3t@proxy", "", "ALL_PROXY"},
		{"a folder that depends on where one is", "PATH=.:/usr/bin::bin", "PATH=/usr/bin", ""},
		{"in the wrong spelling", "path=/x|ssl_cert_file=/y", "", ""},
		{"nothing", "HTTPS_PROXY=|PATH=", "", ""},
	} {
		lent, secret := lentEnviron(strings.Split(tt.environ, "|"))
		if got := strings.Join(lent, "|"); got != tt.lent {
			t.Errorf("%s: lent\n%s, want\n%s", tt.name, got, tt.lent)
		}
		if got := strings.Join(secret, "|"); got != tt.secret {
			t.Errorf("%s: left out %s, want %s", tt.name, got, tt.secret)
		}
	}
}

func TestMachineEnviron(t *testing.T) {
	const text = "# PROXY=no\nexport A=\"1 2\"\nB='3'\n  C=4  \nnothing\n\nD=\n"
	if diff := cmp.Diff([]string{"A=1 2", "B=3", "C=4", "D="}, machineEnviron(text)); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
}

// The environment is that of the user's login shell, whatever it prints; a shell that does not end is ended, with what it started.
func TestLoginEnviron(t *testing.T) {
	owner, err := holder.LookupOwner(strconv.Itoa(os.Getuid()))
	if err != nil {
		t.Fatal(err)
	}
	owner.Home = t.TempDir()
	profile := filepath.Join(owner.Home, ".profile")
	put(t, profile, "echo Welcome\necho 'PATH=/nowhere'\nexport AZURE_CONFIG_DIR=\"$HOME/a b\" PATH=\"/opt/az/bin:$PATH\"\n", 0o600)
	environ, err := loginEnviron(t.Context(), owner)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"AZURE_CONFIG_DIR": owner.Home + "/a b", "USER": owner.Name, "HOME": owner.Home} {
		if got := valueOf(environ, name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	if path := valueOf(environ, "PATH"); !strings.HasPrefix(path, "/opt/az/bin:") {
		t.Errorf("PATH = %q", path)
	}
	put(t, profile, "setsid sleep 600 & echo $! >$HOME/pid\nexport AZURE_CONFIG_DIR=/left\n", 0o600)
	environ, err = loginEnviron(t.Context(), owner)
	if err != nil || valueOf(environ, "AZURE_CONFIG_DIR") != "/left" {
		t.Errorf("of a shell that leaves something running: %v", err)
	}
	endLeft(t, filepath.Join(owner.Home, "pid"))
	put(t, profile, "sleep 600 & wait\n", 0o600)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := loginEnviron(ctx, owner); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("of a shell that does not end: %v", err)
	}
}

// endLeft ends the process with the number in a file.
func endLeft(t *testing.T, path string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err == nil {
		err = syscall.Kill(pid, syscall.SIGKILL)
	}
	if err != nil {
		t.Error(err)
	}
}

// What a server would find is told without a question to anybody; without its tool, or with a mistake, nothing is installed.
func TestLook(t *testing.T) {
	const signedIn = `{"subscriptions":[{"id":"s","name":"n","isDefault":true,"state":"Enabled","environmentName":"AzureCloud","tenantId":"` +
		testTenant + `","user":{"name":"alice@contoso.com","type":"user"}}]}`
	alice := control.Account{Name: "alice@contoso.com", Tenant: testTenant, SignedIn: testTenant, Type: "user"}
	for _, tt := range []struct {
		name, profile string
		environ       map[string]string
		want          control.Account
		pins          string
		err           string
	}{
		{name: "signed in", profile: signedIn, want: alice, pins: "AZIMDS_PIN_ACCOUNT=alice@contoso.com AZIMDS_PIN_TENANT=" + testTenant},
		{name: "signed out", profile: "{}", want: control.Account{Error: "nobody is signed in to the Azure CLI", Hint: "az login"}},
		{name: "emulated", environ: map[string]string{"AZIMDS_CREDENTIAL": "emulated"}, want: control.Account{
			Name: "00000000-e000-4000-8000-000000000002", Tenant: "00000000-e000-4000-8000-000000000001", Type: "app"}},
		{name: "no az", environ: map[string]string{"PATH": "/nowhere", "HOME": "/nowhere"}, err: "neither in PATH nor where"},
		{name: "a mistake", environ: map[string]string{"AZIMDS_CREDENTIAL": "az"}, err: "AZIMDS_CREDENTIAL"},
		{name: "a job of GitHub's, which a service is not in", environ: map[string]string{"AZIMDS_CREDENTIAL": "github-actions"},
			err: "ACTIONS_ID_TOKEN_REQUEST_URL is not set"},
		{name: "a job of Azure Pipelines, likewise", environ: map[string]string{"AZIMDS_CREDENTIAL": "azure-pipelines"},
			err: "SYSTEM_OIDCREQUESTURI is not set"},
		{name: "a token that a service does not have", environ: map[string]string{
			"AZIMDS_CREDENTIAL": "workload-identity", "AZIMDS_WORKLOAD_IDENTITY_TOKEN_ENV": "ID_TOKEN"}, err: "ID_TOKEN is not set"},
		{name: "no secret", environ: map[string]string{"AZIMDS_CREDENTIAL": "client-secret"}, err: "client-secret.client-id"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			folder := t.TempDir()
			put(t, filepath.Join(folder, "azureProfile.json"), tt.profile, 0o600)
			bareHome(t, map[string]string{"AZURE_CONFIG_DIR": folder})
			for name, value := range tt.environ {
				t.Setenv(name, value)
			}
			p, err := look(newPreview())
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("look = %v, want %q", err, tt.err)
				}
				return
			}
			if diff := cmp.Diff(tt.want, p.Account); diff != "" || err != nil {
				t.Errorf("account (-want +got):\n%s%v", diff, err)
			}
			if got := strings.Join(p.pins(), " "); got != tt.pins {
				t.Errorf("pins %q, want %q", got, tt.pins)
			}
		})
	}
}

// Root is made to run only what root alone can write; with a package it is the package's program.
func TestProgramOf(t *testing.T) {
	writable := filepath.Join(t.TempDir(), "azimds")
	put(t, writable, "", 0o777)
	if err := os.Chmod(writable, 0o777); err != nil {
		t.Fatal(err)
	}
	packaged, empty := t.TempDir(), t.TempDir()
	text, err := systemd.Unit(systemd.HolderUnit)
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(packaged, "usr/lib/systemd/system", systemd.HolderUnit), text, 0o644)
	shell, err := filepath.EvalSymlinks("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, root, self, want, mended string }{
		{"a package's", packaged, writable, "", ""},
		{"root's own", empty, "/bin/sh", shell, ""},
		{"anybody's", empty, writable, "", "sudo install -m 755 " + writable + " /usr/local/bin/azimds && sudo /usr/local/bin/azimds"},
	} {
		got, err := programOf(tt.root, func() (string, error) { return tt.self, nil })
		if hints := strings.Join(config.Commands(err), "\n"); got != tt.want || (err != nil) != (tt.mended != "") || !strings.HasPrefix(hints, tt.mended) {
			t.Errorf("%s: %q, %v, mended by %q", tt.name, got, err, hints)
		}
	}
}

func TestBooted(t *testing.T) {
	root := t.TempDir()
	if err := booted(root); !errors.Is(err, errNoSystemd) {
		t.Errorf("without systemd: %v", err)
	}
	if err := os.MkdirAll(filepath.Join(root, "run/systemd/system"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := booted(root); err != nil {
		t.Errorf("with systemd: %v", err)
	}
}

// Each service has what is its business of the flags, as variables, and a user whom a unit cannot name is named by number.
func TestServiceSettings(t *testing.T) {
	cmd := newInstall()
	if err := cmd.ParseFlags([]string{"--user=x", "--mode=dummy", "--credential=emulated", "--log-level=debug", "--zones=docker0", "--tenant="}); err != nil {
		t.Fatal(err)
	}
	forHolder, forServer := serviceSettings(cmd, holder.Owner{Name: `CORP\alice`, UID: 1000})
	want := [][]string{
		{"AZIMDS_MODE=dummy", "AZIMDS_USER=1000", "AZIMDS_ZONES=docker0", "AZIMDS_LOG_LEVEL=debug"},
		{"AZIMDS_MODE=dummy", "AZIMDS_ZONES=docker0", "AZIMDS_CREDENTIAL=emulated", "AZIMDS_LOG_LEVEL=debug"},
	}
	if diff := cmp.Diff(want, [][]string{forHolder, forServer}); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
	if c, err := holderConfig(given(cmd)); err != nil || c.Mode != config.ModeDummy {
		t.Errorf("the holder reads %+v, %v", c, err)
	}
	if _, err := holderConfig(map[string]string{"mode": "tun"}); err == nil || explain(err).Hint != "azimds install --help" {
		t.Errorf("a mode that is none: %v", err)
	}
}

// The plan is printed with what it means and the command that does it.
func TestInstallPrints(t *testing.T) {
	args := os.Args
	t.Cleanup(func() { os.Args = args })
	os.Args = []string{"azimds", "install", "--mode", "dummy"}
	i := &installation{
		owner: holder.Owner{Name: "alice", UID: 1000}, account: control.Account{Name: "alice@contoso.com", Type: "user"}, notes: []string{"one", "two"},
	}
	var err error
	i.plan, err = systemd.Install(systemd.Service{User: "alice", Holder: []string{"AZIMDS_USER=alice"}}, systemd.Host{Group: true})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := errors.Join(i.print(&out), printUninstall(&out, systemd.Uninstall(systemd.Host{AnyActive: true}))); err != nil {
		t.Fatal(err)
	}
	sudo := ""
	if os.Geteuid() != 0 {
		sudo = "sudo "
	}
	for _, want := range []string{
		"write /etc/systemd/system/azimds.service.d/azimds.conf (mode 0644)\n", "    User=alice\n",
		"get tokens of\nalice@contoso.com (user).", "AZURE_TOKEN_CREDENTIALS=dev", "azimds pause", "azimds policy explain", "\nNote: one\n\nNote: two\n",
		fmt.Sprintf("This does it:\n  %sazimds install --mode dummy --user alice --commit\n", sudo),
		"run systemctl stop azimds-net.service azimds.service\n", fmt.Sprintf("This does it:\n  %sazimds uninstall --commit\n", sudo),
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the plan does not say %q:\n%s", want, &out)
		}
	}
}

// An error that is mended by other settings is mended by those of the service; where there can be none, by a run.
func TestForService(t *testing.T) {
	f, ok := errors.AsType[*holder.Failure](forService(fmt.Errorf("choosing: %w", netsetup.ErrNoDummy)))
	if !ok || !strings.Contains(f.Hint, "azimds install --mode loopback") || strings.Contains(f.Hint, "azimds run") {
		t.Errorf("failure = %+v", f)
	}
	f, ok = errors.AsType[*holder.Failure](forService(booted(t.TempDir())))
	if !ok || f.Hint != "azimds run --detach" {
		t.Errorf("failure = %+v", f)
	}
}
