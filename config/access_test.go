package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestAccessErrors holds what is said about callers, zones and rules that are not allowed.
func TestAccessErrors(t *testing.T) {
	const (
		bridges   = `a device's name of at most 15 bytes, such as docker0, the beginning of one and *, such as br-*, or a network of a container engine's, such as network:shop_default`
		resources = `a resource as clients say it, such as https://vault.azure.net, with * within one label of its host or one segment of its path`
		keys      = `; there are name, users, groups, cgroups, containers, zones, executables, deny, identities, not-identities, ` +
			`resources, not-resources, identity and rate`
	)
	tests := []struct {
		name, yaml string
		want       []string // one a finding, after the file's name
	}{
		{"unknown key of a rule", "policy:\n- {users: [a], deny: true}\n- {resource: [https://a]}",
			[]string{`unknown key "policy[1].resource"; did you mean policy[1].resources?`}},
		{"unknown key of a zone", "zones: [{bridge: docker0, identity: [default]}]",
			[]string{`unknown key "zones[0].identity"; there are bridge, identities and resources`}},
		{"unknown key of an identity", "policy: [{identity: {clientid: a}}]",
			[]string{`unknown key "policy[0].identity.clientid"; did you mean policy[0].identity.client-id?`}},
		{"unknown key far from all", "policy: [{flavour: red}]", []string{`unknown key "policy[0].flavour"` + keys}},
		{"capital", "policy: [{Deny: true}]", []string{`unknown key "policy[0].Deny"; did you mean policy[0].deny?`}},
		{"number as key", "policy: [{7: a}]", []string{`unknown key "policy[0].7"` + keys}},
		{"key twice", "policy: [{rate: 1, rate: 2}]", []string{`yaml: unmarshal errors: line 1: mapping key "rate" already defined at line 1`}},
		{"user", "callers: {users: [alice, -b]}", []string{`callers.users[1] is "-b", must be a login name or a uid`}},
		{"one user as a number", "callers: {users: 1000}", []string{`callers.users is 1000, must be a list, each a login name or a uid`}},
		{"octal", "callers: {users: ['010']}", []string{`callers.users[0] is "010", must be a login name or a uid`}},
		{"container as a number", "callers: {containers: [123456789012]}",
			[]string{`callers.containers[0] is 123456789012, must be *, or an id or a name of a container`}},
		{"star without quotes", "callers: {relays: [*]}",
			[]string{`yaml: did not find expected alphabetic or numeric character; a value that begins with * has to be quoted`}},
		{"star in front without quotes", "policy:\n- containers: [*web]",
			[]string{`yaml: unknown anchor 'web' referenced; a value that begins with * has to be quoted`}},
		{"callers as a list", "callers: [alice]", []string{`callers is a section, its keys are callers.users, callers.groups, ` +
			`callers.any-local, callers.containers and callers.relays`}},
		{"zones as a mapping", "zones: {bridge: docker0}",
			[]string{`zones is a section, must be a list, each ` + bridges + `, or a mapping such as {bridge: docker0, resources: [https://vault.azure.net]}`}},
		{"bridge", "zones: [docker0, {bridge: docker/0}]", []string{`zones[1].bridge is "docker/0", must be ` + bridges}},
		{"no bridge", "zones: [{resources: [https://a]}]", []string{`zones[0].bridge is missing, must be ` + bridges}},
		{"bridge twice", "zones: [docker0, br-1, {bridge: docker0, resources: [https://a]}]",
			[]string{`zones[2] is "docker0", must be no bridge that zones[0], "docker0", is for already`}},
		{"bridge of an earlier pattern", "zones: [br-*, br-1]", []string{`zones[1] is "br-1", must be no bridge that zones[0], "br-*", is for already`}},
		{"resource", "policy: [{resources: [https://a, https://**]}]", []string{`policy[0].resources[1] is "https://**", must be ` + resources}},
		{"text for a list", "policy: [{users: alice}]", []string{`policy[0].users is "alice", must be a list`}},
		{"empty condition", "policy:\n- users:\n  deny: false\n- groups: []",
			[]string{`policy[0].users is empty, must have a value or be left out`, `policy[1].groups is empty, must have a value or be left out`}},
		{"rule that is none", "policy: [deny, ~]", []string{
			`policy[0] is "deny", must be a rule such as {users: [alice], resources: [https://vault.azure.net]}`,
			`policy[1] is empty, must be a rule such as {users: [alice], resources: [https://vault.azure.net]}`}},
		{"rate", "policy: [{rate: -1}]", []string{`policy[0].rate is -1, must be a whole number from 0 to 60000`}},
		{"deny", "policy: [{deny: 'yes'}]", []string{`policy[0].deny is "yes", must be true or false`}},
		{"two identities", "policy: [{identity: {client-id: " + someGUID + ", object-id: " + someGUID + "}}]",
			[]string{`policy[0].identity has client-id and object-id, must have one of them: each names the identity`}},
		{"tenant", "policy: [{identity: {tenant: contoso}}]",
			[]string{`policy[0].identity.tenant is "contoso", must be a tenant's GUID or one of its domains`}},
		{"deny and something", "policy: [{deny: true, resources: [https://a], rate: 5}]", []string{
			`policy[0] has deny and resources, must have one of them: who is denied gets nothing`,
			`policy[0] has deny and rate, must have one of them: who is denied gets nothing`}},
		{"allowed and not", "policy: [{resources: [https://a, https://b], not-resources: [https://b]}]",
			[]string{`policy[0] has "https://b" in resources and in not-resources, must have it in one of them`}},
		{"users behind a bridge", "zones: [docker0]\npolicy: [{zones: [docker0], users: [alice]}]",
			[]string{`policy[0] has users and only bridges in zones, so it is about nobody: who is behind a bridge is known by address alone`}},
		{"rule after one about everybody", "policy: [{rate: 5}, {users: [alice], deny: true}]", []string{
			`policy[1] can never count, must stand before policy[0]: that is about the same callers or more, and the first one decides`}},
		{"rule after a wider one", "policy: [{users: [a, b], deny: true}, {users: [c]}, {users: [b], groups: [g]}]", []string{
			`policy[2] can never count, must stand before policy[0]: that is about the same callers or more, and the first one decides`}},
		{"name twice", "policy: [{name: a, users: [a]}, {name: a}]", []string{`policy[1].name is "a", must be another than that of policy[0]`}},
		{"several at once", "mode: x\npolicy: [{users: [-a], foo: 1}, {executables: [curl]}]", []string{
			`mode is "x", must be auto, iptables, loopback or dummy`,
			`unknown key "policy[0].foo"` + keys,
			`policy[0].users[0] is "-a", must be a login name or a uid`,
			`policy[1].executables[0] is "curl", must be an absolute path without links, .. and *`}},
		{"too many", "policy: [" + strings.Repeat("{}, ", maxEntries) + "{}]", []string{`policy has 1001 entries, must have at most 1000`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := write(t, tt.yaml)
			_, err := load(Sources{System: path}, guard{lstat: rootsHost})
			var got []string
			for line := range strings.Lines(message(err)) {
				line = strings.TrimPrefix(strings.TrimSuffix(line, "\n"), "parsing ")
				short, named := strings.CutPrefix(line, `"`+path+`": `)
				if !named {
					t.Errorf("does not name the file: %s", line)
				}
				got = append(got, short)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

// A finding in a variable or flag names it, each by itself.
func TestAccessTextErrors(t *testing.T) {
	_, err := Load(Sources{
		Environ: []string{"AZIMDS_POLICY=[{user: 1}, {rate: -1}]", "AZIMDS_ZONES=[docker0"},
		Flags:   map[string]string{"allow-users": "a b,c,-d"},
	})
	const want = `AZIMDS_POLICY: unknown key "policy[0].user"; did you mean policy[0].users?
AZIMDS_POLICY: policy[1].rate is -1, must be a whole number from 0 to 60000
AZIMDS_ZONES: zones is not YAML: yaml: line 1: did not find expected ',' or ']'
--allow-users: callers.users[0] is "a b", must be a login name or a uid
--allow-users: callers.users[2] is "-d", must be a login name or a uid`
	if diff := cmp.Diff(want, message(err)); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
}

// TestAccessIsShown holds how lists are written that a person has to read and may paste.
func TestAccessIsShown(t *testing.T) {
	for _, tt := range []struct{ key, given, want string }{
		{"callers.users", "alice, 1000 ,true", `[alice, 1000, "true"]`},
		{"callers.users", `CORP\bob,no`, `["CORP\\bob", "no"]`},
		{"callers.containers", "*, web, 123456789012", `["*", web, "123456789012"]`},
		{"zones", "[docker0, {bridge: br-*}, {bridge: virbr0, resources: ['https://*.vault.azure.net']}]",
			"[docker0, br-*, {bridge: virbr0, resources: [https://*.vault.azure.net]}]"},
		{"policy", "[{rate: 5, users: [a], deny: false, name: 'a b: c # d'}, {}]", `[{name: "a b: c # d", users: [a], rate: 5}, {}]`},
		{"policy", "[{not-identities: ['*'], identity: {tenant: a.b, client-id: " + someGUID + "}}]",
			`[{not-identities: ["*"], identity: {client-id: ` + someGUID + `, tenant: a.b}}]`},
	} {
		k, _ := lookup(tt.key)
		c := Default()
		if err := k.set(&c, tt.given); err != nil {
			t.Error(err)
		}
		if got := k.Text(c); got != tt.want {
			t.Errorf("%s is shown as %s, want %s", tt.key, got, tt.want)
		}
		readsBack(t, k, c)
		// In a file the text is YAML, and means the same.
		tree, err := decode([]byte(k.Name + ": " + k.Text(c) + " # why"))
		if err != nil {
			t.Fatal(err)
		}
		again := Default()
		if err := k.set(&again, tree[k.Name]); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(c, again); diff != "" {
			t.Errorf("%s from a file (-want +got):\n%s", tt.key, diff)
		}
	}
}

// TestValidateAccess looks at values that came from no text.
func TestValidateAccess(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"in order", func(c *Config) {
			c.Zones = []Zone{{Bridge: "br-1*"}}
			c.Policy = []Rule{{Zones: []string{LocalZone, "br-*", "br-12"}, Identity: Choice{Tenant: "a.b"}}}
		}, ""},
		{"user", func(c *Config) { c.Callers.Users = []string{""} }, `callers.users[0] is "", must be a login name or a uid`},
		{"no bridge", func(c *Config) { c.Zones = []Zone{{}} }, `zones[0].bridge is missing, must be ` + bridgeForm.want},
		{"bridge twice", func(c *Config) { c.Zones = []Zone{{Bridge: "a"}, {Bridge: "a"}} },
			`zones[1] is "a", must be no bridge that zones[0], "a", is for already`},
		{"rule", func(c *Config) {
			c.Policy = []Rule{{Rate: -1, Identity: Choice{ClientID: "x"}, Cgroups: []string{"a/"}}}
		},
			`policy[0].cgroups[0] is "a/", must be ` + cgroupForm.want + "\n" +
				`policy[0].identity.client-id is "x", must be a GUID` + "\n" +
				`policy[0].rate is -1, must be a whole number from 0 to 60000`},
		{"order", func(c *Config) { c.Policy = []Rule{{}, {}} },
			`policy[1] can never count, must stand before policy[0]: that is about the same callers or more, and the first one decides`},
		{"containers after users of the same uid", func(c *Config) {
			c.Policy = []Rule{{Users: []string{"a"}}, {Users: []string{"a"}, Containers: []string{"web"}}, {Groups: []string{"g"}, Users: []string{"a"}}}
		},
			`policy[2] can never count, must stand before policy[0]: that is about the same callers or more, and the first one decides`},
		{"zone that nobody is served in", func(c *Config) {
			c.Zones = []Zone{{Bridge: "docker0"}}
			c.Policy = []Rule{{Zones: []string{"docker0", "dokcer0"}, Deny: true}}
		}, `policy[0].zones[1] is "dokcer0", must be local or a bridge that zones has`},
		{"rate", func(c *Config) { c.Limits.Rate = -1 }, `limits.rate is "-1", must be a whole number from 0 to 60000`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := Default()
			tt.change(&c)
			if diff := cmp.Diff(tt.want, message(c.Validate())); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

// The process that acts as root may have zones from a flag and policy from the machine's file: whether they fit is for the one
// that has both from where the person has.
func TestRootLeavesZonesOfRulesToWhoUsesThem(t *testing.T) {
	s := Sources{System: write(t, "policy: [{zones: [docker0], deny: true}]")}
	if _, err := load(s, guard{lstat: rootsHost}); err == nil {
		t.Error("a rule for a bridge that is not served is in order")
	}
	s.RootOnly = true
	if _, err := load(s, guard{lstat: rootsHost}); err != nil {
		t.Error(err)
	}
}
