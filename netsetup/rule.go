package netsetup

import (
	"context"
	"fmt"
	"net/netip"
)

// chain is a chain of netfilter. It is a piece where it is ours.
type chain struct {
	table string
	name  string
}

var (
	ownChain     = chain{"nat", chainName}
	natOutput    = chain{"nat", "OUTPUT"}
	filterOutput = chain{"filter", "OUTPUT"}
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

// guards are the rules in the filter table that keep everybody from dialling the backend directly, and everybody but the
// owner from dialling the endpoint.
//
// Our listener would reset such a connection, but the connection tracker remembers it for seconds, and for that long its
// source port is taken: when the owner's next connection has the same one, REDIRECT gives it another, and its owner can no
// longer be found by the port that the server sees. Any user could so refuse the owner all tokens. What is rejected here is
// never entered in the tracker. It never comes to the listener's queue either, where a dead connection could outlive its
// client and be taken for the next one with that source port.
//
// A dial of the endpoint that is not redirected does the same: where it is lost on the way, the tracker waits two minutes
// for an answer. Others than the owner see a closed port instead, at once, as where no metadata service is. Where a real one
// is, they must reach it, and the owner's port can be taken so.
func (p Plan) guards() []rule {
	if p.Mode != IPTables {
		return nil
	}
	guards := []rule{{filterOutput, 1, protection(p.Backend.Port())}}
	if !p.Shadows {
		guards = append(guards, rule{filterOutput, 2, refusal(p.Endpoint)})
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

// jumps are the rule in OUTPUT that makes the interception live.
func (p Plan) jumps() []rule {
	if p.Mode != IPTables {
		return nil
	}
	return []rule{{natOutput, 1, selection(p.Endpoint, p.Owner) + " -j " + chainName}}
}

// passes are the rule in OUTPUT that keeps those behind it from redirecting what is dialled at an endpoint whose address is
// on a device:
//
//	-d 169.254.169.254/32 -p tcp -m tcp --dport 80 -m comment --comment azimds -j ACCEPT
//
// Docker's for published ports, and those of the portmap plugin of CNI for host ports, apply to every local address, and the
// endpoint's is one. What is accepted in one table goes on in the next: filter still sees it.
func (p Plan) passes() []rule {
	if !p.onAddress() || !p.Precedes {
		return nil
	}
	return []rule{{natOutput, 1, pass(p.Endpoint)}}
}

// selection matches what a user sends to the endpoint and carries our comment:
//
//	-d 169.254.169.254/32 -p tcp -m tcp --dport 80 -m owner --uid-owner 1000 -m comment --comment azimds
func selection(endpoint netip.AddrPort, owner uint32) string {
	return fmt.Sprintf("-d %s/32 -p tcp -m tcp --dport %d -m owner --uid-owner %d -m comment --comment %s",
		endpoint.Addr(), endpoint.Port(), owner, ruleComment)
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

func asPieces(rules []rule) []piece {
	pieces := make([]piece, len(rules))
	for i, r := range rules {
		pieces[i] = r
	}
	return pieces
}
