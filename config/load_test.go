package config

import (
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	someGUID     = "0f8fad5b-d9cb-469f-a165-70867728950e"
	someResource = "/subscriptions/" + someGUID + "/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id"
)

// settings has one case a key: the key in a file, the text of a variable or flag, and what it does to the default.
var settings = map[string]struct {
	yaml, text string
	want       func(*Config)
}{
	"mode":            {"mode: iptables", "iptables", func(c *Config) { c.Mode = ModeIPTables }},
	"user":            {"user: alice", "alice", func(c *Config) { c.User = "alice" }},
	"shadow-metadata": {"shadow-metadata: true", "true", func(c *Config) { c.ShadowMetadata = true }},
	"endpoint.kind":   {"endpoint: {kind: app-service}", "app-service", func(c *Config) { c.Endpoint.Kind = EndpointAppService }},
	"endpoint.port":   {"endpoint: {port: 41741}", "41741", func(c *Config) { c.Endpoint.Port = 41741 }},
	"callers.users":   {"callers: {users: [bob, 1001]}", "bob, 1001", func(c *Config) { c.Callers.Users = []string{"bob", "1001"} }},
	"callers.groups": {
		"callers: {groups: [developers]}", "developers", func(c *Config) { c.Callers.Groups = []string{"developers"} }},
	"callers.any-local": {"callers: {any-local: true}", "true", func(c *Config) { c.Callers.AnyLocal = true }},
	"callers.containers": {
		"callers: {containers: ['*']}", `["*"]`, func(c *Config) { c.Callers.Containers = []string{Any} }},
	"callers.relays": {
		"callers: {relays: [ssh, pasta]}", "ssh,pasta", func(c *Config) { c.Callers.Relays = []string{"ssh", "pasta"} }},
	"zones": {"zones: [docker0, {bridge: br-*}]", "docker0,br-*", func(c *Config) { c.Zones = []Zone{{Bridge: "docker0"}, {Bridge: "br-*"}} }},
	"policy": {"policy:\n- users: [bob]\n  deny: true\n- {rate: 5}", "[{users: [bob], deny: true}, {rate: 5}]",
		func(c *Config) { c.Policy = []Rule{{Users: []string{"bob"}, Deny: true}, {Rate: 5}} }},
	"credential":             {"credential: emulated", "emulated", func(c *Config) { c.Credential = CredentialEmulated }},
	"tenant":                 {"tenant: contoso.com", "contoso.com", func(c *Config) { c.Tenant = "contoso.com" }},
	"cloud":                  {"cloud: usgov", "usgov", func(c *Config) { c.Cloud = CloudUSGov }},
	"authority-host":         {"authority-host: https://login.example/", "https://login.example/", func(c *Config) { c.AuthorityHost = "https://login.example" }},
	"ca-file":                {"ca-file: /etc/ca.pem", "/etc/ca.pem", func(c *Config) { c.CAFile = "/etc/ca.pem" }},
	"notify":                 {"notify: logger hello", "logger hello", func(c *Config) { c.Notify = "logger hello" }},
	"log.level":              {"log: {level: warn}", "warn", func(c *Config) { c.Log.Level = slog.LevelWarn }},
	"log.format":             {"log: {format: json}", "json", func(c *Config) { c.Log.Format = FormatJSON }},
	"azure-cli.timeout":      {"azure-cli: {timeout: 2m}", "2m", func(c *Config) { c.AzureCLI.Timeout = 2 * time.Minute }},
	"azure-cli.config-dir":   {"azure-cli: {config-dir: /home/pat/.azure}", "/home/pat/.azure", func(c *Config) { c.AzureCLI.ConfigDir = "/home/pat/.azure" }},
	"azure-cli.subscription": {"azure-cli: {subscription: Pay as you go}", "Pay as you go", func(c *Config) { c.AzureCLI.Subscription = "Pay as you go" }},
	"client-secret.client-id": {
		"client-secret: {client-id: " + someGUID + "}", someGUID, func(c *Config) { c.ClientSecret.ClientID = someGUID }},
	"client-secret.secret-file": {
		"client-secret: {secret-file: /run/s}", "/run/s", func(c *Config) { c.ClientSecret.SecretFile = "/run/s" }},
	"client-secret.secret-env": {
		"client-secret: {secret-env: APP_SECRET}", "APP_SECRET", func(c *Config) { c.ClientSecret.SecretEnv = "APP_SECRET" }},
	"client-certificate.client-id": {
		"client-certificate: {client-id: " + someGUID + "}", someGUID, func(c *Config) { c.ClientCertificate.ClientID = someGUID }},
	"client-certificate.file": {
		"client-certificate: {file: /run/c.pem}", "/run/c.pem", func(c *Config) { c.ClientCertificate.File = "/run/c.pem" }},
	"client-certificate.password-file": {
		"client-certificate: {password-file: /run/p}", "/run/p", func(c *Config) { c.ClientCertificate.PasswordFile = "/run/p" }},
	"client-certificate.send-chain": {
		"client-certificate: {send-chain: true}", "true", func(c *Config) { c.ClientCertificate.SendChain = true }},
	"workload-identity.client-id": {
		"workload-identity: {client-id: " + someGUID + "}", someGUID, func(c *Config) { c.WorkloadIdentity.ClientID = someGUID }},
	"workload-identity.token-file": {
		"workload-identity: {token-file: /run/t}", "/run/t", func(c *Config) { c.WorkloadIdentity.TokenFile = "/run/t" }},
	"workload-identity.token-env": {
		"workload-identity: {token-env: ID_TOKEN}", "ID_TOKEN", func(c *Config) { c.WorkloadIdentity.TokenEnv = "ID_TOKEN" }},
	"github-actions.client-id": {
		"github-actions: {client-id: " + someGUID + "}", someGUID, func(c *Config) { c.GitHubActions.ClientID = someGUID }},
	"azure-pipelines.service-connection-id": {
		"azure-pipelines: {service-connection-id: " + someGUID + "}", someGUID,
		func(c *Config) { c.AzurePipelines.ServiceConnectionID = someGUID }},
	"azure-pipelines.client-id": {
		"azure-pipelines: {client-id: " + someGUID + "}", someGUID, func(c *Config) { c.AzurePipelines.ClientID = someGUID }},
	"username-password.client-id": {
		"username-password: {client-id: " + someGUID + "}", someGUID, func(c *Config) { c.UsernamePassword.ClientID = someGUID }},
	"username-password.username": {
		"username-password: {username: a@b.c}", "a@b.c", func(c *Config) { c.UsernamePassword.Username = "a@b.c" }},
	"username-password.password-file": {
		"username-password: {password-file: /run/p}", "/run/p", func(c *Config) { c.UsernamePassword.PasswordFile = "/run/p" }},
	"device-code.client-id": {
		"device-code: {client-id: " + someGUID + "}", someGUID, func(c *Config) { c.DeviceCode.ClientID = someGUID }},
	"pin.account":          {"pin: {account: a@b.c}", "a@b.c", func(c *Config) { c.Pin.Account = "a@b.c" }},
	"pin.tenant":           {"pin: {tenant: " + someGUID + "}", someGUID, func(c *Config) { c.Pin.Tenant = someGUID }},
	"emulated.tenant":      {"emulated: {tenant: " + someGUID + "}", someGUID, func(c *Config) { c.Emulated.Tenant = someGUID }},
	"emulated.client-id":   {"emulated: {client-id: " + someGUID + "}", someGUID, func(c *Config) { c.Emulated.ClientID = someGUID }},
	"emulated.object-id":   {"emulated: {object-id: " + someGUID + "}", someGUID, func(c *Config) { c.Emulated.ObjectID = someGUID }},
	"emulated.resource-id": {"emulated: {resource-id: " + someResource + "}", someResource, func(c *Config) { c.Emulated.ResourceID = someResource }},
	"emulated.lifetime":    {"emulated: {lifetime: 90m}", "90m", func(c *Config) { c.Emulated.Lifetime = 90 * time.Minute }},
	"limits.connections":   {"limits: {connections: 7}", "7", func(c *Config) { c.Limits.Connections = 7 }},
	"limits.rate":          {"limits: {rate: 30}", "30", func(c *Config) { c.Limits.Rate = 30 }},
}

// rootsHost makes every file there is look like root's own, so that the tests need no root.
func rootsHost(path string) (status, error) {
	if _, err := os.Lstat(path); err != nil {
		return status{}, err
	}
	return status{mode: 0o644}, nil
}

// alicesHost makes every file there is look like that of uid 1000.
func alicesHost(path string) (status, error) {
	s, err := rootsHost(path)
	s.uid = 1000
	return s, err
}

// write puts text in a new file and returns its path.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestEveryKeyFromEverySource(t *testing.T) {
	if diff := cmp.Diff(keyNames(), slices.Sorted(maps.Keys(settings))); diff != "" {
		t.Fatalf("keys without a case here (-registry +cases):\n%s", diff)
	}
	for _, k := range keys {
		set := settings[k.Name]
		check := func(t *testing.T, s Sources, origin string) {
			t.Helper()
			got, err := load(s, guard{lstat: rootsHost})
			if err != nil {
				t.Fatal(err)
			}
			want := Loaded{Config: Default(), Origins: map[string]string{}}
			set.want(&want.Config)
			for _, other := range keys {
				want.Origins[other.Name] = OriginDefault
			}
			want.Origins[k.Name] = origin
			if filepath.IsAbs(origin) {
				want.Files = []string{origin}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("loaded (-want +got):\n%s", diff)
			}
		}
		t.Run(k.Name+"/file", func(t *testing.T) {
			path := write(t, set.yaml)
			check(t, Sources{System: path}, path)
			check(t, Sources{User: path}, path)
			check(t, Sources{File: path}, path)
		})
		t.Run(k.Name+"/dotted in file", func(t *testing.T) {
			path := write(t, k.Name+": "+set.text)
			check(t, Sources{File: path}, path)
		})
		t.Run(k.Name+"/environment", func(t *testing.T) {
			check(t, Sources{Environ: []string{"HOME=/root", k.Env() + "=" + set.text}}, k.Env())
		})
		if k.Flag != "" {
			t.Run(k.Name+"/flag", func(t *testing.T) {
				check(t, Sources{Flags: map[string]string{"json": "true", k.Flag: set.text}}, "--"+k.Flag)
			})
		}
	}
}

func keyNames() []string {
	var names []string
	for _, k := range keys {
		names = append(names, k.Name)
	}
	slices.Sort(names)
	return names
}

func TestPrecedence(t *testing.T) {
	var s Sources
	steps := []struct {
		set    func()
		want   string
		origin func() string
	}{
		{func() {}, "", func() string { return OriginDefault }},
		{func() { s.System = write(t, "tenant: system.example") }, "system.example", func() string { return s.System }},
		{func() { s.User = write(t, "tenant: user.example") }, "user.example", func() string { return s.User }},
		{func() { s.File = write(t, "tenant: file.example") }, "file.example", func() string { return s.File }},
		{func() { s.Environ = []string{"AZIMDS_TENANT=env.example"} }, "env.example", func() string { return "AZIMDS_TENANT" }},
		{func() { s.Flags = map[string]string{"tenant": ""} }, "", func() string { return "--tenant" }},
	}
	for _, step := range steps {
		step.set()
		got, err := load(s, guard{lstat: rootsHost})
		if err != nil {
			t.Fatal(err)
		}
		if got.Config.Tenant != step.want || got.Origins["tenant"] != step.origin() {
			t.Errorf("tenant = %q from %s, want %q from %s", got.Config.Tenant, got.Origins["tenant"], step.want, step.origin())
		}
	}
}

// A value's YAML type may differ from one file to the next; the stronger file still wins.
func TestPrecedenceAcrossTypes(t *testing.T) {
	got, err := load(Sources{
		System: write(t, "limits: {connections: 5}\nshadow-metadata: true"),
		User:   write(t, "limits: {connections: '6'}"),
		File:   write(t, "shadow-metadata: 'false'"),
	}, guard{lstat: rootsHost})
	if err != nil {
		t.Fatal(err)
	}
	if got.Config.Limits.Connections != 6 || got.Config.ShadowMetadata {
		t.Errorf("got %+v", got.Config)
	}
}

func TestTextErrors(t *testing.T) {
	_, err := Load(Sources{
		Environ: []string{"AZIMDS_MODE=nat", "AZIMDS_TENANT=", "AZIMDS_LIMITS_CONNECTIONS=many"},
		Flags:   map[string]string{"log-level": "loud"},
	})
	const want = `AZIMDS_LIMITS_CONNECTIONS: limits.connections is "many", must be a whole number from 1 to 65535
AZIMDS_MODE: mode is "nat", must be auto, iptables, loopback or dummy
--log-level: log.level is "loud", must be debug, info, warn or error`
	if err == nil || err.Error() != want {
		t.Errorf("err = %v\nwant %s", err, want)
	}
}

func TestEnvironment(t *testing.T) {
	tests := []struct {
		name    string
		environ []string
		want    string // error, empty for none
	}{
		{"others' variables", []string{"AZIMDSMODE=x", "MODE=x", "AZIMDS_TEST_THING=1", "AZIMDS_CLIENT_SECRET=s3cr3t", "AZIMDS"}, ""},
		{"empty counts as unset", []string{"AZIMDS_MODE="}, ""},
		{"first one counts", []string{"AZIMDS_MODE=auto", "AZIMDS_MODE=x"}, ""},
		{"misspelt", []string{"AZIMDS_LOGLEVEL=debug"}, `unknown environment variable "AZIMDS_LOGLEVEL"; did you mean AZIMDS_LOG_LEVEL?`},
		{"the secret itself", []string{"AZIMDS_CLIENT_SECRET_SECRET=s3cr3t"}, "AZIMDS_CLIENT_SECRET_SECRET: " + errSecretValue.Error()},
		{"the password itself", []string{"AZIMDS_CLIENT_CERTIFICATE_PASSWORD=s3cr3t"},
			"AZIMDS_CLIENT_CERTIFICATE_PASSWORD: " + errSecretValue.Error()},
		{"the token itself", []string{"AZIMDS_WORKLOAD_IDENTITY_TOKEN=eyJ0"}, "AZIMDS_WORKLOAD_IDENTITY_TOKEN: " + errSecretValue.Error()},
		{"named as the token's holder", []string{"AZIMDS_WORKLOAD_IDENTITY_TOKEN=eyJ0", "AZIMDS_WORKLOAD_IDENTITY_TOKEN_ENV=AZIMDS_WORKLOAD_IDENTITY_TOKEN"}, ""},
		{"the token for its variable's name", []string{"AZIMDS_WORKLOAD_IDENTITY_TOKEN_ENV=eyJ0"},
			"AZIMDS_WORKLOAD_IDENTITY_TOKEN_ENV: workload-identity.token-env is [redacted], must be " + variableWant},
		{"named as the secret's holder", []string{"AZIMDS_CLIENT_SECRET_SECRET=s3cr3t", "AZIMDS_CLIENT_SECRET_SECRET_ENV=AZIMDS_CLIENT_SECRET_SECRET"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Load(Sources{Environ: tt.environ})
			if got := message(err); got != tt.want {
				t.Errorf("err = %s\nwant %s", got, tt.want)
			}
		})
	}
}

// mended is an error with what mends it.
func mended(err error) string {
	return strings.Join(append([]string{message(err)}, Commands(err)...), ": ")
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// A process that acts as root does not judge a credential whose keys may be in a file that it does not read.
func TestRootLeavesTheCredentialToWhoUsesIt(t *testing.T) {
	s := Sources{Flags: map[string]string{"credential": "client-secret"}}
	if _, err := load(s, guard{lstat: rootsHost}); err == nil {
		t.Error("a client secret without a tenant, an id or a secret is in order")
	}
	s.RootOnly = true
	if _, err := load(s, guard{lstat: rootsHost}); err != nil {
		t.Error(err)
	}
	s.Flags["credential"] = "secret"
	if _, err := load(s, guard{lstat: rootsHost}); err == nil {
		t.Error("a credential that there is none of is in order")
	}
}
