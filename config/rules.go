package config

import (
	"slices"
	"strconv"
)

// ruleItem is an entry of policy.
var ruleItem = record[Rule]{
	want: "a rule such as {users: [alice], resources: [https://vault.azure.net]}",
	parts: []part[Rule]{
		one("name", func(r *Rule) *string { return &r.Name }, ruleNameForm),
		many("users", func(r *Rule) *[]string { return &r.Users }, userForm),
		many("groups", func(r *Rule) *[]string { return &r.Groups }, groupForm),
		many("cgroups", func(r *Rule) *[]string { return &r.Cgroups }, cgroupForm),
		many("containers", func(r *Rule) *[]string { return &r.Containers }, containerForm),
		many("zones", func(r *Rule) *[]string { return &r.Zones }, zoneForm),
		many("executables", func(r *Rule) *[]string { return &r.Executables }, executableForm),
		denyPart,
		many("identities", func(r *Rule) *[]string { return &r.Identities }, identityForm),
		many("not-identities", func(r *Rule) *[]string { return &r.NotIdentities }, identityForm),
		many("resources", func(r *Rule) *[]string { return &r.Resources }, resourceForm),
		many("not-resources", func(r *Rule) *[]string { return &r.NotResources }, resourceForm),
		choicePart,
		ratePart,
	},
	whole: func(f *findings, at string, r Rule) {
		checkDeny(f, at, r)
		checkOpposites(f, at, "identities", r.Identities, r.NotIdentities)
		checkOpposites(f, at, "resources", r.Resources, r.NotResources)
		checkBridgesAlone(f, at, r)
	},
}

var denyPart = part[Rule]{
	name: "deny",
	read: func(f *findings, at string, raw any, into *Rule) {
		deny, ok := raw.(bool)
		if !ok {
			f.refuse(at, raw, "true or false")
		}
		into.Deny = deny
	},
	check: func(*findings, string, Rule) {},
	text: func(r Rule) string {
		if r.Deny {
			return "true"
		}
		return ""
	},
}

var ratePart = part[Rule]{
	name: "rate",
	read: func(f *findings, at string, raw any, into *Rule) {
		rate, ok := raw.(int)
		if !ok || !rateAllowed(rate) {
			f.refuse(at, raw, rateWant)
		}
		into.Rate = rate
	},
	check: func(f *findings, at string, r Rule) {
		if !rateAllowed(r.Rate) {
			f.refuse(at, r.Rate, rateWant)
		}
	},
	text: func(r Rule) string {
		if r.Rate != 0 {
			return strconv.Itoa(r.Rate)
		}
		return ""
	},
}

func rateAllowed(rate int) bool { return minRate <= rate && rate <= maxRate }

var rateWant = wholeNumber(minRate, maxRate)

// choiceItem is what identity of a rule holds.
var choiceItem = record[Choice]{
	want: "an identity such as {client-id: GUID} or {tenant: contoso.onmicrosoft.com}",
	parts: []part[Choice]{
		one("client-id", func(c *Choice) *string { return &c.ClientID }, guidOnly),
		one("object-id", func(c *Choice) *string { return &c.ObjectID }, guidOnly),
		one("resource-id", func(c *Choice) *string { return &c.ResourceID }, resourceOnly),
		one("tenant", func(c *Choice) *string { return &c.Tenant }, tenantOnly),
	},
	whole: func(f *findings, at string, c Choice) {
		var set []string
		for _, id := range []struct{ name, value string }{
			{"client-id", c.ClientID}, {"object-id", c.ObjectID}, {"resource-id", c.ResourceID},
		} {
			if id.value != "" {
				set = append(set, id.name)
			}
		}
		if len(set) > 1 {
			f.add("%s has %s, must have one of them: each names the identity", at, enumerate(set, " and "))
		}
	},
}

var choicePart = part[Rule]{
	name:  "identity",
	read:  func(f *findings, at string, raw any, into *Rule) { into.Identity = choiceItem.read(f, at, raw) },
	check: func(f *findings, at string, r Rule) { choiceItem.check(f, at, r.Identity) },
	text: func(r Rule) string {
		if r.Identity == (Choice{}) {
			return ""
		}
		return choiceItem.text(r.Identity)
	},
}

// checkDeny refuses to say what somebody gets who gets nothing.
func checkDeny(f *findings, at string, r Rule) {
	if !r.Deny {
		return
	}
	for _, p := range []struct {
		name string
		set  bool
	}{
		{"identities", len(r.Identities) > 0}, {"not-identities", len(r.NotIdentities) > 0},
		{"resources", len(r.Resources) > 0}, {"not-resources", len(r.NotResources) > 0},
		{"identity", r.Identity != (Choice{})}, {"rate", r.Rate != 0},
	} {
		if p.set {
			f.add("%s has deny and %s, must have one of them: who is denied gets nothing", at, p.name)
		}
	}
}

// checkOpposites refuses an entry that is both allowed and not.
func checkOpposites(f *findings, at, name string, allowed, not []string) {
	for _, s := range allowed {
		if slices.Contains(not, s) {
			f.add("%s has %s in %s and in not-%s, must have it in one of them", at, shown(s), name, name)
		}
	}
}

// checkBridgesAlone refuses a rule that nobody can meet: behind a bridge there are addresses and no users.
func checkBridgesAlone(f *findings, at string, r Rule) {
	if len(r.Zones) == 0 || slices.Contains(r.Zones, LocalZone) {
		return
	}
	for _, p := range []struct {
		name string
		list []string
	}{
		{"users", r.Users}, {"groups", r.Groups}, {"cgroups", r.Cgroups},
		{"containers", r.Containers}, {"executables", r.Executables},
	} {
		if len(p.list) > 0 {
			f.add("%s has %s and only bridges in zones, so it is about nobody: who is behind a bridge is known by address alone", at, p.name)
		}
	}
}

// checkOrder refuses a rule that an earlier one leaves nobody to, and one that shares its name.
func checkOrder(f *findings, at string, rules []Rule) {
	for i, rule := range rules {
		for j, earlier := range rules[:i] {
			if wider(earlier, rule) {
				f.add("%s can never count, must stand before %s: that is about the same callers or more, and the first one decides",
					index(at, i), index(at, j))
				break
			}
		}
		same := func(r Rule) bool { return r.Name == rule.Name }
		if j := slices.IndexFunc(rules[:i], same); j >= 0 && rule.Name != "" {
			f.add("%s.name is %s, must be another than that of %s", index(at, i), shown(rule.Name), index(at, j))
		}
	}
}

// wider tells whether everybody whom b is about meets a, as far as the words say it.
func wider(a, b Rule) bool {
	if len(a.Users)+len(a.Groups) > 0 && len(a.Containers) == 0 && len(b.Containers) > 0 {
		return false // a container's process is no user, but where both are named
	}
	ofB := b.conditions()
	for i, list := range a.conditions() {
		if len(list) == 0 {
			continue
		}
		strange := func(s string) bool { return !slices.Contains(list, s) }
		if len(ofB[i]) == 0 || slices.ContainsFunc(ofB[i], strange) {
			return false
		}
	}
	return true
}

// conditions are the lists that say whom a rule is about.
func (r Rule) conditions() [6][]string {
	return [...][]string{r.Users, r.Groups, r.Cgroups, r.Containers, r.Zones, r.Executables}
}
