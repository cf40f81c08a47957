package netsetup

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
)

// nftObject is one entry of what "nft -j list ruleset" prints (libnftables-json(5)).
type nftObject struct {
	Chain *struct {
		Family, Table, Name, Type, Hook, Policy string
		Prio                                    int
	}
	Rule *struct {
		Family, Table, Chain string
		Handle               int
		Expr                 []map[string]json.RawMessage
	}
}

// nftChain is a chain of nf_tables that the kernel enters with what comes in for this machine.
type nftChain struct {
	table string // with its family, such as "inet filter"
	name  string
	prio  int
	rules ruleset
}

// parseNFT reads a ruleset of nft's as it is for one packet. The chain that the program iptables shows is not among its chains.
func parseNFT(text []byte, p packet) ([]nftChain, error) {
	var listing struct {
		Objects []nftObject `json:"nftables"`
	}
	if err := json.Unmarshal(text, &listing); err != nil {
		return nil, fmt.Errorf("parsing the ruleset of nft: %w", err)
	}
	tables := map[string]ruleset{}
	var found []nftChain
	for _, o := range listing.Objects {
		if c := o.Chain; c != nil && (c.Family == "ip" || c.Family == "inet") {
			table := c.Family + " " + c.Table
			if _, known := tables[table]; !known {
				tables[table] = ruleset{map[string][]judgement{}, map[string]verdict{}}
			}
			tables[table].policies[c.Name] = accepts
			if c.Policy == "drop" {
				tables[table].policies[c.Name] = drops
			}
			if c.Type == "filter" && c.Hook == "input" && (table != "ip filter" || c.Name != filterInput.name) {
				found = append(found, nftChain{table, c.Name, c.Prio, tables[table]})
			}
		}
		if r := o.Rule; r != nil {
			if t, known := tables[r.Family+" "+r.Table]; known {
				j := p.judgeExpr(r.Expr)
				j.text = fmt.Sprintf("rule %d of chain %s", r.Handle, r.Chain)
				t.chains[r.Chain] = append(t.chains[r.Chain], j)
			}
		}
	}
	slices.SortStableFunc(found, func(a, b nftChain) int { return a.prio - b.prio })
	return found, nil
}

// judgeExpr judges one rule.
func (p packet) judgeExpr(expr []map[string]json.RawMessage) judgement {
	j := judgement{match: always}
	for _, statement := range expr {
		for key, value := range statement {
			switch key {
			case "match":
				j.match = min(j.match, p.nftMatch(value))
			case "accept":
				j.verdict = accepts
			case "drop", "reject":
				j.verdict = drops
			case "return":
				j.verdict = returns
			case "jump", "goto":
				var to struct{ Target string }
				if json.Unmarshal(value, &to) != nil {
					j.verdict = unclear
					continue
				}
				j.verdict, j.target = jumps, to.Target
				if key == "goto" {
					j.verdict = leaves
				}
			case "vmap", "queue", "xt":
				j.verdict = unclear
				if key == "vmap" {
					j = p.nftMap(j, value)
				}
			case "limit", "quota", "ct count":
				j.match = min(j.match, perhaps)
			}
		}
	}
	return j
}

// nftMatch is how the packet matches one comparison.
func (p packet) nftMatch(text json.RawMessage) match {
	var m struct {
		Op    string
		Left  map[string]json.RawMessage
		Right json.RawMessage
	}
	if json.Unmarshal(text, &m) != nil {
		return perhaps
	}
	is, ok := p.left(m.Left)
	if !ok {
		return perhaps
	}
	found := anyOf(m.Right, is)
	if m.Op == "!=" {
		return found.negated()
	}
	if m.Op != "==" && m.Op != "in" {
		return perhaps
	}
	return found
}

// nftMap is a rule whose verdict is looked up, as by ct state vmap { established : accept, invalid : drop }.
func (p packet) nftMap(j judgement, text json.RawMessage) judgement {
	var m struct {
		Key  map[string]json.RawMessage
		Data struct{ Set [][2]json.RawMessage }
	}
	if json.Unmarshal(text, &m) != nil {
		return j
	}
	is, ok := p.left(m.Key)
	if !ok {
		return j
	}
	for _, entry := range m.Data.Set {
		var statement map[string]json.RawMessage
		switch found := anyOf(entry[0], is); {
		case found == perhaps, found == always && json.Unmarshal(entry[1], &statement) != nil:
			return j
		case found == always:
			inner := p.judgeExpr([]map[string]json.RawMessage{statement})
			inner.match = j.match
			return inner
		}
	}
	j.verdict = goesOn
	return j
}

// anyOf is how a value matches what is on the right of a comparison: one value, several, or a set of them.
func anyOf(right json.RawMessage, is func(json.RawMessage) match) match {
	var set struct{ Set []json.RawMessage }
	var list []json.RawMessage
	switch {
	case json.Unmarshal(right, &set) == nil && set.Set != nil:
		list = set.Set
	case json.Unmarshal(right, &list) != nil:
		list = []json.RawMessage{right}
	}
	found := never
	for _, one := range list {
		found = max(found, is(one))
	}
	return found
}

// left is a comparison with what is on its left; false where that is not known of the packet.
func (p packet) left(expr map[string]json.RawMessage) (is func(json.RawMessage) match, ok bool) {
	for kind, text := range expr {
		var e struct {
			Key, Protocol, Field, Result string
			Flags                        json.RawMessage
		}
		if json.Unmarshal(text, &e) != nil {
			return nil, false
		}
		switch kind + " " + e.Key + e.Protocol + " " + e.Field {
		case "meta iifname ", "meta iif ":
			return word(p.bridge.Name), true
		case "meta l4proto ", "payload ip protocol":
			return word("tcp"), true
		case "meta nfproto ":
			return word("ipv4"), true
		case "ct state ":
			return word("new"), true
		case "ct status ":
			if p.redirect {
				return word("dnat"), true
			}
			return word(""), true
		case "ct ip daddr ":
			return address4(func(n netip.Prefix) match { return truth(n.Contains(Endpoint.Addr())) }), true
		case "payload ip daddr":
			return address4(p.towards), true
		case "payload ip saddr":
			return address4(p.within), true
		case "payload tcp dport", "payload th dport":
			return p.nftPort, true
		}
		if kind == "payload" && slices.Contains([]string{"udp", "icmp", "icmpv6", "ip6", "sctp", "igmp"}, e.Protocol) {
			return func(json.RawMessage) match { return never }, true
		}
		if kind == "fib" && e.Result == "type" && (string(e.Flags) == `"daddr"` || string(e.Flags) == `["daddr"]`) {
			return word("local"), true
		}
	}
	return nil, false
}

// word compares with a text. A set of the table's own, @name, may have anything in it.
func word(value string) func(json.RawMessage) match {
	return func(text json.RawMessage) match {
		var other string
		if json.Unmarshal(text, &other) != nil || len(other) > 0 && other[0] == '@' {
			return perhaps
		}
		return truth(matches(other, value))
	}
}

// nftPort compares with a port or a range of them.
func (p packet) nftPort(text json.RawMessage) match {
	var port uint16
	var span struct{ Range [2]uint16 }
	var name string
	switch {
	case json.Unmarshal(text, &port) == nil:
		return p.among(port, port)
	case json.Unmarshal(text, &name) == nil:
		if number, err := strconv.ParseUint(name, 10, 16); err == nil {
			return p.among(uint16(number), uint16(number))
		}
		return perhaps
	case json.Unmarshal(text, &span) == nil && span.Range[1] != 0:
		return p.among(span.Range[0], span.Range[1])
	}
	return perhaps
}

// address4 compares with an address or a network.
func address4(is func(netip.Prefix) match) func(json.RawMessage) match {
	return func(text json.RawMessage) match {
		var single string
		var network struct {
			Prefix struct {
				Addr string
				Len  int
			}
		}
		switch {
		case json.Unmarshal(text, &single) == nil:
			return inNetwork(single, is)
		case json.Unmarshal(text, &network) == nil && network.Prefix.Addr != "":
			return inNetwork(fmt.Sprintf("%s/%d", network.Prefix.Addr, network.Prefix.Len), is)
		}
		return perhaps
	}
}
