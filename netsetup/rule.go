package netsetup

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// chain is a chain of netfilter. It is a piece where it is ours.
type chain struct {
	table string
	name  string
}

var (
	ownChain      = chain{"nat", chainName}
	natOutput     = chain{"nat", "OUTPUT"}
	natPrerouting = chain{"nat", "PREROUTING"}
	filterOutput  = chain{"filter", "OUTPUT"}
	filterInput   = chain{"filter", "INPUT"}
)

// String is the chain's name with its table's, such as nat/OUTPUT.
func (c chain) String() string { return c.table + "/" + c.name }

func (c chain) adding() string   { return fmt.Sprintf("iptables -t %s -N %s", c.table, c.name) }
func (c chain) removing() string { return fmt.Sprintf("iptables -t %s -X %s", c.table, c.name) }

func (c chain) add(ctx context.Context, k kernel) error    { return k.firewall.NewChain(ctx, c) }
func (c chain) remove(ctx context.Context, k kernel) error { return k.firewall.DeleteChain(ctx, c) }

// rule is a rule in a chain. Its spec is in the words of "iptables -S", so that a rule which was listed can be deleted and
// put back as it was.
type rule struct {
	chain chain
	pos   int // from 1
	spec  string
}

func (r rule) adding() string {
	return fmt.Sprintf("iptables -t %s -I %s %d %s", r.chain.table, r.chain.name, r.pos, r.spec)
}

func (r rule) removing() string {
	return fmt.Sprintf("iptables -t %s -D %s %s", r.chain.table, r.chain.name, r.spec)
}

func (r rule) add(ctx context.Context, k kernel) error {
	return k.firewall.Insert(ctx, r.chain, r.pos, r.spec)
}

func (r rule) remove(ctx context.Context, k kernel) error {
	return k.firewall.Delete(ctx, r.chain, r.spec)
}

// guards are the rules in the filter table that keep everybody from dialling the backend directly, and everybody who is not
// served from dialling the endpoint.
//
// Our listener would reset such a connection, but the connection tracker remembers it for seconds, and for that long its
// source port is taken: when the owner's next connection has the same one, REDIRECT gives it another, and its owner can no
// longer be found by the port that the server sees. Any user could so refuse the owner all tokens. What is rejected here is
// never entered in the tracker. It never comes to the listener's queue either, where a dead connection could outlive its
// client and be taken for the next one with that source port.
//
// A dial of the endpoint that is not redirected does the same: where it is lost on the way, the tracker waits two minutes
// for an answer. Who is not served sees a closed port instead, at once, as where no metadata service is. Where a real one
// is, they must reach it, and the owner's port can be taken so.
//
// Where the address is on a device, one rule refuses the endpoint to all who are not served.
func (p Plan) guards() []rule {
	switch {
	case without("reject"):
		return nil
	case p.onAddress() && p.Refuses && !p.AnyLocal:
		return []rule{{filterOutput, 1, p.exclusion(p.Endpoint)}}
	case p.Mode != IPTables:
		return nil
	}
	protected := protection(p.Backend.Port())
	if len(p.Bridges) > 0 {
		protected = hostProtection(p.Backend.Port())
	}
	guards := []rule{{filterOutput, 1, protected}}
	if !p.Shadows {
		guards = append(guards, rule{filterOutput, 2, refusal(p.Endpoint)})
	}
	for n, name := range p.bridges() {
		guards = append(guards, rule{filterInput, n + 1, bridgeProtection(name, p.Backend.Port())})
	}
	return guards
}

// chainRules are the rules of our chain, in order.
func (p Plan) chainRules() []rule {
	if p.Mode != IPTables {
		return nil
	}
	var specs []string
	if p.ExemptGroup != 0 {
		specs = append(specs, exemption(p.ExemptGroup))
	}
	specs = append(specs, redirection(p.Backend.Port()))
	rules := make([]rule, len(specs))
	for i, spec := range specs {
		rules[i] = rule{ownChain, i + 1, spec}
	}
	return rules
}

// jumps are the rules in OUTPUT that make the interception live, one for each user or group that is served.
func (p Plan) jumps() []rule {
	if p.Mode != IPTables {
		return nil
	}
	var jumps []rule
	for n, who := range p.served() {
		jumps = append(jumps, rule{natOutput, n + 1, selection(p.Endpoint, who) + " -j " + chainName})
	}
	return jumps
}

// redirections are the rules in PREROUTING that make the interception live for what comes from a bridge. They do not jump to
// our chain, in which the owner match may be: the kernel has that in OUTPUT and POSTROUTING only.
func (p Plan) redirections() []rule {
	if p.Mode != IPTables {
		return nil
	}
	var rules []rule
	for n, name := range p.bridges() {
		spec := fmt.Sprintf("%s -j REDIRECT --to-ports %d", arrival(p.Endpoint, name), p.Backend.Port())
		rules = append(rules, rule{natPrerouting, n + 1, spec})
	}
	return rules
}

// passes are the rules in OUTPUT, and for each bridge in PREROUTING, that keep those behind them from redirecting what is
// dialled at an endpoint whose address is on a device:
//
//	-d 169.254.169.254/32 -p tcp -m tcp --dport 80 -m comment --comment azimds -j ACCEPT
//
// Docker's for published ports, and those of the portmap plugin of CNI for host ports, apply to every local address, and the
// endpoint's is one. What is accepted in one table goes on in the next: filter still sees it.
func (p Plan) passes() []rule {
	if !p.onAddress() || !p.Precedes {
		return nil
	}
	passes := []rule{{natOutput, 1, pass(p.Endpoint)}}
	for n, name := range p.bridges() {
		passes = append(passes, rule{natPrerouting, n + 1, arrival(p.Endpoint, name) + " -j ACCEPT"})
	}
	return passes
}

// served are the matches of those who are served, each for a rule of its own: the owner first. An empty one is everybody.
func (p Plan) served() []string {
	if p.AnyLocal {
		return []string{""}
	}
	var matches []string
	for _, uid := range p.uids() {
		matches = append(matches, fmt.Sprintf("-m owner --uid-owner %d ", uid))
	}
	for _, gid := range p.gids() {
		matches = append(matches, fmt.Sprintf("-m owner --gid-owner %d --suppl-groups ", gid))
	}
	return matches
}

// exclusion refuses what is dialled at the endpoint by anybody who is not served:
//
//	-d 169.254.169.254/32 -p tcp -m tcp --dport 80 --tcp-flags FIN,SYN,RST,ACK SYN -m owner ! --uid-owner 1000 -m owner ! --uid-owner 1001 -m comment --comment azimds -j REJECT --reject-with tcp-reset
//
// All matches of one rule have to hold, so that no chain is needed. It is about the first packet of a connection alone: a
// negated owner match takes what no socket sends for anybody's (owner_mt in net/netfilter/xt_owner.c), and the last packets of
// a connection that its process has closed are so.
func (p Plan) exclusion(endpoint netip.AddrPort) string {
	var b strings.Builder
	for _, uid := range p.uids() {
		fmt.Fprintf(&b, "-m owner ! --uid-owner %d ", uid)
	}
	for _, gid := range p.gids() {
		fmt.Fprintf(&b, "-m owner ! --gid-owner %d --suppl-groups ", gid)
	}
	return fmt.Sprintf("-d %s/32 -p tcp -m tcp --dport %d --tcp-flags FIN,SYN,RST,ACK SYN %s-m comment --comment %s "+
		"-j REJECT --reject-with tcp-reset", endpoint.Addr(), endpoint.Port(), b.String(), ruleComment)
}

// selection matches what is sent to the endpoint by those whom another match names, and carries our comment:
//
//	-d 169.254.169.254/32 -p tcp -m tcp --dport 80 -m owner --uid-owner 1000 -m comment --comment azimds
func selection(endpoint netip.AddrPort, who string) string {
	return fmt.Sprintf("-d %s/32 -p tcp -m tcp --dport %d %s-m comment --comment %s",
		endpoint.Addr(), endpoint.Port(), who, ruleComment)
}

// arrival matches what comes from a bridge for the endpoint, and carries our comment:
//
//	-d 169.254.169.254/32 -i docker0 -p tcp -m tcp --dport 80 -m comment --comment azimds
func arrival(endpoint netip.AddrPort, bridge string) string {
	return fmt.Sprintf("-d %s/32 -i %s -p tcp -m tcp --dport %d -m comment --comment %s",
		endpoint.Addr(), wildcard(bridge), endpoint.Port(), ruleComment)
}

// exemption lets a group's traffic out. Without --suppl-groups only a process whose effective group it is would match.
func exemption(gid uint32) string {
	return fmt.Sprintf("-m owner --gid-owner %d --suppl-groups -j RETURN", gid)
}

func redirection(port uint16) string {
	return fmt.Sprintf("-p tcp -j REDIRECT --to-ports %d", port)
}

// protection refuses what was not redirected to a port of 127.0.0.1 but dialled there:
//
//	-d 127.0.0.1/32 -p tcp -m tcp --dport 981 -m conntrack ! --ctstate DNAT -m comment --comment azimds -j REJECT --reject-with tcp-reset
//
// It stands in filter and not in raw, because only there is REJECT: the port looks closed, where DROP would keep a client
// waiting. OUTPUT of filter comes after that of nat, so what was redirected has the same destination here and differs in
// its state.
func protection(port uint16) string {
	return fmt.Sprintf("-d %s/32 -p tcp -m tcp --dport %d -m conntrack ! --ctstate DNAT -m comment --comment %s "+
		"-j REJECT --reject-with tcp-reset", backendAddr, port, ruleComment)
}

// hostProtection is the protection where a bridge's listener is on every address: the kernel takes a dial of the bridge's
// own address by a local client for one that comes in by the bridge, though it travels by lo:
//
//	-o lo -p tcp -m tcp --dport 981 -m conntrack ! --ctstate DNAT -m comment --comment azimds -j REJECT --reject-with tcp-reset
func hostProtection(port uint16) string {
	return fmt.Sprintf("-o %s -p tcp -m tcp --dport %d -m conntrack ! --ctstate DNAT -m comment --comment %s "+
		"-j REJECT --reject-with tcp-reset", loopbackDevice, port, ruleComment)
}

// bridgeProtection refuses what comes from a bridge and was not redirected to a port but dialled there, on whichever address
// of this machine:
//
//	-i docker0 -p tcp -m tcp --dport 981 -m conntrack ! --ctstate DNAT -m comment --comment azimds -j REJECT --reject-with tcp-reset
func bridgeProtection(bridge string, port uint16) string {
	return fmt.Sprintf("-i %s -p tcp -m tcp --dport %d -m conntrack ! --ctstate DNAT -m comment --comment %s "+
		"-j REJECT --reject-with tcp-reset", wildcard(bridge), port, ruleComment)
}

// refusal refuses what is dialled at the endpoint and was not redirected, which has another destination by now:
//
//	-d 169.254.169.254/32 -p tcp -m tcp --dport 80 -m comment --comment azimds -j REJECT --reject-with tcp-reset
func refusal(endpoint netip.AddrPort) string {
	return fmt.Sprintf("-d %s/32 -p tcp -m tcp --dport %d -m comment --comment %s -j REJECT --reject-with tcp-reset",
		endpoint.Addr(), endpoint.Port(), ruleComment)
}

// pass is as in passes.
func pass(endpoint netip.AddrPort) string {
	return fmt.Sprintf("-d %s/32 -p tcp -m tcp --dport %d -m comment --comment %s -j ACCEPT",
		endpoint.Addr(), endpoint.Port(), ruleComment)
}

// in are the rules of one chain.
func in(c chain, rules []rule) []rule {
	return slices.DeleteFunc(rules, func(r rule) bool { return r.chain != c })
}

func asPieces(rules []rule) []piece {
	pieces := make([]piece, len(rules))
	for i, r := range rules {
		pieces[i] = r
	}
	return pieces
}
