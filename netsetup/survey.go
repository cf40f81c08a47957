package netsetup

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// difference is how a part of the kernel's state differs from a plan.
type difference struct {
	stale   []piece   // carries our mark and is not in the plan, or not where the plan wants it; in the order of taking down
	missing []piece   // in the plan and not there; in the order of putting up
	foreign []foreign // not ours, and in the way of the plan or inside our chain
	// standIns are there while guards are in neither their old place nor the new one.
	standIns []rule
}

// changes are what makes the difference go away: first what is stale goes.
func (d difference) changes() []change {
	var changes []change
	for _, r := range d.standIns {
		changes = append(changes, change{r, false})
	}
	for _, piece := range d.stale {
		changes = append(changes, change{below(d.standIns, piece), true})
	}
	for _, piece := range d.missing {
		changes = append(changes, change{piece, false})
	}
	for _, r := range d.standIns {
		changes = append(changes, change{r, true})
	}
	return changes
}

// and joins two differences of parts that have nothing to do with one another.
func (d difference) and(other difference) difference {
	return difference{
		stale:   slices.Concat(d.stale, other.stale),
		missing: slices.Concat(d.missing, other.missing),
		foreign: slices.Concat(d.foreign, other.foreign),
	}
}

// need says what it means that rules cannot be listed.
type need int

const (
	// ifAny: without a firewall nothing of ours is there; one that does not work is an error.
	ifAny need = iota
	// unneeded: one that does not work does not matter either, as the plan has no rules.
	unneeded
	// needed: both are errors.
	needed
)

// survey compares everything. It reads on past errors and joins them: what it could read is in the difference.
func (k kernel) survey(ctx context.Context, p Plan, firewall need) (difference, error) {
	link, address, addressErr := k.surveyAddresses(ctx, p)
	way, wayErr := k.surveyRouting(ctx, p)
	guard, guardErr := k.surveyGuard(ctx, p)
	chain, pass, live, firewallErr := k.surveyFirewall(ctx, p)
	absent, broken := noFirewall(firewallErr), errors.Is(firewallErr, ErrIPTables)
	if absent || broken {
		guardErr = nil // the same, and said once
	}
	if absent && firewall != needed || broken && firewall == unneeded {
		firewallErr = nil
	}
	// Down: what is live first, a jump before the chain that it goes to, and the guard last. Up: the reverse.
	return difference{
		stale:   slices.Concat(live.stale, address.stale, pass.stale, chain.stale, way.stale, link.stale, guard.stale),
		missing: slices.Concat(guard.missing, link.missing, way.missing, chain.missing, pass.missing, address.missing, live.missing),
		foreign: slices.Concat(link.foreign, address.foreign, chain.foreign),

		standIns: guard.standIns,
	}, errors.Join(addressErr, wayErr, guardErr, firewallErr)
}

// surveyAddresses compares our link and the addresses.
func (k kernel) surveyAddresses(ctx context.Context, p Plan) (link, address difference, err error) {
	found, err := k.addresses.Addresses(ctx)
	if err != nil {
		return link, address, fmt.Errorf("listing addresses: %w", err)
	}
	states, err := k.links(ctx)
	return diffLinks(p, states, found), diffAddresses(p, found), err
}

func diffAddresses(p Plan, found []address) (d difference) {
	var ours []piece
	for _, a := range found {
		switch {
		case a.ours():
			ours = append(ours, a)
		case p.onAddress() && a.prefix.Addr() == p.Endpoint.Addr():
			d.foreign = append(d.foreign, foreign{fmt.Sprintf("address %s of device %s", a.prefix, a.device), a.removing()})
		}
	}
	wanted := p.addresses()
	d.stale, d.missing = except(ours, wanted), except(wanted, ours)
	return d
}

func (k kernel) surveyRouting(ctx context.Context, p Plan) (difference, error) {
	policies, err := k.addresses.Policies(ctx)
	if err != nil {
		return difference{}, fmt.Errorf("listing routing policy rules: %w", err)
	}
	routes, err := k.addresses.Routes(ctx, routeTable)
	if err != nil {
		return difference{}, fmt.Errorf("listing routes of table %d: %w", routeTable, err)
	}
	var ours []piece
	for _, rule := range policies {
		if rule.ours() {
			ours = append(ours, rule)
		}
	}
	for _, r := range routes {
		if r.ours() {
			ours = append(ours, r)
		}
	}
	wanted := p.routing()
	return difference{stale: except(ours, wanted), missing: except(wanted, ours)}, nil
}

// surveyFirewall compares our chain, what precedes other people's rules, and what makes mode iptables live.
func (k kernel) surveyFirewall(ctx context.Context, p Plan) (chain, pass, live difference, err error) {
	chain, pass, live, err = k.surveyOutput(ctx, p)
	if err != nil {
		return chain, pass, live, err
	}
	listed, _, err := k.rules(ctx, natPrerouting)
	if err != nil {
		return chain, pass, live, err
	}
	_, rest := pick(natPrerouting, listed, isOurRedirection) // by the time a pass is removed, redirections are
	bridgePass, err := k.diffHead(ctx, natPrerouting, rest, isOurPass, in(natPrerouting, p.passes()))
	if err != nil {
		return chain, pass, live, err
	}
	redirection, err := k.diffHead(ctx, natPrerouting, listed, isOurRedirection, p.redirections())
	return chain, pass.and(bridgePass), live.and(redirection), err
}

// surveyOutput compares our chain, and what is about local clients: the jumps to it, and what precedes other people's rules.
func (k kernel) surveyOutput(ctx context.Context, p Plan) (chain, pass, jump difference, err error) {
	output, _, err := k.rules(ctx, natOutput)
	if err != nil {
		return chain, pass, jump, err
	}
	_, rest := pick(natOutput, output, isOurJump) // by the time a pass is removed, jumps are
	pass, err = k.diffHead(ctx, natOutput, rest, isOurPass, in(natOutput, p.passes()))
	if err != nil {
		return chain, pass, jump, err
	}
	inside, exists, err := k.rules(ctx, ownChain)
	if err != nil {
		return chain, pass, jump, err
	}
	filled, err := k.holds(ctx, p.chainRules(), inside)
	if err != nil {
		return chain, pass, jump, err
	}
	filled = filled && exists
	chain = diffChain(p, inside, exists, filled)

	jump = replacement(natOutput, output, isOurJump, p.jumps())
	if filled { // else the jump has to come after what is put into the chain
		jump, err = k.diffHead(ctx, natOutput, output, isOurJump, p.jumps())
	}
	return chain, pass, jump, err
}

// surveyGuard compares the guards.
func (k kernel) surveyGuard(ctx context.Context, p Plan) (d difference, err error) {
	for _, c := range []chain{filterOutput, filterInput} {
		listed, _, err := k.rules(ctx, c)
		if err != nil {
			return difference{}, err
		}
		part, err := k.diffHead(ctx, c, listed, isOurGuard, in(c, p.guards()))
		if err != nil {
			return difference{}, err
		}
		d = d.and(part)
	}
	d.standIns = standIns(d)
	return d, nil
}

func (k kernel) rules(ctx context.Context, c chain) (specs []string, exists bool, err error) {
	specs, exists, err = k.firewall.Rules(ctx, c)
	if err != nil {
		return nil, false, fmt.Errorf("listing chain %q: %w", c, err)
	}
	return specs, exists, nil
}

// replacement removes our rules from somebody else's chain and puts those of the plan at its head.
func replacement(c chain, listed []string, ours func(spec string) bool, wanted []rule) (d difference) {
	d.stale, _ = pick(c, listed, ours)
	d.missing = asPieces(wanted)
	return d
}

// diffHead is the replacement, or nothing where exactly the wanted rules are ours and head the chain.
func (k kernel) diffHead(ctx context.Context, c chain, listed []string, ours func(spec string) bool, wanted []rule) (difference, error) {
	d := replacement(c, listed, ours, wanted)
	if len(d.stale) != len(wanted) || slices.ContainsFunc(listed[:len(wanted)], func(spec string) bool { return !ours(spec) }) {
		return d, nil
	}
	there, err := k.holds(ctx, wanted, listed[:len(wanted)])
	if there {
		d = difference{}
	}
	return d, err
}

// diffChain compares our chain with a plan. Filled tells that its rules are the plan's; else all of them are replaced.
func diffChain(p Plan, inside []string, exists, filled bool) (d difference) {
	if p.Mode == IPTables && !exists {
		d.missing = append(d.missing, ownChain)
	}
	if filled {
		return d
	}
	var others []string
	d.stale, others = pick(ownChain, inside, isOurs)
	for n, spec := range others {
		d.foreign = append(d.foreign, foreign{fmt.Sprintf("rule %q in chain %s", spec, chainName), rule{ownChain, n + 1, spec}.removing()})
	}
	if p.Mode != IPTables && exists && len(d.foreign) == 0 {
		d.stale = append(d.stale, ownChain)
	}
	d.missing = append(d.missing, asPieces(p.chainRules())...)
	return d
}

// pick parts the rules of a chain that are ours from the rest. They come first to last, each at the position it has once
// those before it are gone: iptables deletes the first rule that matches, so that in this order equal rules, too, are put
// back where they were.
func pick(c chain, specs []string, ours func(spec string) bool) (picked []piece, rest []string) {
	for _, spec := range specs {
		if ours(spec) {
			picked = append(picked, rule{c, len(rest) + 1, spec})
		} else {
			rest = append(rest, spec)
		}
	}
	return picked, rest
}

// holds tells whether a chain that lists as specs holds exactly these rules in this order. Whether a rule exists is for
// iptables -C to say: the listing is not compared with what we would write, because iptables prints words back that nobody
// wrote.
func (k kernel) holds(ctx context.Context, rules []rule, specs []string) (bool, error) {
	if len(rules) == 0 || len(rules) != len(specs) {
		return false, nil
	}
	for n, r := range rules {
		if target(specs[n]) != target(r.spec) {
			return false, nil
		}
		has, err := k.firewall.Has(ctx, r.chain, r.spec)
		if err != nil {
			return false, fmt.Errorf("looking for rule %q in chain %q: %w", r.spec, r.chain, err)
		}
		if !has {
			return false, nil
		}
	}
	return true, nil
}

// except returns what is in a and not in b.
func except(a, b []piece) []piece {
	return slices.DeleteFunc(slices.Clone(a), func(p piece) bool { return slices.Contains(b, p) })
}
