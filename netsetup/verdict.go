package netsetup

import "net/netip"

// packet is the first one of what a container behind a bridge dials at the endpoint, as it comes to INPUT of filter.
type packet struct {
	bridge   Bridge
	dst      []netip.Addr // where it may be going by now: the endpoint, or the bridge's own address once it was redirected
	port     uint16       // likewise
	redirect bool         // it was redirected
}

// inbound is the packet of a bridge under a plan's mode.
func inbound(b Bridge, m Mode, port uint16) packet {
	if m == IPTables {
		return packet{b, b.Addresses, port, true}
	}
	return packet{b, []netip.Addr{Endpoint.Addr()}, Endpoint.Port(), false}
}

// match tells how a rule, or a part of it, matches a packet. Words that are not known match perhaps.
type match int

const (
	never match = iota
	perhaps
	always
)

// negated is the opposite.
func (m match) negated() match { return always - m }

func truth(b bool) match {
	if b {
		return always
	}
	return never
}

// some is how one of several values matches.
func some[T any](values []T, is func(T) bool) match {
	hits := 0
	for _, v := range values {
		if is(v) {
			hits++
		}
	}
	switch {
	case hits == 0:
		return never
	case hits == len(values):
		return always
	}
	return perhaps
}

// verdict is what becomes of a packet.
type verdict int

const (
	goesOn  verdict = iota // to the next rule
	accepts                // and leaves this table
	drops                  // or rejects
	returns                // to the chain that jumped here
	jumps                  // to another chain, and comes back
	leaves                 // for another chain, and does not come back
	unclear                // it cannot be told
)

// judgement is one rule as it is for one packet.
type judgement struct {
	match   match
	verdict verdict
	target  string // of jumps and leaves
	text    string // the rule, for people
}

// ruleset is the chains of one table, as they are for one packet.
type ruleset struct {
	chains   map[string][]judgement
	policies map[string]verdict // of chains that the kernel itself enters
}

// maxDepth bounds jumps: the kernel allows no more than 16 in nf_tables (NFT_JUMP_STACK_SIZE), and no loop anywhere. maxSteps bounds
// the rules that are looked at, since chains that jump to one another by several rules make them many.
const (
	maxDepth = 32
	maxSteps = 100_000
)

// judge is what becomes of the packet in a chain that the kernel enters, and by which rule; "" is the policy.
func (s ruleset) judge(chain string) (verdict, string) {
	steps := 0
	v, rule := s.walk(chain, 0, &steps)
	if v == goesOn || v == returns {
		return s.policies[chain], ""
	}
	return v, rule
}

// walk goes through a chain. A rule that perhaps matches counts where it may let the packet pass what drops it later: whether
// it is dropped then cannot be told. That a rule perhaps drops it is not said.
func (s ruleset) walk(chain string, depth int, steps *int) (verdict, string) {
	doubt := false
	for _, r := range s.chains[chain] {
		if *steps++; depth > maxDepth || *steps > maxSteps {
			return unclear, ""
		}
		if r.match == never {
			continue
		}
		v, rule := r.verdict, r.text
		if v == jumps || v == leaves {
			v, rule = s.walk(r.target, depth+1, steps)
			if v == returns || v == goesOn {
				v = goesOn
				if r.verdict == leaves {
					v = returns
				}
			}
		}
		switch {
		case v == goesOn:
		case v == unclear, r.match == perhaps && v != drops:
			doubt = true
		case r.match == perhaps:
		case v == drops && doubt:
			return unclear, rule
		default:
			return v, rule
		}
	}
	if doubt {
		return unclear, ""
	}
	return goesOn, ""
}

// within tells how a network that a rule names matches what the packet may come from: the bridge's subnets.
func (p packet) within(network netip.Prefix) match {
	return some(p.bridge.Subnets, func(subnet netip.Prefix) bool {
		return network.Bits() <= subnet.Bits() && network.Contains(subnet.Addr())
	}).or(some(p.bridge.Subnets, network.Overlaps))
}

// or is m, or perhaps where something else does not rule that out.
func (m match) or(possible match) match {
	if m == never && possible != never {
		return perhaps
	}
	return m
}

// towards tells how a network that a rule names matches where the packet may be going.
func (p packet) towards(network netip.Prefix) match { return some(p.dst, network.Contains) }

// among is how the packet's port matches a range.
func (p packet) among(first, last uint16) match { return truth(first <= p.port && p.port <= last) }
