package policy

import (
	"fmt"
	"slices"

	"azimds/imds/token"
)

// Policy is what callers get. The zero Policy allows everything. A pattern for control groups is matched part by part, "*"
// standing for a run of characters within one part; it means a group wherever it is, or from the root on when it begins with a
// slash, and all that is below it. Users can make groups of any name below their own: where others than the owner are
// admitted, only a pattern from the root on, or one together with a user, keeps them apart.
type Policy struct {
	rules []compiled
	zones []zone
}

// zone is a [Zone], ready.
type zone struct {
	Zone
	allowed resources
}

// New checks rules and zones. The error says which rule, counted from 0, and why.
func New(rules []Rule, zones []Zone) (*Policy, error) {
	p := new(Policy)
	for i, r := range rules {
		c, err := compile(r)
		if err != nil {
			return nil, fmt.Errorf("policy[%d]: %w", i, err)
		}
		p.rules = append(p.rules, c)
	}
	for i, z := range zones {
		allowed, err := parseResources(z.Resources)
		if err != nil {
			return nil, fmt.Errorf("zones[%d]: %w", i, err)
		}
		p.zones = append(p.zones, zone{z, allowed})
	}
	return p, nil
}

// NeedsGroups reports whether a decision may depend on a caller's groups.
func (p *Policy) NeedsGroups() bool {
	return slices.ContainsFunc(p.rules, func(r compiled) bool { return len(r.Groups) > 0 })
}

// Decision is what becomes of a request.
type Decision struct {
	Rule    int           // which rule decided, from 0; -1 where none is about the caller
	Zone    int           // which of the zones the caller is in, from 0; -1 for the local one
	Request token.Request // what to ask for: with the identity chosen, where the request names none
	Denied  string        // why there is no token, for a person; "" allows
	ByZone  bool          // the zone's lists forbid it, and not the rule
	Rate    int           // token requests a minute of this caller; 0 is no limit
}

// Decide says what becomes of a request. It allocates nothing where it allows.
func (p *Policy) Decide(c Caller, r token.Request) Decision {
	d := Decision{Rule: -1, Zone: -1, Request: r}
	if c.Zone != Local {
		d.Zone = slices.IndexFunc(p.zones, func(z zone) bool { return c.in(z.Bridge) })
		if d.Zone < 0 {
			d.Denied = fmt.Sprintf("zone %q is not configured", c.Zone)
			return d
		}
	}
	var chosen token.Selector
	d.Rule = slices.IndexFunc(p.rules, func(rule compiled) bool { return rule.about(c) })
	if d.Rule >= 0 {
		rule := &p.rules[d.Rule]
		d.Rate = rule.Rate
		if r.Identity == (token.Selector{}) {
			chosen = rule.Choice.Identity
			d.Request.Identity = chosen
			if r.Tenant == "" {
				d.Request.Tenant = rule.Choice.Tenant
			}
		}
		d.Denied = rule.denies(r, chosen)
	}
	if d.Denied == "" && d.Zone >= 0 {
		z := &p.zones[d.Zone]
		if d.Denied = identities(z.Identities, nil, r.Identity, chosen); d.Denied == "" {
			d.Denied = wanted(z.allowed, resources{}, r.Resource)
		}
		d.ByZone = d.Denied != ""
	}
	return d
}

// denies says why a request of somebody whom the rule is about gets no token; "" allows.
func (r *compiled) denies(q token.Request, chosen token.Selector) string {
	if r.Deny {
		return "the rule denies everything"
	}
	if why := identities(r.Identities, r.NotIdentities, q.Identity, chosen); why != "" {
		return why
	}
	return wanted(r.allowed, r.notAllowed, q.Resource)
}

// Source names what decided, as configuration has it: "policy[2] (work)", "zones[0]", or "no rule".
func (p *Policy) Source(d Decision) string {
	switch {
	case d.ByZone:
		return fmt.Sprintf("zones[%d]", d.Zone)
	case d.Rule < 0:
		return "no rule"
	case p.rules[d.Rule].Name != "":
		return fmt.Sprintf("policy[%d] (%s)", d.Rule, p.rules[d.Rule].Name)
	}
	return fmt.Sprintf("policy[%d]", d.Rule)
}
