package netsetup

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// difference is how a part of the kernel's state differs from a plan.
type difference struct {
	stale   []piece  // carries our mark and is not in the plan, or not where the plan wants it; in the order of taking down
	missing []piece  // in the plan and not there; in the order of putting up
	foreign []string // not ours, and in the way of the plan or inside our chain
}

// survey compares everything. It reads on past errors and joins them: what it could read is in the difference. Unless the
// firewall is needed, a missing iptables program means that nothing of ours is there.
func (k kernel) survey(ctx context.Context, p Plan, needFirewall bool) (difference, error) {
	address, addressErr := k.surveyAddresses(ctx, p)
	way, wayErr := k.surveyRouting(ctx, p)
	jump, chain, firewallErr := k.surveyFirewall(ctx, p)
	if errors.Is(firewallErr, ErrNoIPTables) && !needFirewall {
		firewallErr = nil
	}
	// Down: what is live first, and a jump before the chain that it goes to. Up: the reverse.
	return difference{
		stale:   slices.Concat(jump.stale, address.stale, chain.stale, way.stale),
		missing: slices.Concat(way.missing, chain.missing, address.missing, jump.missing),
		foreign: slices.Concat(address.foreign, chain.foreign),
	}, errors.Join(addressErr, wayErr, firewallErr)
}

func (k kernel) surveyAddresses(ctx context.Context, p Plan) (d difference, err error) {
	found, err := k.addresses.Addresses(ctx)
	if err != nil {
		return difference{}, fmt.Errorf("listing addresses: %w", err)
	}
	var ours []piece
	for _, a := range found {
		switch {
		case a.ours():
			ours = append(ours, a)
		case p.Mode == Loopback && a.prefix.Addr() == p.Endpoint.Addr():
			d.foreign = append(d.foreign, fmt.Sprintf("address %s of device %s", a.prefix, a.device))
		}
	}
	wanted := p.addresses()
	d.stale, d.missing = without(ours, wanted), without(wanted, ours)
	return d, nil
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
	return difference{stale: without(ours, wanted), missing: without(wanted, ours)}, nil
}

// surveyFirewall compares our chain, and the jumps to it. Whether a wanted rule exists is for iptables -C to say; what
// else is there, and the order, is read from the listing.
func (k kernel) surveyFirewall(ctx context.Context, p Plan) (jump, chain difference, err error) {
	output, _, err := k.firewall.Rules(ctx, outputChain)
	if err != nil {
		return jump, chain, fmt.Errorf("listing chain %q: %w", outputChain, err)
	}
	inside, exists, err := k.firewall.Rules(ctx, chainName)
	if err != nil {
		return jump, chain, fmt.Errorf("listing chain %q: %w", chainName, err)
	}
	filled, err := k.holds(ctx, p.chainRules(), inside)
	if err != nil {
		return jump, chain, err
	}
	filled = filled && exists
	chain = diffChain(p, inside, exists, filled)

	jump.stale, _ = pick(outputChain, output, isOurJump)
	if p.Mode != IPTables {
		return jump, chain, nil
	}
	jump.missing = []piece{p.jump()}
	if alone := len(jump.stale) == 1 && isOurJump(output[0]); alone && filled {
		live, err := k.holds(ctx, []natRule{p.jump()}, output[:1])
		if err != nil {
			return jump, chain, err
		}
		if live {
			jump = difference{}
		}
	}
	return jump, chain, nil
}

// diffChain compares our chain with a plan. Filled tells that its rules are the plan's; else all of them are replaced.
func diffChain(p Plan, inside []string, exists, filled bool) (d difference) {
	if p.Mode == IPTables && !exists {
		d.missing = append(d.missing, natChain(chainName))
	}
	if filled {
		return d
	}
	var foreign []string
	d.stale, foreign = pick(chainName, inside, isOurs)
	for _, spec := range foreign {
		d.foreign = append(d.foreign, fmt.Sprintf("rule %q in chain %s", spec, chainName))
	}
	if p.Mode != IPTables && exists && len(d.foreign) == 0 {
		d.stale = append(d.stale, natChain(chainName))
	}
	for _, r := range p.chainRules() {
		d.missing = append(d.missing, r)
	}
	return d
}

// pick parts the rules of a chain that are ours from the rest. They come first to last, each at the position it has once
// those before it are gone: iptables deletes the first rule that matches, so that in this order equal rules, too, are put
// back where they were.
func pick(chain string, specs []string, ours func(spec string) bool) (picked []piece, rest []string) {
	for _, spec := range specs {
		if ours(spec) {
			picked = append(picked, natRule{chain, len(rest) + 1, spec})
		} else {
			rest = append(rest, spec)
		}
	}
	return picked, rest
}

// holds tells whether a chain that lists as specs holds exactly these rules in this order. The listing is not compared with
// what we would write, because iptables prints words back that nobody wrote.
func (k kernel) holds(ctx context.Context, rules []natRule, specs []string) (bool, error) {
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

// without returns what is in a and not in b.
func without(a, b []piece) []piece {
	return slices.DeleteFunc(slices.Clone(a), func(p piece) bool { return slices.Contains(b, p) })
}
