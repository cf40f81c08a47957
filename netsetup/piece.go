package netsetup

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net/netip"
	"slices"
)

// The marks. A later version must still find what an earlier one left, so these never change.
const (
	addressLabel = "lo:azimds"      // label of our address on lo
	dummyLabel   = "azimds0:azimds" // label of our address on our link
	dummyDevice  = "azimds0"        // name of our link
	dummyGroup   = 169254           // group of our link; nobody else's would be in it
	routeProto   = 169              // protocol of our route and policy rule; not in iproute2's rt_protos, nor used by a routing daemon
	routeTable   = 169254           // our routing table
	chainName    = "AZIMDS"         // our chain in nat
	ruleComment  = "azimds"         // comment of our rules in other people's chains
)

const (
	loopbackDevice = "lo"
	// policyPriority stands behind the rules for main (32766) and default (32767): our route serves a machine without any
	// route to the endpoint, and yields as soon as there is one.
	policyPriority = 40000
)

// backendAddr is where REDIRECT in nat/OUTPUT sends a connection, whatever the client dialled.
var backendAddr = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// piece is one thing in the kernel that a plan wants or that carries our mark.
type piece interface {
	adding() string   // the command that makes it
	removing() string // the command that removes it
	add(context.Context, kernel) error
	remove(context.Context, kernel) error
}

// address is an IPv4 address of a device, as "ip addr" shows it. It is one of the objects of the addresses seam.
type address struct {
	prefix netip.Prefix
	device string
	label  string
}

func (a address) adding() string {
	return fmt.Sprintf("ip addr add %s dev %s scope host label %s", a.prefix, a.device, a.label)
}
func (a address) removing() string {
	return fmt.Sprintf("ip addr del %s dev %s label %s", a.prefix, a.device, a.label)
}
func (a address) ours() bool {
	return a.device == loopbackDevice && a.label == addressLabel || a.device == dummyDevice && a.label == dummyLabel
}

// localRoute is a route of type local, as "ip route show table all" shows it. It is one of the objects of the addresses seam.
type localRoute struct {
	dst    netip.Prefix
	src    netip.Addr // the source address of what is sent this way; may be the zero Addr
	device string
	table  int
	proto  int
}

func (r localRoute) adding() string   { return r.command("add") }
func (r localRoute) removing() string { return r.command("del") }
func (r localRoute) command(verb string) string {
	return fmt.Sprintf("ip route %s local %s dev %s src %s proto %d table %d", verb, r.dst, r.device, r.src, r.proto, r.table)
}
func (r localRoute) ours() bool { return r.table == routeTable && r.proto == routeProto }

// policy is a routing policy rule, as "ip rule" shows it. It is one of the objects of the addresses seam.
type policy struct {
	iif   string // "lo" means packets that this machine sends: a neighbour's do not match
	to    netip.Prefix
	uids  [2]uint32 // first and last; allUIDs where the rule does not say
	ports [2]uint16 // destination ports, first and last; zero where the rule does not say
	table int
	pref  int
	proto int
}

// allUIDs are what a policy that names no uids applies to. Whoever makes one cannot name these: the last is nobody's.
var allUIDs = [2]uint32{0, math.MaxUint32}

func (p policy) adding() string   { return p.command("add") }
func (p policy) removing() string { return p.command("del") }
func (p policy) command(verb string) string {
	return fmt.Sprintf("ip rule %s iif %s to %s uidrange %d-%d dport %d-%d lookup %d pref %d proto %d",
		verb, p.iif, p.to, p.uids[0], p.uids[1], p.ports[0], p.ports[1], p.table, p.pref, p.proto)
}
func (p policy) ours() bool { return p.table == routeTable && p.proto == routeProto }

func (a address) add(ctx context.Context, k kernel) error       { return k.addresses.Add(ctx, a) }
func (a address) remove(ctx context.Context, k kernel) error    { return k.addresses.Delete(ctx, a) }
func (r localRoute) add(ctx context.Context, k kernel) error    { return k.addresses.Add(ctx, r) }
func (r localRoute) remove(ctx context.Context, k kernel) error { return k.addresses.Delete(ctx, r) }
func (p policy) add(ctx context.Context, k kernel) error        { return k.addresses.Add(ctx, p) }
func (p policy) remove(ctx context.Context, k kernel) error     { return k.addresses.Delete(ctx, p) }

// pieces lists what a plan wants in the order of Up; what makes it live is last, what protects that is first. In mode
// loopback:
//
//	iptables -t filter -I OUTPUT 1 -d 169.254.169.254/32 -p tcp -m tcp --dport 80 --tcp-flags FIN,SYN,RST,ACK SYN -m owner ! --uid-owner 1000 -m comment --comment azimds -j REJECT --reject-with tcp-reset
//	ip addr add 169.254.169.254/32 dev lo scope host label lo:azimds
//
// With a wider scope the address could become the source address of other traffic. In mode dummy:
//
//	iptables -t filter -I OUTPUT 1 … (as above)
//	ip link add azimds0 group 169254 type dummy
//	ip link set azimds0 up
//	ip addr add 169.254.169.254/32 dev azimds0 scope host label azimds0:azimds
//
// The group is the link's mark because it is there from the first moment: the kernel does not take an alias together with a
// new link. While the link is down, the answers of a listener bound to it are lost. Either may have rules before the address,
// the second one for each bridge:
//
//	iptables -t nat -I OUTPUT 1 -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -m comment --comment azimds -j ACCEPT
//	iptables -t nat -I PREROUTING 1 -d 169.254.169.254/32 -i docker0 -p tcp -m tcp --dport 80 -m comment --comment azimds -j ACCEPT
//
// In mode iptables:
//
//	iptables -t filter -I OUTPUT 1 -d 127.0.0.1/32 -p tcp -m tcp --dport 981 -m conntrack ! --ctstate DNAT -m comment --comment azimds -j REJECT --reject-with tcp-reset
//	ip route add local 169.254.169.254/32 dev lo src 127.0.0.1 proto 169 table 169254
//	ip rule add iif lo to 169.254.169.254/32 uidrange 1000-1000 dport 80-80 lookup 169254 pref 40000 proto 169
//	iptables -t nat -N AZIMDS
//	iptables -t nat -I AZIMDS 1 -m owner --gid-owner 4242 --suppl-groups -j RETURN
//	iptables -t nat -I AZIMDS 2 -p tcp -j REDIRECT --to-ports 981
//	iptables -t nat -I OUTPUT 1 -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -m owner --uid-owner 1000 -m comment --comment azimds -j AZIMDS
//
// and for a bridge, the first in front of the others, the last behind them:
//
//	iptables -t filter -I INPUT 1 -i docker0 -p tcp -m tcp --dport 981 -m conntrack ! --ctstate DNAT -m comment --comment azimds -j REJECT --reject-with tcp-reset
//	iptables -t nat -I PREROUTING 1 -d 169.254.169.254/32 -i docker0 -p tcp -m tcp --dport 80 -m comment --comment azimds -j REDIRECT --to-ports 981
//
// The jump is first in OUTPUT because Docker's rule for published ports takes what is dialled on a local address. The
// route is there because routing precedes OUTPUT: without one, connect(2) fails before netfilter sees a packet. It names a
// source address because the default for a local route, the destination, is refused: the kernel accepts only one that the
// table local knows. What comes from a bridge needs no route, since PREROUTING precedes routing.
func (p Plan) pieces() []piece {
	pieces := slices.Concat(asPieces(p.guards()), p.links(), p.routing(), asPieces(p.passes()), p.addresses())
	if p.Mode != IPTables {
		return pieces
	}
	pieces = append(pieces, ownChain)
	return slices.Concat(pieces, asPieces(p.chainRules()), asPieces(p.jumps()), asPieces(p.redirections()))
}

func (p Plan) addresses() []piece {
	switch p.Mode {
	case Loopback:
		return []piece{address{p.prefix(), loopbackDevice, addressLabel}}
	case Dummy:
		return []piece{address{p.prefix(), dummyDevice, dummyLabel}}
	default:
		return nil
	}
}

// routing is the route of mode iptables and the policies that lead there.
//
// The route is a dead end for what is not redirected: it gets no answer there, since the source of one would be an address
// that the table local does not know. So the policies lead nobody there but who is served: other users still see at once that
// the network is unreachable. A policy knows no groups. Where one is served, everybody is led there, and who is not redirected
// is refused by a guard, at once too; where a real metadata service is behind the endpoint there is no such guard, but a way to
// it, and the members of groups go by that.
func (p Plan) routing() []piece {
	if p.Mode != IPTables {
		return nil
	}
	routing := []piece{localRoute{p.prefix(), backendAddr, loopbackDevice, routeTable, routeProto}}
	var ranges [][2]uint32
	if p.AnyLocal || len(p.Groups) > 0 && !p.Shadows {
		ranges = append(ranges, [2]uint32{0, math.MaxUint32 - 1}) // the highest number is nobody's
	} else {
		for _, uid := range p.uids() {
			ranges = append(ranges, [2]uint32{uid, uid})
		}
	}
	for _, uids := range ranges {
		routing = append(routing, policy{
			iif:   loopbackDevice,
			to:    p.prefix(),
			uids:  uids,
			ports: [2]uint16{p.Endpoint.Port(), p.Endpoint.Port()},
			table: routeTable,
			pref:  policyPriority,
			proto: routeProto,
		})
	}
	return routing
}

// uids are the owner and then, each once, the others that are served by their uid.
func (p Plan) uids() []uint32 {
	others := slices.DeleteFunc(slices.Clone(p.Admitted), func(uid uint32) bool { return uid == p.Owner })
	return slices.Concat([]uint32{p.Owner}, once(others))
}

// gids are the groups that are served, each once.
func (p Plan) gids() []uint32 { return once(p.Groups) }

// bridges are the names and patterns of the bridges that are served, each once.
func (p Plan) bridges() []string { return once(p.Bridges) }

// once sorts a copy and drops what is there already: a plan has each rule once.
func once[T cmp.Ordered](all []T) []T {
	return slices.Compact(slices.Sorted(slices.Values(all)))
}

func (p Plan) prefix() netip.Prefix {
	return netip.PrefixFrom(p.Endpoint.Addr(), p.Endpoint.Addr().BitLen())
}
