package main

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"azimds/config"
	"azimds/imds/policy"
	"azimds/imds/token"
	"azimds/netsetup"
)

// Names become numbers once, for who is admitted and for the network alike. Containers may have any uid, so that the network lets
// everybody through to the server.
func TestAdmissionAndWanted(t *testing.T) {
	base := config.Default()
	base.Mode = config.ModeIPTables
	for _, tt := range []struct {
		name      string
		callers   config.Callers
		zones     []config.Zone
		admission policy.Admission
		want      netsetup.Want
	}{
		{"nobody else", config.Callers{}, nil, policy.Admission{Owner: owner, Users: []uint32{}, Groups: []uint32{}},
			netsetup.Want{Mode: netsetup.IPTables, Admitted: []uint32{}, Groups: []uint32{}}},
		{"by name and number", config.Callers{Users: []string{"root", "60002"}, Groups: []string{"root", "60005"}, Relays: []string{"ssh"}},
			[]config.Zone{{Bridge: "docker0"}, {Bridge: "br-*"}},
			policy.Admission{Owner: owner, Users: []uint32{0, 60002}, Groups: []uint32{0, 60005}, Relays: []string{"ssh"}},
			netsetup.Want{Mode: netsetup.IPTables, Admitted: []uint32{0, 60002}, Groups: []uint32{0, 60005}, Bridges: []string{"docker0", "br-*"}}},
		{"containers", config.Callers{Containers: []string{"web"}}, nil,
			policy.Admission{Owner: owner, Users: []uint32{}, Groups: []uint32{}, Containers: []string{"web"}},
			netsetup.Want{Mode: netsetup.IPTables, Admitted: []uint32{}, Groups: []uint32{}, AnyLocal: true}},
		{"every local user", config.Callers{AnyLocal: true}, nil,
			policy.Admission{Owner: owner, Users: []uint32{}, Groups: []uint32{}, AnyLocal: true},
			netsetup.Want{Mode: netsetup.IPTables, Admitted: []uint32{}, Groups: []uint32{}, AnyLocal: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := base
			c.Callers, c.Zones = tt.callers, tt.zones
			a, err := admission(c, owner)
			if diff := cmp.Diff(tt.admission, a); diff != "" || err != nil {
				t.Errorf("admission, %v (-want +got):\n%s", err, diff)
			}
			w, err := wanted(c)
			if diff := cmp.Diff(tt.want, w); diff != "" || err != nil {
				t.Errorf("wanted, %v (-want +got):\n%s", err, diff)
			}
		})
	}
}

// Who is not there is no number: nobody is let in, or left out, in their place.
func TestAdmissionOfNobody(t *testing.T) {
	for _, tt := range []struct {
		callers    config.Callers
		want, with string
	}{
		{config.Callers{Users: []string{"root", "nobody-of-this-name"}},
			`callers.users[1]: looking up user "nobody-of-this-name": user: unknown user nobody-of-this-name`, "getent passwd"},
		{config.Callers{Groups: []string{"nobody-of-this-name"}}, `callers.groups[0]: there is no group "nobody-of-this-name"`, "getent group"},
	} {
		c := config.Default()
		c.Callers = tt.callers
		_, err := admission(c, owner)
		if mendable, ok := errors.AsType[*config.Mendable](err); !ok || err.Error() != tt.want || mendable.With != tt.with {
			t.Errorf("admission: %v", err)
		}
		if _, err := wanted(c); err == nil {
			t.Error("the network is set up for nobody")
		}
	}
}

// Every part of a rule and of a zone counts in the policy that is made of them.
func TestPolicyOf(t *testing.T) {
	const vault, arm = "https://vault.azure.net", "https://management.azure.com"
	only := func(r config.Rule) config.Rule { r.Resources = []string{vault}; return r }
	who := policy.Caller{
		Zone: policy.Local, UID: 60002, Groups: []uint32{60005}, Cgroup: "a/b.service", Container: "", Executable: "/usr/bin/curl",
	}
	boxed := who
	boxed.Container = "web"
	other := policy.Caller{Zone: policy.Local, UID: 60003}
	for _, tt := range []struct {
		name            string
		rule            config.Rule
		caller, another policy.Caller
	}{
		{"users", only(config.Rule{Users: []string{"60002"}}), who, other},
		{"groups", only(config.Rule{Groups: []string{"60005"}}), who, other},
		{"cgroups", only(config.Rule{Cgroups: []string{"b.service"}}), who, other},
		{"containers", only(config.Rule{Containers: []string{"web"}}), boxed, who},
		{"zones", only(config.Rule{Zones: []string{"docker0"}}), policy.Caller{Zone: "docker0"}, who},
		{"executables", only(config.Rule{Executables: []string{"/usr/bin/curl"}}), who, other},
		{"not-resources", config.Rule{Users: []string{"60002"}, NotResources: []string{arm}}, who, other},
		{"deny", config.Rule{Users: []string{"60002"}, Deny: true}, who, other},
		{"identities", config.Rule{Users: []string{"60002"}, Identities: []string{"x"}}, who, other},
		{"not-identities", config.Rule{Users: []string{"60002"}, NotIdentities: []string{"default"}}, who, other},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := config.Default()
			c.Policy, c.Zones = []config.Rule{tt.rule}, []config.Zone{{Bridge: "docker0"}}
			p, err := policyOf(c)
			if err != nil {
				t.Fatal(err)
			}
			if d := p.Decide(tt.caller, token.Request{Resource: arm}); d.Denied == "" || d.Rule != 0 {
				t.Errorf("whom it is about: %+v", d)
			}
			if d := p.Decide(tt.another, token.Request{Resource: arm}); d.Denied != "" || d.Rule != -1 {
				t.Errorf("somebody else: %+v", d)
			}
		})
	}
	c := config.Default()
	c.Zones = []config.Zone{{Bridge: "docker0", Resources: []string{vault}}, {Bridge: "br-*", Identities: []string{"x"}}}
	p, err := policyOf(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, bridge := range []string{"docker0", "br-1"} {
		if d := p.Decide(policy.Caller{Zone: bridge}, token.Request{Resource: arm}); !d.ByZone {
			t.Errorf("bridge %s: %+v", bridge, d)
		}
	}
	c.Zones[0].Resources = []string{"a//b"}
	if _, err := policyOf(c); !errors.As(err, new(*configError)) {
		t.Errorf("a list that can be read in two ways: %v", err)
	}
}

func TestChosen(t *testing.T) {
	for want, c := range map[policy.Choice]config.Choice{
		{}:            {},
		{Tenant: "t"}: {Tenant: "t"},
		{Identity: token.Selector{Kind: token.ClientID, Value: "a"}, Tenant: "t"}: {ClientID: "a", Tenant: "t"},
		{Identity: token.Selector{Kind: token.ObjectID, Value: "a"}}:              {ObjectID: "a"},
		{Identity: token.Selector{Kind: token.ResourceID, Value: "/a"}}:           {ResourceID: "/a"},
	} {
		if got := chosen(c); got != want {
			t.Errorf("chosen(%+v) = %+v, want %+v", c, got, want)
		}
	}
}
