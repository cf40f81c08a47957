package failures

import (
	"os"
	"path/filepath"
)

// inputs are command lines and settings that cannot be meant.
func inputs() []failure {
	const good = "credential: emulated\n"
	// A file with something wrong in it is put right in an editor, and the agent starts.
	file := func(name, bad string) failure {
		return failure{name: name, given: configured(bad), does: "azimds run --detach", fixed: good, mends: true}
	}
	missing := file("missing file", good)
	missing.does += " --config missing.yaml"
	variables := failure{name: "invalid variables", does: "azimds run --detach", env: []string{"AZIMDS_MODE=bridge", "AZIMDS_LOG_LEVEL=loud"}}
	authority := file("authority without TLS", "authority-host: http://login.example\ncredential: client-secret\ntenant: contoso.com\nclient-secret:\n  client-id: "+appClient+"\n  secret-env: S\n")
	check := file("check of a file", "credential: magic\n")
	check.does = "azimds config check"
	return []failure{
		{name: "unknown command", does: "azimds rnu"},
		{name: "unknown flag", does: "azimds run --modus loopback"},
		{name: "unknown flag of a group", does: "azimds net --dry-run"},
		{name: "surplus argument", does: "azimds run loopback"},
		{name: "missing argument", does: "azimds token"},
		{name: "unknown user", does: "azimds run --user no-such-user"},
		{name: "invalid flags", does: "azimds run --mode bridge --log-level loud"},
		variables,
		file("unknown key", "credentail: emulated\n"),
		file("several invalid values", "credential: magic\nazure-cli:\n  timeout: soon\nlimits:\n  connections: many\nlog:\n  level: loud\n"),
		file("not YAML", "credential\n"),
		file("secret as a value", "client-secret:\n  secret: "+appSecret+"\n"),
		file("privileged key in a person's file", "mode: loopback\n"),
		file("tenant and subscription", "tenant: contoso.com\nazure-cli:\n  subscription: test\n"),
		authority, missing, check,
		{name: "mode and endpoint", does: "azimds run --mode loopback --endpoint app-service"},
		{name: "endpoint that is none", does: "azimds run --endpoint msi"},
		{name: "form of variables that is none", does: "azimds env --shell csh"},
		{name: "incomplete credential", does: "azimds run --credential client-secret"},
		{name: "configuration there already", given: configured(good), does: "azimds config init"},
	}
}

// configured writes pat's configuration file.
func configured(text string) func(*world) {
	return func(w *world) { w.write(".config/azimds/config.yaml", text, 0o644) }
}

// write writes a file of pat's, under the home folder.
func (w *world) write(name, text string, mode os.FileMode) {
	w.t.Helper()
	path := filepath.Join(w.home, name)
	for dir := filepath.Dir(path); dir != w.home; dir = filepath.Dir(dir) {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			w.t.Fatal(err)
		}
		if err := os.Chown(dir, patUID, patUID); err != nil {
			w.t.Fatal(err)
		}
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Chown(path, patUID, patUID); err != nil {
		w.t.Fatal(err)
	}
}
