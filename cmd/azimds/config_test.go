package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// invoke runs a command of the program in this process, with no settings of this machine's but the machine's own file.
func invoke(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, &out, &errs)
	return out.String(), errs.String(), code
}

// home is an empty home with a folder for configuration; it is the home of this process, too.
func home(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	t.Setenv("XDG_CONFIG_HOME", "")
	t.Setenv("AZURE_CONFIG_DIR", "")
	t.Setenv("PATH", os.Getenv("PATH")) // opening a credential may add to it
	return dir
}

func TestConfigShow(t *testing.T) {
	home(t)
	t.Setenv("AZIMDS_TENANT", "contoso.com")
	t.Setenv("AZIMDS_POLICY", `[{users: [bob], resources: ["https://*.vault.azure.net"]}]`)
	out, errs, code := invoke(t, "config", "show", "--changed", "--json", "--mode", "iptables", "--zones", "docker0,br-*")
	if code != 0 || errs != "" {
		t.Fatalf("exit %d: %s", code, errs)
	}
	var got []setting
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	want := []setting{
		{"mode", "iptables", "--mode"},
		{"zones", "[docker0, br-*]", "--zones"},
		{"policy", "[{users: [bob], resources: [https://*.vault.azure.net]}]", "AZIMDS_POLICY"},
		{"tenant", "contoso.com", "AZIMDS_TENANT"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
	out, _, code = invoke(t, "config", "show")
	if code != 0 || !strings.Contains(out, "\ntenant: contoso.com                        # AZIMDS_TENANT\n") {
		t.Errorf("exit %d:\n%s", code, out)
	}
	// What is shown is a configuration; the file of this test is not root's alone, so a policy may not be in it.
	t.Setenv("AZIMDS_POLICY", "")
	out, _, _ = invoke(t, "config", "show", "--changed")
	if _, errs, code := invoke(t, "config", "check", file(t, out)); code != 0 {
		t.Errorf("check of what show printed: exit %d: %s", code, errs)
	}
}

func TestConfigCheck(t *testing.T) {
	dir := home(t)
	readable := filepath.Join(dir, "readable")
	if err := os.WriteFile(readable, []byte("s3cr3t"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(readable, 0o644); err != nil {
		t.Fatal(err)
	}
	application := "credential: client-secret\ntenant: contoso.com\nclient-secret.client-id: " + testClient + "\n"
	for _, tt := range []struct {
		name, yaml string
		code       int
		want       []string // in what is said, each a line
	}{
		{"valid", "credential: emulated", 0, []string{"read FILE", "the configuration is valid; credential: emulated"}},
		{"everything at once", "foo: 1\nlog.level: loud\ncredental: azure-cli", 2, []string{
			`azimds: "FILE": unknown key "credental"; did you mean credential?`,
			`"FILE": unknown key "foo"`,
			`"FILE": log.level is "loud", must be debug, info, warn or error`,
			`  "${EDITOR:-vi}" 'FILE'`,
		}},
		{"tenant and subscription", "tenant: contoso.com\nazure-cli.subscription: dev", 2, []string{
			`azimds: tenant is "contoso.com" and azure-cli.subscription is "dev", must be one of them: az takes no more`, "  azimds config init"}},
		{"a secret that others can read", application + "client-secret.secret-file: " + readable, 2, []string{
			`azimds: secret file "SECRET" has mode 0644, others than its owner can use it`, `  chmod 600 'SECRET'`}},
		{"not a file", "", 2, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "absent")
			if tt.yaml != "" {
				path = file(t, tt.yaml)
			}
			out, errs, code := invoke(t, "config", "check", path)
			said := strings.NewReplacer(path, "FILE", readable, "SECRET").Replace(out + errs)
			if code != tt.code || strings.Contains(said, "s3cr3t") {
				t.Errorf("exit %d: %s", code, said)
			}
			for _, line := range tt.want {
				if !strings.Contains("\n"+said, "\n"+line+"\n") {
					t.Errorf("not said: %s\n%s", line, said)
				}
			}
		})
	}
}

// A file that the owner can write lets nobody in.
func TestConfigCheckOfWhatRootAloneMaySet(t *testing.T) {
	home(t)
	_, errs, code := invoke(t, "config", "check", file(t, "callers.users: [bob]\nzones: [docker0]\npolicy: [{deny: true}]"))
	if code != 2 {
		t.Errorf("exit %d: %s", code, errs)
	}
	for _, want := range []string{
		"callers.users may be set by --allow-users, by AZIMDS_CALLERS_USERS or in a file that root alone can write, such as /etc/azimds/config.yaml: ",
		"zones may be set by --zones, by AZIMDS_ZONES or in a file that root alone can write, such as /etc/azimds/config.yaml: ",
		"policy may be set by AZIMDS_POLICY or in a file that root alone can write, such as /etc/azimds/config.yaml: ",
	} {
		if !strings.Contains(errs, want) {
			t.Errorf("not said: %s\n%s", want, errs)
		}
	}
}

func TestConfigInit(t *testing.T) {
	file := filepath.Join(home(t), "new", "config.yaml")
	out, errs, code := invoke(t, "config", "init", file)
	if code != 0 || out != "wrote "+file+"\n" {
		t.Fatalf("exit %d: %s%s", code, out, errs)
	}
	if out, errs, code := invoke(t, "config", "check", file); code != 0 {
		t.Errorf("check of it: exit %d: %s%s", code, out, errs)
	}
	if err := os.WriteFile(file, []byte("tenant: contoso.com\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, errs, code = invoke(t, "config", "init", file)
	if code != 1 || !strings.Contains(errs, "it is there already and stays as it is") {
		t.Errorf("over a file: exit %d: %s", code, errs)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "tenant: contoso.com\n" {
		t.Errorf("the file is now %q, %v", text, err)
	}
	printed, _, code := invoke(t, "config", "init", "-")
	if code != 0 || !strings.Contains(printed, "\n#credential: azure-cli\n") {
		t.Errorf("init -: exit %d: %s", code, printed)
	}
}

// TestCompletion wants every flag with few values completed by all of them, for each command that has it.
func TestCompletion(t *testing.T) {
	home(t)
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"run", "--mode", ""}, "auto\niptables\nloopback\ndummy\n:4\n"},
		{[]string{"net", "up", "--mode", ""}, "auto\niptables\nloopback\ndummy\n:4\n"},
		{[]string{"run", "--zones", ""}, ":4\n"},
		{[]string{"exec", "--log-level", ""}, "debug\ninfo\nwarn\nerror\n:4\n"},
	} {
		out, _, code := invoke(t, append([]string{"__complete"}, tt.args...)...)
		if code != 0 || out != tt.want {
			t.Errorf("%q: exit %d: %q, want %q", tt.args, code, out, tt.want)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if out, errs, code := invoke(t, "completion", shell); code != 0 || !strings.Contains(out, "azimds") || errs != "" {
			t.Errorf("completion %s: exit %d: %.100s %s", shell, code, out, errs)
		}
	}
}
