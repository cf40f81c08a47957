package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

// golden compares got with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s, refresh with -update (-want +got):\n%s", path, diff)
	}
}

// explained is a configuration that the owner, uid 60001, asks about.
func explained(t *testing.T) {
	t.Helper()
	home(t)
	for name, value := range map[string]string{
		"AZIMDS_USER":          "60001",
		"AZIMDS_CALLERS_USERS": "60002",
		"AZIMDS_LIMITS_RATE":   "60",
		"AZIMDS_ZONES":         "[{bridge: docker0, resources: ['https://vault.azure.net'], identities: [default]}, br-*]",
		"AZIMDS_POLICY": `[
			{name: shop, cgroups: [/shop.slice], identity: {client-id: 11111111-2222-3333-4444-555555555555, tenant: shop.example}},
			{name: bank, cgroups: [bank.slice], identity: {tenant: bank.example}, not-resources: ['https://graph.microsoft.com']},
			{users: [60002], resources: ['https://*.vault.azure.net'], rate: 3},
			{executables: [/usr/bin/curl], deny: true},
			{zones: ['br-*'], identities: [default]}]`,
	} {
		t.Setenv(name, strings.Join(strings.Fields(value), " "))
	}
}

// The answer to each question is in the words for a person and as JSON, and the exit says whether there would be a token.
func TestPolicyExplain(t *testing.T) {
	const (
		id    = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
		vault = "https://vault.azure.net"
	)
	explained(t)
	tests := []struct {
		name string
		args []string
		code int
	}{
		{"the owner", nil, 0},
		{"an identity by a rule", []string{"--cgroup", "/shop.slice/web.service", "--resource", vault}, 0},
		{"an identity of one's own", []string{"--cgroup", "shop.slice", "--identity", "ABCDEF00-2222-3333-4444-555555555555"}, 0},
		{"a group called so elsewhere", []string{"--cgroup", "user.slice/shop.slice"}, 0},
		{"a resource that is forbidden", []string{"--cgroup", "user.slice/bank.slice", "--resource", "https://GRAPH.microsoft.com/"}, 3},
		{"another user", []string{"--uid", "60002", "--resource", "https://a.vault.azure.net"}, 0},
		{"another user, a resource that is not listed", []string{"--uid", "60002"}, 3},
		{"a user who is not admitted", []string{"--uid", "60003"}, 3},
		{"root", []string{"--uid", "0"}, 3},
		{"a program that is denied", []string{"--executable", "/usr/bin/curl"}, 3},
		{"a relay", []string{"--executable", "/usr/bin/slirp4netns"}, 3},
		{"a container", []string{"--cgroup", "system.slice/docker-" + id + ".scope"}, 3},
		{"behind a bridge", []string{"--zone", "docker0", "--address", "172.17.0.2", "--resource", vault + "/"}, 0},
		{"behind a bridge, a resource that is not listed", []string{"--zone", "docker0"}, 3},
		{"behind a bridge, by a rule", []string{"--zone", "br-0123"}, 0},
		{"behind a bridge, denied by a rule", []string{"--zone", "br-0123", "--identity", id[:8]}, 3},
		{"behind a bridge that is no zone", []string{"--zone", "virbr0"}, 3},
	}
	var texts, lines strings.Builder
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			args := append([]string{"policy", "explain"}, tt.args...)
			out, errs, code := invoke(t, args...)
			if code != tt.code || errs != "" {
				t.Errorf("exit %d, want %d: %s", code, tt.code, errs)
			}
			fmt.Fprintf(&texts, "# %s\n$ azimds %s\n%s\n", tt.name, strings.Join(args, " "), out)
			out, errs, code = invoke(t, append(args, "--json")...)
			if code != tt.code || errs != "" {
				t.Errorf("--json: exit %d, want %d: %s", code, tt.code, errs)
			}
			var got explanation
			if err := json.Unmarshal([]byte(out), &got); err != nil {
				t.Fatal(err)
			}
			if got.Token != (tt.code == 0) {
				t.Errorf("--json: token %t", got.Token)
			}
			fmt.Fprintf(&lines, "# %s\n%s\n", tt.name, out)
		})
	}
	golden(t, "explain.txt", texts.String())
	golden(t, "explain.json.txt", lines.String())
}

// A question that is none is a mistake of usage or configuration, and no answer.
func TestPolicyExplainRefuses(t *testing.T) {
	for _, tt := range []struct {
		name, policy string
		args         []string
		code         int
		want         string
	}{
		{"user", "", []string{"--uid", "nobody-of-this-name"}, 2, `reading --uid: looking up user "nobody-of-this-name"`},
		{"user behind a bridge", "", []string{"--zone", "docker0", "--uid", "0"}, 2, "--uid, --cgroup and --executable are for --zone local"},
		{"address on this machine", "", []string{"--address", "172.17.0.2"}, 2, "--address is for --zone with a bridge's name"},
		{"address", "", []string{"--zone", "docker0", "--address", "here"}, 2, `reading --address: ParseAddr("here")`},
		{"argument", "", []string{"vault"}, 2, `unknown command "vault" for "azimds policy explain"`},
		{"user of a rule", "[{users: [nobody-of-this-name]}]", nil, 1, `policy[0].users[0]: looking up user "nobody-of-this-name"`},
		{"group of a rule", "[{groups: [nobody-of-this-name]}]", nil, 1, `policy[0].groups[0]: there is no group "nobody-of-this-name"`},
		{"resource of a rule", "[{resources: ['https://a//b']}]", nil, 2, `policy[0]: reading resource "https://a//b": it can be read in more than one way`},
		{"rule", "[{deny: 1}]", nil, 2, `AZIMDS_POLICY: policy[0].deny is 1`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			home(t)
			t.Setenv("AZIMDS_POLICY", tt.policy)
			out, errs, code := invoke(t, append([]string{"policy", "explain"}, tt.args...)...)
			if code != tt.code || out != "" || !strings.Contains(errs, tt.want) {
				t.Errorf("exit %d, %q: %s", code, out, errs)
			}
		})
	}
}
