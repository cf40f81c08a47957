package config

import (
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestDefaultIsValid(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Error(err)
	}
}

func TestValidate(t *testing.T) {
	clientSecret := func(c *Config) {
		c.Credential, c.Tenant, c.ClientSecret.ClientID = CredentialClientSecret, "contoso.com", someGUID
	}
	tests := []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"mode", func(c *Config) { c.Mode = "nat" }, `mode is "nat", must be auto, iptables, loopback or dummy`},
		{"zero mode", func(c *Config) { c.Mode = "" }, `mode is "", must be auto, iptables, loopback or dummy`},
		{"level", func(c *Config) { c.Log.Level = slog.Level(1) }, `log.level is "info+1", must be debug, info, warn or error`},
		{"timeout", func(c *Config) { c.AzureCLI.Timeout = 10 * time.Minute },
			`azure-cli.timeout is "10m", must be a duration from 1s to 5m with its unit, such as 90s`},
		{"two findings", func(c *Config) { c.Limits.Connections = 0; c.User = "-a" },
			`user is "-a", must be empty, a login name or a uid` + "\n" + `limits.connections is "0", must be a whole number from 1 to 65535`},
		{"tenant and subscription", func(c *Config) { c.Tenant = "contoso.com"; c.AzureCLI.Subscription = "dev" },
			`tenant is "contoso.com" and azure-cli.subscription is "dev", must be one of them: az takes no more`},
		{"tenant and subscription of auto", func(c *Config) {
			c.Credential, c.Tenant, c.AzureCLI.Subscription = CredentialAuto, "contoso.com", "dev"
		}, `tenant is "contoso.com" and azure-cli.subscription is "dev", must be one of them: az takes no more`},
		{"subscription of a credential not in use", func(c *Config) {
			c.Credential, c.Tenant, c.AzureCLI.Subscription = CredentialEmulated, "contoso.com", "dev"
		}, ""},
		{"secret in a file", func(c *Config) { clientSecret(c); c.ClientSecret.SecretFile = "/s" }, ""},
		{"secret in a variable", func(c *Config) { clientSecret(c); c.ClientSecret.SecretEnv = "S" }, ""},
		{"no secret", clientSecret,
			"exactly one of client-secret.secret-file and client-secret.secret-env must be set when credential is client-secret, neither is"},
		{"two secrets", func(c *Config) { clientSecret(c); c.ClientSecret.SecretFile = "/s"; c.ClientSecret.SecretEnv = "S" },
			"exactly one of client-secret.secret-file and client-secret.secret-env must be set when credential is client-secret, both are"},
		{"nothing but a secret", func(c *Config) { c.Credential = CredentialClientSecret; c.ClientSecret.SecretEnv = "S" },
			"tenant is empty, must be a tenant's GUID or one of its domains when credential is client-secret\n" +
				"client-secret.client-id is empty, must be a GUID when credential is client-secret"},
		{"certificate", func(c *Config) {
			c.Credential, c.Tenant = CredentialClientCertificate, "contoso.com"
			c.ClientCertificate = ClientCertificate{ClientID: someGUID, File: "/c"}
		}, ""},
		{"no certificate", func(c *Config) { c.Credential = CredentialClientCertificate },
			"tenant is empty, must be a tenant's GUID or one of its domains when credential is client-certificate\n" +
				"client-certificate.client-id is empty, must be a GUID when credential is client-certificate\n" +
				"client-certificate.file is empty, must be an absolute path when credential is client-certificate"},
		{"password", func(c *Config) {
			c.Credential, c.Tenant = CredentialUsernamePassword, "contoso.com"
			c.UsernamePassword = UsernamePassword{Username: "a@contoso.com", PasswordFile: "/p"}
		}, ""},
		{"no password", func(c *Config) { c.Credential = CredentialUsernamePassword },
			"tenant is empty, must be a tenant's GUID or one of its domains when credential is username-password\n" +
				"username-password.username is empty, must be a name like alice@contoso.com when credential is username-password\n" +
				"username-password.password-file is empty, must be an absolute path when credential is username-password"},
		{"federated token of the variables", func(c *Config) { c.Credential = CredentialWorkloadIdentity }, ""},
		{"federated token in a variable", func(c *Config) { c.Credential, c.WorkloadIdentity.TokenEnv = CredentialWorkloadIdentity, "T" }, ""},
		{"two federated tokens", func(c *Config) {
			c.Credential, c.WorkloadIdentity.TokenEnv, c.WorkloadIdentity.TokenFile = CredentialWorkloadIdentity, "T", "/t"
		}, "at most one of workload-identity.token-file and workload-identity.token-env may be set when credential is workload-identity, both are"},
		{"two federated tokens of auto", func(c *Config) {
			c.Credential, c.WorkloadIdentity.TokenEnv, c.WorkloadIdentity.TokenFile = CredentialAuto, "T", "/t"
		}, "at most one of workload-identity.token-file and workload-identity.token-env may be set when credential is auto, both are"},
		{"two federated tokens of a credential not in use", func(c *Config) {
			c.WorkloadIdentity.TokenEnv, c.WorkloadIdentity.TokenFile = "T", "/t"
		}, ""},
		{"a job of GitHub's", func(c *Config) { c.Credential = CredentialGitHubActions }, ""},
		{"a job of Azure Pipelines", func(c *Config) { c.Credential = CredentialAzurePipelines }, ""},
		{"code for nobody in particular", func(c *Config) { c.Credential = CredentialDeviceCode }, ""},
		{"id that is none", func(c *Config) { c.Credential, c.DeviceCode.ClientID = CredentialDeviceCode, "az" },
			`device-code.client-id is "az", must be empty or a GUID`},
		{"endpoint", func(c *Config) { c.Endpoint = Endpoint{Kind: EndpointAppService, Port: 41741} }, ""},
		{"endpoint that is none", func(c *Config) { c.Endpoint.Kind = "msi" },
			`endpoint.kind is "msi", must be empty, app-service, app-service-2017 or cloud-shell`},
		{"endpoint and mode", func(c *Config) { c.Mode, c.Endpoint.Kind = ModeLoopback, EndpointCloudShell },
			`mode is "loopback" and endpoint.kind is "cloud-shell", must be one of them: an endpoint is served in the place of an interception`},
		{"cloud", func(c *Config) { c.Cloud = CloudChina }, ""},
		{"cloud and authority", func(c *Config) { c.Cloud, c.AuthorityHost = CloudUSGov, "https://login.example" },
			`cloud is "usgov" and authority-host is "https://login.example", must be one of them: each says where Entra is`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := Default()
			tt.change(&c)
			if diff := cmp.Diff(tt.want, message(c.Validate())); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestValues(t *testing.T) {
	tests := []struct {
		key           string
		allow, refuse []string
	}{
		{"tenant", []string{"", someGUID, "contoso.com", "a-b.onmicrosoft.com"},
			[]string{"common", "contoso", "contoso.com.", ".com", "-a.com", "a b.com", someGUID + "0", "{" + someGUID + "}", "a.com;id"}},
		{"user", []string{"", "alice", "1000", "_apt", "a.b-c", `CORP\alice`, "alice@corp.example", "host$"},
			[]string{"-alice", "a b", "a:b", "../a", "a\n", "$HOME"}},
		{"authority-host", []string{"", "https://login.microsoftonline.us", "https://login.microsoftonline.us/", "https://127.0.0.1:8443", "https://[::1]:8443"},
			[]string{"login.example", "http://login.example", "https://", "https:///", "https://a//", "https://a/b", "https://a?b", "https://a#b", "https://a b", "https://u@a", "//a"}},
		{"azure-cli.subscription", []string{"", someGUID, "Pay as you go", "a_b.c"}, []string{`a"b`, "a;b", "a$(b)", "ä", "--x", " a"}},
		{"client-secret.secret-env", []string{"", "APP_SECRET", "_X1"}, []string{"1X", "app_secret", "A-B", "A=B", "s~x"}},
		{"credential", []string{"azure-cli", "azure-developer-cli", "azure-powershell", "device-code", "client-secret",
			"client-certificate", "workload-identity", "github-actions", "azure-pipelines", "username-password", "environment", "auto",
			"emulated"}, []string{"", "az", "managed-identity"}},
		{"cloud", []string{"public", "usgov", "china"}, []string{"", "AzureCloud", "germany"}},
		{"client-certificate.client-id", []string{"", someGUID}, []string{"app", someGUID + "0"}},
		{"client-certificate.file", []string{"", "/c.pem"}, []string{"c.pem", "~/c.pem"}},
		{"client-certificate.password-file", []string{"", "/p"}, []string{"hunter2"}},
		{"client-certificate.send-chain", []string{"true", "false"}, []string{"", "yes"}},
		{"workload-identity.client-id", []string{"", someGUID}, []string{"app"}},
		{"workload-identity.token-file", []string{"", "/t"}, []string{"t", "eyJ0"}},
		{"workload-identity.token-env", []string{"", "AZURE_ID_TOKEN"}, []string{"azure_id_token", "eyJ0", "$T"}},
		{"github-actions.client-id", []string{"", someGUID}, []string{"app"}},
		{"azure-pipelines.service-connection-id", []string{"", someGUID}, []string{"my connection"}},
		{"azure-pipelines.client-id", []string{"", someGUID}, []string{"app"}},
		{"username-password.username", []string{"", "alice@contoso.com", "ä@b", "o'neil@x"}, []string{"alice", "a b@c", "@", "a@", "a@b@c", "a@b\x00"}},
		{"notify", []string{"", "a && b"}, []string{"a\nb", "a\x00"}},
		{"device-code.client-id", []string{"", someGUID}, []string{"app"}},
		{"pin.account", []string{"", "alice@contoso.com", someGUID}, []string{"a b", "a\n"}},
		{"pin.tenant", []string{"", someGUID}, []string{"contoso.com"}},
		{"emulated.resource-id", []string{"", someResource, "/Subscriptions/x"}, []string{"/subscriptions/", "subscriptions/x", "/x"}},
		{"ca-file", []string{"", "/etc/ca.pem"}, []string{"ca.pem", "~/ca.pem", "$HOME/ca.pem", "/a\x00b"}},
		{"shadow-metadata", []string{"true", "false", "1", "0"}, []string{"", "yes", "on", "2"}},
		{"emulated.lifetime", []string{"1m", "24h", "1h30m"}, []string{"", "0", "60", "59s", "25h", "-1h", "NaN"}},
		{"callers.users", []string{"", " ", "alice", "0,alice , CORP\\bob", "[]", "[alice, 1000]", `["a", 'b'] # why`, "4294967294"},
			[]string{",", "alice,", "a b", "-1", "010", "+1", "4294967295", "99999999999", "[alice", "[[alice]]", "[{name: alice}]", "[1.5]",
				"[~]", "[-1]", "{alice}", "[a]\ncallers: 1", "[a]\n---\n[b]", "*"}},
		{"callers.groups", []string{"", "adm,100"}, []string{"a:b", "*"}},
		{"callers.any-local", []string{"true", "false"}, []string{"", "alice"}},
		{"callers.containers", []string{"*", "web,c0ffee5c8d0e", `["123456789012"]`, "a_b.c-d"}, []string{"web*", "/web", "-web", "[123456789012]", "a b"}},
		{"callers.relays", []string{"*", "slirp4netns,pasta.avx2,qemu-system-x86_64"}, []string{"/usr/bin/ssh", "ss*", "-ssh", "[1]"}},
		{"zones", []string{"", "docker0", "br-*,docker0", "[br-1234, br-*]", "[{bridge: docker0}]", "podman1.x,fifteen-letters", "b*",
			"network:shop_default,br-*,n*",
			"[{bridge: a, identities: [default], resources: [https://a]}]"},
			[]string{"*", "local", "a/b", "a b", "[a b]", "sixteen-letters.", "fifteen-letters*", "br*-x", "br-**", "br+", "-i", "!lo", "a:b", ".", "..",
				"network:", "network:a*", "network:-a", "network:a:b", "network:a,network:a", "docker0,docker0", "br-*,br-1", "br-*,br-1*", "[{identities: [default]}]", "[{bridge: }]", "[{bridge: a, resources: []}]", "[1]",
				"[[a]]", "[{bridge: [a]}]", "{bridge: docker0}", "\x00", "a\xff"}},
		{"endpoint.kind", []string{"", "app-service", "app-service-2017", "cloud-shell"}, []string{"none", "msi", "App-Service"}},
		{"endpoint.port", []string{"0", "1", "65535"}, []string{"", "-1", "65536", "any"}},
		{"policy", []string{"", "[]", "[{}]", "[{deny: true}]", "[{rate: 0}]", "[{name: ä b}]", "[{users: [a]}, {}]"},
			[]string{"deny", "{deny: true}", "[deny]", "[{deny: 1}]", "[{rate: -1}]", "[{rate: 60001}]", "[{rate: '5'}]", "[{}, {}]", "[{7: a}]", "[~]",
				"[{name: ''}]", "[{name: ' a'}]", `[{name: "a\nb"}]`, "[{identity: {}}]", "[{identity: default}]", "[{users: alice}]"}},
		{"limits.rate", []string{"0", "60000"}, []string{"", "-1", "60001", "1/s"}},
		{"limits.connections", []string{"1", "65535"}, []string{"", "0", "65536", "-1", "1e3", "0x10", "99999999999999999999"}},
	}
	for _, tt := range tests {
		k, ok := lookup(tt.key)
		if !ok {
			t.Fatalf("no key %q", tt.key)
		}
		for _, text := range tt.allow {
			c := Default()
			if err := k.set(&c, text); err != nil {
				t.Errorf("allowed: %v", err)
			}
		}
		for _, text := range tt.refuse {
			c := Default()
			if err := k.set(&c, text); err == nil {
				t.Errorf("%s took %q", k.Name, text)
			}
			if diff := cmp.Diff(Default(), c); diff != "" {
				t.Errorf("%s: a refused value changed the configuration:\n%s", k.Name, diff)
			}
		}
	}
}

// TestPatterns tries what the lists within zones and rules take.
func TestPatterns(t *testing.T) {
	tests := []struct {
		name          string
		of            form
		allow, refuse []string
	}{
		{"resources", resourceForm,
			[]string{"https://vault.azure.net", "https://vault.azure.net/", "https://vault.azure.net//", someGUID, "api://" + someGUID, "urn:a:b",
				"https://*.vault.azure.net", "https://kv-*-dev.vault.azure.net/", "https://a.example:8443/*/x", "api://*", "https://*", "https://a?b"},
			[]string{"", "*", "/", "https://", "**", "https://**.azure.net", "https://a/**", "https*://a", "*://a", "https://a:*", "https://*..net",
				"https://.*", "https://a/*?b", "https://a/*#b", "https://u@*", "urn:*", "a b", "a\nb", "a\x00", "a\xff", "a\u202eb"}},
		{"identities", identityForm,
			[]string{"*", "default", someGUID, strings.ToUpper(someGUID), someResource},
			[]string{"", "**", "Default", "id", someGUID[:8] + "*", "/subscriptions/", "/subscriptions/*", someResource + "*", someResource + " x"}},
		{"cgroups", cgroupForm,
			[]string{"user.slice", "user.slice/user-*.slice", "foo.service", "/user.slice", "/a/*/b", "app-gnome\\x2dterminal-*.scope", "*", "a b"},
			[]string{"", "/", "//user.slice", "/../a", "user.slice/", "a//b", "a/../b", ".", "**", "a/**/b", "a**", "a\nb", "a\tb"}},
		{"executables", executableForm,
			[]string{"/usr/bin/curl", "/opt/my app/run"},
			[]string{"", "curl", "/", "/usr/bin/", "/usr//bin/curl", "/usr/../bin/curl", "/usr/bin/*", "/a\x00", "~/a"}},
		{"zones", zoneForm, []string{"local", "docker0", "br-*", "network:a"}, []string{"", "*", "network:*", "lo/cal", "br-*x"}},
		{"resource-id", resourceOnly, []string{someResource}, []string{"", "*", "/subscriptions/*", someGUID}},
	}
	for _, tt := range tests {
		for _, s := range tt.allow {
			if !tt.of.accept(s) {
				t.Errorf("%s: refused %q", tt.name, s)
			}
		}
		for _, s := range tt.refuse {
			if tt.of.accept(s) {
				t.Errorf("%s: allowed %q", tt.name, s)
			}
		}
	}
}

// Every field of Config has exactly one key, and every key's names are its own.
func TestRegistryIsComplete(t *testing.T) {
	envs, flags := map[string]string{}, map[string]string{}
	for _, k := range keys {
		if other, taken := envs[k.Env()]; taken {
			t.Errorf("%s and %s share %s", k.Name, other, k.Env())
		}
		envs[k.Env()] = k.Name
		if other, taken := flags[k.Flag]; taken && k.Flag != "" {
			t.Errorf("%s and %s share --%s", k.Name, other, k.Flag)
		}
		flags[k.Flag] = k.Name
		if k.Class == Privileged && k.Flag == "" && k.Name != "policy" {
			t.Errorf("%s is privileged and has no flag", k.Name)
		}
	}

	changed := map[string]int{}
	for _, k := range keys {
		c := Default()
		if err := k.set(&c, k.Example); err != nil {
			t.Errorf("example: %v", err)
		}
		if got := k.Text(c); got != k.Example {
			t.Errorf("%s: example %q reads back as %q", k.Name, k.Example, got)
		}
		if k.Example == k.Default() {
			t.Errorf("%s: the example is the default", k.Name)
		}
		if s := k.Summary(); s == "" || strings.Contains(s, "`") {
			t.Errorf("%s: summary is %q", k.Name, s)
		}
		fields := differing("", reflect.ValueOf(Default()), reflect.ValueOf(c))
		if len(fields) != 1 {
			t.Errorf("%s sets %v, want one field", k.Name, fields)
		}
		for _, f := range fields {
			changed[f]++
		}
	}
	all := leaves("", reflect.TypeFor[Config]())
	for _, f := range all {
		if changed[f] != 1 {
			t.Errorf("field %s has %d keys, want 1", f, changed[f])
		}
	}
}

// differing lists the leaf fields in which two structs differ.
func differing(prefix string, a, b reflect.Value) []string {
	if a.Kind() == reflect.Struct {
		var names []string
		for i := range a.NumField() {
			names = append(names, differing(prefix+"."+a.Type().Field(i).Name, a.Field(i), b.Field(i))...)
		}
		return names
	}
	if reflect.DeepEqual(a.Interface(), b.Interface()) {
		return nil
	}
	return []string{prefix}
}

// leaves lists the leaf fields of a struct.
func leaves(prefix string, t reflect.Type) []string {
	if t.Kind() != reflect.Struct {
		return []string{prefix}
	}
	var names []string
	for f := range t.Fields() {
		names = append(names, leaves(prefix+"."+f.Name, f.Type)...)
	}
	return names
}

func TestKeysIsACopy(t *testing.T) {
	got := Keys()
	got[0].Name = "changed"
	if _, ok := lookup("mode"); !ok {
		t.Error("changing the result of Keys changed the registry")
	}
}

func TestUserFile(t *testing.T) {
	tests := []struct {
		name    string
		environ []string
		want    string
	}{
		{"home", []string{"HOME=/home/alice"}, "/home/alice/.config/azimds/config.yaml"},
		{"xdg", []string{"HOME=/home/alice", "XDG_CONFIG_HOME=/cfg"}, "/cfg/azimds/config.yaml"},
		{"relative xdg", []string{"XDG_CONFIG_HOME=cfg", "HOME=/home/alice"}, "/home/alice/.config/azimds/config.yaml"},
		{"empty xdg", []string{"XDG_CONFIG_HOME=", "HOME=/home/alice"}, "/home/alice/.config/azimds/config.yaml"},
		{"neither", []string{"PATH=/bin"}, ""},
		{"relative home", []string{"HOME=alice"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := UserFile(tt.environ); got != tt.want {
				t.Errorf("UserFile = %q, want %q", got, tt.want)
			}
		})
	}
}
