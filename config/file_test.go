package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFileErrors(t *testing.T) {
	tests := []struct {
		name, yaml string
		want       []string // one a finding, after the file's name
	}{
		{"unknown key", "mod: auto", []string{`unknown key "mod"; did you mean mode?`}},
		{"unknown key far from all", "flavour: red", []string{`unknown key "flavour"`}},
		{"short and far from all", "odd: 1", []string{`unknown key "odd"`}},
		{"two letters swapped", "mdoe: auto", []string{`unknown key "mdoe"; did you mean mode?`}},
		{"unknown key in section", "log: {levle: info}", []string{`unknown key "log.levle"; did you mean log.level?`}}, //nolint:misspell // that is the point
		{"key without its section", "level: info", []string{`unknown key "level"; did you mean log.level?`}},
		{"key of two sections", "client-id: x", []string{`unknown key "client-id"; did you mean client-secret.client-id, ` +
			`client-certificate.client-id, workload-identity.client-id, github-actions.client-id, azure-pipelines.client-id, ` +
			`username-password.client-id, device-code.client-id or emulated.client-id?`}},
		{"unknown section", "logs: {level: info}", []string{`unknown key "logs"; did you mean log?`}},
		{"underscore", "shadow_metadata: true", []string{`unknown key "shadow_metadata"; did you mean shadow-metadata?`}},
		{"capital", "Mode: auto", []string{`unknown key "Mode"; did you mean mode?`}},
		{"number as key", "7: auto", []string{`unknown key "7"`}},
		{"exact twice", "mode: auto\nmode: auto", []string{`yaml: unmarshal errors: line 2: mapping key "mode" already defined at line 1`}},
		{"dotted and nested", "log.level: info\nlog: {level: warn}", []string{`log.level is set twice`}},
		{"word", "mode: nat", []string{`mode is "nat", must be auto, iptables, loopback or dummy`}},
		{"section for a word", "mode: {name: auto}", []string{`mode is a section, must be auto, iptables, loopback or dummy`}},
		{"list for a word", "credential: [azure-cli]", []string{`credential is a list, must be azure-cli, azure-developer-cli, ` +
			`azure-powershell, device-code, client-secret, client-certificate, workload-identity, github-actions, azure-pipelines, ` +
			`username-password, environment, auto or emulated`}},
		{"word for a section", "log: debug", []string{`log is a section, its keys are log.level and log.format`}},
		{"list for a section", "emulated: [lifetime]", []string{`emulated is a section, its keys are emulated.tenant, emulated.client-id, ` +
			`emulated.object-id, emulated.resource-id and emulated.lifetime`}},
		{"number for a text", "user: 1000", []string{`user is 1000, must be empty, a login name or a uid`}},
		{"date for a text", "tenant: 2024-01-01", []string{`tenant is 2024-01-01 00:00:00 +0000 UTC, must be empty, a tenant's GUID or one of its domains`}},
		{"text for a boolean", "shadow-metadata: maybe", []string{`shadow-metadata is "maybe", must be true or false`}},
		{"capital level", "log: {level: INFO}", []string{`log.level is "INFO", must be debug, info, warn or error`}},
		{"offset level", "log: {level: info+1}", []string{`log.level is "info+1", must be debug, info, warn or error`}},
		{"bare number for a duration", "azure-cli: {timeout: 30}", []string{`azure-cli.timeout is 30, must be a duration from 1s to 5m with its unit, such as 90s`}},
		{"duration too long", "azure-cli: {timeout: 1h}", []string{`azure-cli.timeout is "1h", must be a duration from 1s to 5m with its unit, such as 90s`}},
		{"fraction", "limits: {connections: 1.5}", []string{`limits.connections is 1.5, must be a whole number from 1 to 65535`}},
		{"zero", "limits: {connections: 0}", []string{`limits.connections is 0, must be a whole number from 1 to 65535`}},
		{"relative path", "ca-file: ~/ca.pem", []string{`ca-file is "~/ca.pem", must be empty or an absolute path`}},
		{"plain http", "authority-host: http://login.example", []string{`authority-host is "http://login.example", must be empty or an https URL without a path, such as https://login.microsoftonline.us`}},
		{"authority with path", "authority-host: https://login.example/common", []string{`authority-host is "https://login.example/common", must be empty or an https URL without a path, such as https://login.microsoftonline.us`}},
		{"several at once", "mode: x\nfoo: y\nlog: {format: z}", []string{
			`unknown key "foo"`, `log.format is "z", must be text or json`, `mode is "x", must be auto, iptables, loopback or dummy`}},
		{"second document", "mode: auto\n---\ncredential: emulated", []string{`more than one YAML document, only the first would count`}},
		{"after old line ends", "mode: auto\r---\rcredential: emulated", []string{`more than one YAML document, only the first would count`}},
		{"after document end", "mode: auto\n...\ncredential: emulated", []string{`more than one YAML document, only the first would count`}},
		{"no mapping", "hunter2", []string{`not of the form "key: value"`}},
		{"broken", "mode: [", []string{`yaml: line 1: did not find expected node content`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := write(t, tt.yaml)
			_, err := load(Sources{System: path}, guard{lstat: rootsHost})
			if err == nil {
				t.Fatal("loaded")
			}
			var got []string
			for line := range strings.Lines(err.Error()) {
				line = strings.TrimPrefix(strings.TrimSuffix(line, "\n"), "parsing ")
				got = append(got, strings.TrimPrefix(line, `"`+path+`": `))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFilesThatSetNothing(t *testing.T) {
	for name, yaml := range map[string]string{
		"empty":             "",
		"comments":          "# mode: auto\n  # indented\n",
		"null":              "null",
		"marked":            "%YAML 1.1\n# why\n---\n# mode: auto\n...\n",
		"keys commented":    "log:\n  # level: debug\ntenant:\n",
		"an empty section":  "log: {}",
		"marker in a block": "---\nuser: |-\n  ---\n  ...\n",
	} {
		t.Run(name, func(t *testing.T) {
			got, err := load(Sources{File: write(t, yaml)}, guard{lstat: rootsHost})
			if name == "marker in a block" { // one document; its user is refused
				if err == nil || strings.Contains(err.Error(), "document") {
					t.Fatalf("err = %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(Default(), got.Config); diff != "" {
				t.Errorf("config (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMissingFiles(t *testing.T) {
	absent := filepath.Join(t.TempDir(), "absent", "config.yaml")
	if _, err := Load(Sources{System: absent, User: "/dev/null/.config/azimds/config.yaml"}); err != nil {
		t.Errorf("optional files: %v", err)
	}
	for _, root := range []bool{false, true} {
		_, err := Load(Sources{File: absent, RootOnly: root})
		if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(message(err), absent) {
			t.Errorf("named file, RootOnly %t: err = %v, want that %s does not exist", root, err, absent)
		}
	}
}

func TestFilesThatAreNone(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	large := write(t, strings.Repeat("#\n", maxFile/2)+"#")
	loose := write(t, "mode: auto")
	if err := os.Chmod(loose, 0o666); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		pipe:  "open " + pipe + ": not a regular file",
		dir:   "open " + dir + ": not a regular file",
		large: `"` + large + `" is larger than 1048576 bytes`,
		loose: `"` + loose + `" has mode 0666, everybody can write it: chmod o-w '` + loose + `'`,
	} {
		_, err := load(Sources{File: path}, guard{lstat: alicesHost})
		if got := mended(err); got != "reading configuration: "+want {
			t.Errorf("err = %s\nwant %s", got, want)
		}
	}
}

// Whatever a person mistakes for the place of a secret, no error repeats it.
func TestErrorsRepeatNoSecret(t *testing.T) {
	const secret = "s3cr3t~hunter2"
	for _, yaml := range []string{
		secret,
		"client-secret: " + secret,
		"client-secret: {secret: " + secret + "}",
		"client-secret: {client-secret: " + secret + "}",
		"client-secret: {Secret: " + secret + "}",
		"client-secret: {secret-file: " + secret + "}",
		"client-secret: {secret-env: " + secret + "}",
		"client-secret: {secret-env: {value: " + secret + "}}",
		"password: " + secret,
		"workload-identity: {token: " + secret + "}",
		"azure-cli: {key: " + secret + "}",
		"[" + secret + "]: 1",
		"authority-host: https://me:" + secret + "@login.example",
	} {
		_, err := Load(Sources{File: write(t, yaml)})
		if err == nil || strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s\nerr = %v", yaml, err)
		}
	}
	_, err := Load(Sources{File: write(t, "client-secret: {secret: "+secret+"}")})
	if err == nil || !strings.Contains(err.Error(), "secret-file") || !strings.Contains(err.Error(), "secret-env") {
		t.Errorf("err = %v, want a hint to secret-file and secret-env", err)
	}
}
