package netsetup

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
)

// Closed is a bridge whose containers a firewall keeps from the endpoint, in INPUT of filter.
type Closed struct {
	Bridge  string
	By      string // iptables-nft, iptables-legacy, or nft with the table's name
	Manager string // ufw or firewalld, whose rules they are; "" for others
	Rule    string // which drops it; "the policy of INPUT"
	Open    string // the command that lets it in
	Unclear bool   // it may be let in or not: a rule's words are not known
}

// ListClosed looks which of the bridges named, that are there and could be served, a firewall keeps from the endpoint. Port is that
// of the backend; 0 is the one that is tried first. It reads both back ends of iptables and, where the program nft is, the tables
// of others. It needs root and changes nothing.
func ListClosed(ctx context.Context, names []string, m Mode, port uint16) ([]Closed, error) {
	if len(names) == 0 {
		return nil, nil
	}
	if port == 0 {
		port = firstBackendPort
	}
	bridges, err := Bridges(ctx, names)
	if err != nil {
		return nil, err
	}
	listed, err := listBackends(ctx)
	if err != nil {
		return nil, err
	}
	var text string
	if nft := systemProgram("nft"); nft != "" {
		if text, err = output(ctx, nft, "-j", "list", "ruleset"); err != nil {
			return nil, err
		}
	}
	var closed []Closed
	for _, b := range bridges {
		if b.Problem != "" {
			continue
		}
		one, err := listed.closed(inbound(b, m, port), text)
		if err != nil {
			return nil, err
		}
		if one != nil {
			closed = append(closed, *one)
		}
	}
	return closed, nil
}

// closed is who keeps a packet out, nil for nobody. What certainly does counts before what may.
func (l listedBackends) closed(p packet, nft string) (*Closed, error) {
	var maybe *Closed
	judged := func(v verdict, c *Closed) *Closed {
		switch {
		case v == drops:
			return c
		case v == unclear && maybe == nil:
			c.Unclear = true
			maybe = c
		}
		return nil
	}
	for _, backend := range []string{backendNFT, backendLegacy} {
		for _, t := range l.rules[backend] {
			if t.table != filterInput.table {
				continue
			}
			s := parseTable(t.listing, p)
			v, rule := s.judge(filterInput.name)
			if c := judged(v, l.byIPTables(p, backend, t.listing, rule)); c != nil {
				return c, nil
			}
		}
	}
	if nft == "" {
		return maybe, nil
	}
	chains, err := parseNFT([]byte(nft), p)
	if err != nil {
		return nil, err
	}
	for _, chain := range chains {
		v, rule := chain.rules.judge(chain.name)
		if c := judged(v, byNFT(p, chain, rule)); c != nil {
			return c, nil
		}
	}
	return maybe, nil
}

// policyOf is what drops a packet that no rule is about.
func policyOf(chain, rule string) string {
	if rule == "" {
		return "the policy of " + chain
	}
	return rule
}

// byIPTables is a packet that a back end of iptables drops. What goes to INPUT is as it was redirected; what it was dialled at, the
// connection tracker knows in each mode.
func (l listedBackends) byIPTables(p packet, backend, listing, rule string) *Closed {
	c := &Closed{Bridge: p.bridge.Name, By: backend, Rule: policyOf(filterInput.name, rule)}
	program := backend
	if backend == l.uses {
		program = programName
	}
	c.Open = fmt.Sprintf("%s -I %s -i %s -p tcp -m conntrack --ctorigdst %s --ctorigdstport %d -j ACCEPT",
		program, filterInput.name, p.bridge.Name, Endpoint.Addr(), Endpoint.Port())
	if strings.Contains(listing, "-N ufw-") {
		c.Manager = "ufw"
		c.Open = fmt.Sprintf("ufw allow in on %s proto tcp to %s port %d", p.bridge.Name, p.where(), p.port)
	}
	if strings.Contains(listing, "-N INPUT_ZONES") {
		c.Manager = "firewalld"
		c.Open = openFirewalld(p)
	}
	return c
}

func byNFT(p packet, chain nftChain, rule string) *Closed {
	c := &Closed{Bridge: p.bridge.Name, By: fmt.Sprintf("nft, table %s", chain.table), Rule: policyOf("chain "+chain.name, rule)}
	c.Open = fmt.Sprintf(`nft insert rule %s %s iifname %s ct original ip daddr %s accept`, chain.table, chain.name, p.bridge.Name, Endpoint.Addr())
	if chain.table == "inet firewalld" {
		c.Manager = "firewalld"
		c.Open = openFirewalld(p)
	}
	return c
}

// openFirewalld lets the port in from whichever zone of firewalld's the bridge is in.
func openFirewalld(p packet) string {
	return fmt.Sprintf(`firewall-cmd --add-rich-rule='rule family="ipv4" destination address="%s" port port="%d" protocol="tcp" accept' `+
		`--zone="$(firewall-cmd --get-zone-of-interface=%s || firewall-cmd --get-default-zone)"`, p.where(), p.port, p.bridge.Name)
}

// where is the address to which the packet goes.
func (p packet) where() netip.Addr { return p.dst[0] }
