package policy_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"azimds/imds/policy"
	"azimds/imds/token"
)

const (
	vault   = "https://vault.azure.net"
	storage = "https://storage.azure.com"
	arm     = "https://management.azure.com/"
)

var (
	appA = token.Selector{Kind: token.ClientID, Value: "aaaaaaaa-0000-0000-0000-000000000001"}
	appB = token.Selector{Kind: token.ClientID, Value: "bbbbbbbb-0000-0000-0000-000000000002"}
)

func mustNew(t testing.TB, rules []policy.Rule, zones ...policy.Zone) *policy.Policy {
	t.Helper()
	p, err := policy.New(rules, zones)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func local(uid uint32) policy.Caller { return policy.Caller{Zone: policy.Local, UID: uid} }

func TestDecide(t *testing.T) {
	rules := []policy.Rule{
		{Name: "project a", Cgroups: []string{"a.service"}, Choice: policy.Choice{Identity: appA, Tenant: "tenant-a"}},
		{Cgroups: []string{"/user.slice/*/b"}, Choice: policy.Choice{Tenant: "tenant-b"}, Resources: []string{vault}},
		{Name: "bob", Users: []uint32{1001}, Resources: []string{"https://*.vault.azure.net", storage}, Identities: []string{policy.Default}, Rate: 3},
		{Groups: []uint32{50}, NotResources: []string{arm}, NotIdentities: []string{appB.Value}},
		{Executables: []string{"/usr/bin/evil"}, Deny: true},
		{Containers: []string{"0123456789ab"}, Resources: []string{vault}},
		{Zones: []string{"br-*"}, Deny: true},
	}
	zones := []policy.Zone{
		{Bridge: "docker0", Resources: []string{vault}, Identities: []string{policy.Default}},
		{Bridge: "br-*"},
	}
	p := mustNew(t, rules, zones...)
	cgroup := func(path string) policy.Caller { c := local(1000); c.Cgroup = path; return c }
	group := local(1002)
	group.Groups = []uint32{7, 50}
	evil := local(1003)
	evil.Executable = "/usr/bin/evil"
	contained := local(0)
	contained.Container = "0123456789ab" + strings.Repeat("c", 52)
	behind := func(bridge string) policy.Caller { return policy.Caller{Zone: bridge} }

	tests := []struct {
		name     string
		caller   policy.Caller
		resource string
		identity token.Selector
		rule     int
		denied   string // part of the reason; "" allows
		source   string
	}{
		{"no rule is about the caller", local(1000), arm, token.Selector{}, -1, "", "no rule"},
		{"control group anywhere", cgroup("system.slice/a.service"), arm, token.Selector{}, 0, "", "policy[0] (project a)"},
		{"what is below a control group", cgroup("system.slice/a.service/worker"), arm, token.Selector{}, 0, "", "policy[0] (project a)"},
		{"part of a name is another", cgroup("system.slice/aa.service"), arm, token.Selector{}, -1, "", "no rule"},
		{"control group from the root on", cgroup("user.slice/user-1000.slice/b/c"), vault + "/", token.Selector{}, 1, "", "policy[1]"},
		{"not from the root on", cgroup("x/user.slice/user-1000.slice/b"), arm, token.Selector{}, -1, "", "no rule"},
		{"resource not listed", cgroup("user.slice/x/b"), storage, token.Selector{}, 1, `resource "https://storage.azure.com" is not allowed`, "policy[1]"},
		{"resource by a label", local(1001), "https://one.vault.azure.net/", token.Selector{}, 2, "", "policy[2] (bob)"},
		{"a star is one label", local(1001), "https://a.b.vault.azure.net", token.Selector{}, 2, "not allowed", "policy[2] (bob)"},
		{"identity where none may be named", local(1001), storage, appA, 2, `identity "aaaaaaaa-0000`, "policy[2] (bob)"},
		{"group, resource not forbidden", group, vault, appA, 3, "", "policy[3]"},
		{"resource forbidden", group, arm, token.Selector{}, 3, "not allowed", "policy[3]"},
		{"forbidden whatever its case and slashes", group, "HTTPS://MANAGEMENT.azure.com:443", token.Selector{}, 3, "not allowed", "policy[3]"},
		{"identity forbidden", group, vault, token.Selector{Kind: token.ClientID, Value: strings.ToUpper(appB.Value)}, 3, "identity", "policy[3]"},
		{"executable", evil, vault, token.Selector{}, 4, "denies everything", "policy[4]"},
		{"container", contained, vault, token.Selector{}, 5, "", "policy[5]"},
		{"container and another resource", contained, arm, token.Selector{}, 5, "not allowed", "policy[5]"},
		{"bridge", behind("docker0"), vault, token.Selector{}, -1, "", "no rule"},
		{"bridge and another resource", behind("docker0"), arm, token.Selector{}, -1, "not allowed", "zones[0]"},
		{"bridge and an identity", behind("docker0"), vault, appA, -1, "identity", "zones[0]"},
		{"bridge by the beginning of its name", behind("br-0123"), vault, token.Selector{}, 6, "denies", "policy[6]"},
		{"bridge that is no zone", behind("virbr0"), vault, token.Selector{}, -1, "not configured", "no rule"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := p.Decide(tt.caller, token.Request{Resource: tt.resource, Identity: tt.identity})
			if d.Rule != tt.rule || (tt.denied == "") != (d.Denied == "") || !strings.Contains(d.Denied, tt.denied) {
				t.Errorf("rule %d, denied %q; want %d, %q", d.Rule, d.Denied, tt.rule, tt.denied)
			}
			if got := p.Source(d); got != tt.source {
				t.Errorf("decided by %q, want %q", got, tt.source)
			}
		})
	}
}

// A zone that is named by its network is that network's bridge, whatever this is called, and meets rules and zones by either name.
func TestZoneOfANetwork(t *testing.T) {
	shop := policy.Caller{Zone: policy.Network + "shop", Bridge: "br-1"}
	for name, tt := range map[string]struct {
		zone string
		rule policy.Rule
		want string // the resource that is allowed; "" is none
	}{
		"by network":          {policy.Network + "shop", policy.Rule{Zones: []string{policy.Network + "shop"}, Resources: []string{vault}}, vault},
		"by bridge":           {"br-*", policy.Rule{Zones: []string{"br-1"}, Resources: []string{vault}}, vault},
		"another network":     {policy.Network + "bank", policy.Rule{}, ""},
		"another bridge":      {"br-2", policy.Rule{}, ""},
		"beginning of a word": {"n*", policy.Rule{}, ""}, // of devices alone
	} {
		t.Run(name, func(t *testing.T) {
			p := mustNew(t, []policy.Rule{tt.rule}, policy.Zone{Bridge: tt.zone})
			for _, resource := range []string{vault, storage} {
				d := p.Decide(shop, token.Request{Resource: resource})
				if allowed := d.Denied == ""; allowed != (resource == tt.want) {
					t.Errorf("%s: denied %q", resource, d.Denied)
				}
			}
		})
	}
}

// A container's process is no user, whatever its uid and groups: a rule about users is about it only where it names containers, too.
func TestContainerIsNoUser(t *testing.T) {
	for name, rule := range map[string]policy.Rule{"users": {Users: []uint32{1000}}, "groups": {Groups: []uint32{50}}} {
		t.Run(name, func(t *testing.T) {
			narrow := policy.Rule{Containers: []string{"web"}, Resources: []string{vault}}
			p := mustNew(t, []policy.Rule{rule, narrow})
			user := local(1000)
			user.Groups = []uint32{50}
			if d := p.Decide(user, token.Request{Resource: arm}); d.Rule != 0 || d.Denied != "" {
				t.Errorf("the user: %+v", d)
			}
			web := user
			web.Container = "web"
			if d := p.Decide(web, token.Request{Resource: arm}); d.Rule != 1 || d.Denied == "" {
				t.Errorf("a container with the user's uid: %+v", d)
			}
			rule.Containers = []string{"web"}
			if d := mustNew(t, []policy.Rule{rule, narrow}).Decide(web, token.Request{Resource: arm}); d.Rule != 0 {
				t.Errorf("where both are named: %+v", d)
			}
		})
	}
}

// Two projects of one user get two tenants, and a request that names an identity keeps it.
func TestChoice(t *testing.T) {
	p := mustNew(t, []policy.Rule{
		{Cgroups: []string{"a.service"}, Choice: policy.Choice{Identity: appA, Tenant: "tenant-a"}, Identities: []string{appA.Value, appB.Value}},
		{Cgroups: []string{"b.service"}, Choice: policy.Choice{Identity: appB, Tenant: "tenant-b"}},
	})
	tests := []struct {
		cgroup string
		ask    token.Request
		want   token.Request
	}{
		{"a.service", token.Request{Resource: vault}, token.Request{Resource: vault, Identity: appA, Tenant: "tenant-a"}},
		{"b.service", token.Request{Resource: vault, Fresh: true}, token.Request{Resource: vault, Identity: appB, Tenant: "tenant-b", Fresh: true}},
		{"a.service", token.Request{Resource: vault, Identity: appB}, token.Request{Resource: vault, Identity: appB}},
		{"c.service", token.Request{Resource: vault}, token.Request{Resource: vault}},
	}
	for _, tt := range tests {
		c := local(1000)
		c.Cgroup = tt.cgroup
		d := p.Decide(c, tt.ask)
		if diff := cmp.Diff(tt.want, d.Request); diff != "" || d.Denied != "" {
			t.Errorf("%s: denied %q, request (-want +got)\n%s", tt.cgroup, d.Denied, diff)
		}
	}
}

// Whatever could be read in two ways is given to nobody for whom resources are listed, and changes nothing for the others.
func TestAmbiguousResources(t *testing.T) {
	allowing := mustNew(t, []policy.Rule{{Resources: []string{vault, "api://app/*"}}})
	forbidding := mustNew(t, []policy.Rule{{NotResources: []string{storage}}})
	open := mustNew(t, []policy.Rule{{Resources: []string{policy.Any}}})
	for _, resource := range []string{
		"https://vault.azure.net.", "https://.vault.azure.net", "https://vault..azure.net", "https://evil@vault.azure.net",
		"https://vault.azure.net%2f.evil.example", "https://vault.azure.net\\evil", "https://vault.azure.net?x", "https://vault.azure.net#x",
		"https://vault.azure.net/../x", "https://vault.azure.net//x", "https://vault.azure.net/./", " https://vault.azure.net",
		"https://vault.azure.net\t", "https://väult.azure.net", "api://app/..", "api://app//x", "https://", "/", "//", "https://a:b:c/", "x://y://z",
	} {
		for name, p := range map[string]*policy.Policy{"allowing": allowing, "forbidding": forbidding} {
			if d := p.Decide(local(1000), token.Request{Resource: resource}); d.Denied == "" {
				t.Errorf("%s policy gives %q", name, resource)
			}
		}
		if d := open.Decide(local(1000), token.Request{Resource: resource}); d.Denied != "" {
			t.Errorf("a policy without a list denies %q: %s", resource, d.Denied)
		}
	}
	for _, resource := range []string{vault, vault + "/", vault + "//", "HTTPS://Vault.Azure.Net:443/", "api://app/x", "api://app/x/"} {
		if d := allowing.Decide(local(1000), token.Request{Resource: resource}); d.Denied != "" {
			t.Errorf("the policy denies %q: %s", resource, d.Denied)
		}
	}
	if d := allowing.Decide(local(1000), token.Request{Resource: "api://APP/x"}); d.Denied != "" { // the host
		t.Error(d.Denied)
	}
}

// The case of a path counts where it is allowed, and not where it is forbidden.
func TestCaseOfPaths(t *testing.T) {
	allowing := mustNew(t, []policy.Rule{{Resources: []string{"api://app/Path"}}})
	forbidding := mustNew(t, []policy.Rule{{NotResources: []string{"api://app/Path"}}})
	request := token.Request{Resource: "api://app/path"}
	if allowing.Decide(local(1000), request).Denied == "" {
		t.Error("a path of another case is allowed")
	}
	if forbidding.Decide(local(1000), request).Denied == "" {
		t.Error("a path of another case is not forbidden")
	}
	if d := mustNew(t, []policy.Rule{{Resources: []string{"ABCDEF00-0000-0000-0000-000000000001"}}}).
		Decide(local(1000), token.Request{Resource: "abcdef00-0000-0000-0000-000000000001"}); d.Denied != "" {
		t.Errorf("an application's id of another case: %s", d.Denied)
	}
}

func TestNewRefuses(t *testing.T) {
	for want, rules := range map[string][]policy.Rule{
		`policy[1]: reading resource "https://": it can be read in more than one way`: {{}, {Resources: []string{"https://"}}},
		`policy[0]: reading resource "a//b": it can be read in more than one way`:     {{NotResources: []string{"a//b"}}},
		`policy[0]: reading cgroup "a//b": it has an empty part`:                      {{Cgroups: []string{"a//b"}}},
	} {
		if _, err := policy.New(rules, nil); err == nil || err.Error() != want {
			t.Errorf("New: %v, want %s", err, want)
		}
	}
	if _, err := policy.New(nil, []policy.Zone{{Bridge: "docker0", Resources: []string{"%"}}}); err == nil || !strings.HasPrefix(err.Error(), "zones[0]") {
		t.Errorf("New: %v", err)
	}
}

func TestDecideAllocatesNothing(t *testing.T) {
	p := mustNew(t, []policy.Rule{{Users: []uint32{1}, Deny: true}, {Users: []uint32{1000}, Choice: policy.Choice{Identity: appA}}})
	if n := testing.AllocsPerRun(100, func() { p.Decide(local(1000), token.Request{Resource: vault}) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzResource wants what a policy allows to be the resource that the list names, read strictly: the same scheme, host and path.
func FuzzResource(f *testing.F) {
	for _, seed := range []string{vault, vault + "/", "https://a.vault.azure.net", "api://app/x", "HTTPS://VAULT.AZURE.NET:443//", "https://vault.azure.net.", "x", "a/*"} {
		f.Add(seed)
	}
	allowing := mustNew(f, []policy.Rule{{Resources: []string{vault, "https://*.vault.azure.net", "api://app/*"}}})
	forbidding := mustNew(f, []policy.Rule{{NotResources: []string{vault, "https://*.vault.azure.net", "api://app/*"}}})
	f.Fuzz(func(t *testing.T, text string) {
		allowed := allowing.Decide(local(1000), token.Request{Resource: text}).Denied == ""
		forbidden := forbidding.Decide(local(1000), token.Request{Resource: text}).Denied != ""
		if allowed && !forbidden {
			t.Errorf("%q is allowed where it is listed and not forbidden where it is", text)
		}
		if !allowed {
			return
		}
		bare := strings.TrimSuffix(strings.TrimRight(strings.ToLower(text), "/"), ":443")
		switch {
		case bare == vault:
		case strings.HasPrefix(bare, "https://") && strings.HasSuffix(bare, ".vault.azure.net") && strings.Count(bare, ".") == 3:
		case strings.HasPrefix(bare, "api://app/") && strings.Count(bare, "/") == 3:
		default:
			t.Errorf("%q is allowed", text)
		}
	})
}

// FuzzPolicy wants no rule to crash, whatever is in it and asked of it, and one that denies to deny whom it is about.
func FuzzPolicy(f *testing.F) {
	f.Add("a.service", "https://*.azure.net", "br-*", "default", "system.slice/a.service", vault, "local", "")
	f.Add("/user.slice/*", "*", "local", "*", "user.slice/x", "api://a/b", "br-1", appA.Value)
	f.Fuzz(func(t *testing.T, cgroup, resource, zone, identity, path, asked, in, id string) {
		c := policy.Caller{Zone: in, UID: 1000, Cgroup: path}
		r := token.Request{Resource: asked}
		if id != "" {
			r.Identity = token.Selector{Kind: token.ClientID, Value: id}
		}
		rule := policy.Rule{Cgroups: []string{cgroup}, Resources: []string{resource}, Zones: []string{zone}, Identities: []string{identity}}
		zones := []policy.Zone{{Bridge: "*"}}
		p, err := policy.New([]policy.Rule{rule}, zones)
		if err != nil {
			return
		}
		first := p.Decide(c, r)
		p.Source(first)
		rule.Deny = true
		denying := mustNew(t, []policy.Rule{rule}, zones...).Decide(c, r)
		if denying.Rule != first.Rule || first.Rule == 0 && denying.Denied == "" {
			t.Errorf("rule %d denies with %q; without deny, rule %d", denying.Rule, denying.Denied, first.Rule)
		}
	})
}
