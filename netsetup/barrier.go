package netsetup

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Barrier is a route or a routing policy rule of somebody else's by which the kernel refuses what local programs dial at the
// endpoint, before netfilter could redirect it. One of systemd-imdsd's is a route of type prohibit
// (src/imds/85-imds-early.network in systemd 260).
type Barrier struct {
	What   string // such as "route prohibit 169.254.169.254/32 in table main"
	Remove string // the command of ip that removes it
}

// refusingTypes are the types of routes that refuse, in the words of ip-route(8).
var refusingTypes = map[int]string{unix.RTN_BLACKHOLE: "blackhole", unix.RTN_UNREACHABLE: "unreachable", unix.RTN_PROHIBIT: "prohibit"}

// tableNames are the tables that ip knows by a name whatever /etc/iproute2/rt_tables has.
var tableNames = map[int]string{unix.RT_TABLE_LOCAL: "local", unix.RT_TABLE_MAIN: "main", unix.RT_TABLE_DEFAULT: "default"}

// Barriers lists what keeps the programs of a user from the endpoint by routing, in the calling thread's network namespace. There
// is none where the kernel has a way there, or none at all: then mode iptables makes one. It changes nothing and needs no rights.
func Barriers(uid uint32) ([]Barrier, error) {
	// A rule that says unreachable fails as no way at all does (fib4_rule_action in net/ipv4/fib_rules.c), so that errors are alike.
	if _, err := netlink.RouteGetWithOptions(Endpoint.Addr().AsSlice(), &netlink.RouteGetOptions{UID: &uid}); err == nil {
		return nil, nil
	}
	rules, err := dump(func() ([]netlink.Rule, error) { return netlink.RuleList(netlink.FAMILY_V4) })
	if err != nil {
		return nil, fmt.Errorf("listing routing policy rules: %w", err)
	}
	slices.SortStableFunc(rules, func(a, b netlink.Rule) int { return cmp.Compare(a.Priority, b.Priority) })
	var found []Barrier
	seen := map[int]bool{}
	for _, r := range rules {
		if !about(r, uid) {
			continue
		}
		if r.Table == unix.RT_TABLE_UNSPEC { // the library keeps the table of a rule, and not its type
			found = append(found, ruleBarrier(r))
			continue
		}
		if seen[r.Table] {
			continue
		}
		seen[r.Table] = true
		barriers, leads, err := tableBarriers(r.Table)
		if err != nil {
			return nil, err
		}
		found = append(found, barriers...)
		if leads {
			break
		}
	}
	return found, nil
}

// about tells whether a policy rule is about what a user's programs dial at the endpoint, whatever else they set on a socket.
func about(r netlink.Rule, uid uint32) bool {
	switch {
	case r.Goto >= 0, r.Mark != 0, r.Src != nil, r.IifName != "" && r.IifName != loopbackDevice, r.OifName != "", r.Sport != nil:
		return false
	case r.IPProto != 0 && r.IPProto != unix.IPPROTO_TCP:
		return false
	case r.UIDRange != nil && (uid < r.UIDRange.Start || uid > r.UIDRange.End):
		return false
	case r.Dport != nil && (Endpoint.Port() < r.Dport.Start || Endpoint.Port() > r.Dport.End):
		return false
	case r.Dst != nil && r.Dst.Contains(Endpoint.Addr().AsSlice()) == r.Invert:
		return false
	}
	return r.Dst != nil || !r.Invert
}

func ruleBarrier(r netlink.Rule) Barrier {
	words := fmt.Sprintf("pref %d", r.Priority)
	if r.Invert {
		words = "not " + words
	}
	if r.Dst != nil {
		words += " to " + r.Dst.String()
	}
	if r.UIDRange != nil {
		words += fmt.Sprintf(" uidrange %d-%d", r.UIDRange.Start, r.UIDRange.End)
	}
	return Barrier{"routing policy rule " + words, "ip rule delete " + words}
}

// tableBarriers lists the routes of a table that refuse the endpoint, the one that counts first. Leads tells that when they are
// gone, there is another route to it.
func tableBarriers(table int) (found []Barrier, leads bool, err error) {
	routes, err := dump(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: table}, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return nil, false, fmt.Errorf("listing routes of table %d: %w", table, err)
	}
	covering := slices.DeleteFunc(routes, func(r netlink.Route) bool {
		return r.Dst != nil && !r.Dst.Contains(Endpoint.Addr().AsSlice())
	})
	slices.SortStableFunc(covering, func(a, b netlink.Route) int {
		return cmp.Or(cmp.Compare(ones(b.Dst), ones(a.Dst)), cmp.Compare(a.Priority, b.Priority))
	})
	for _, r := range covering {
		kind, refuses := refusingTypes[r.Type]
		if !refuses {
			return found, r.Type != unix.RTN_THROW, nil
		}
		to := "default"
		if ones(r.Dst) > 0 {
			to = r.Dst.String()
		}
		name := cmp.Or(tableNames[r.Table], strconv.Itoa(r.Table))
		command := fmt.Sprintf("ip route delete %s %s table %s", kind, to, name)
		if r.Priority != 0 {
			command += fmt.Sprintf(" metric %d", r.Priority)
		}
		found = append(found, Barrier{fmt.Sprintf("route %s %s in table %s", kind, to, name), command})
	}
	return found, false, nil
}

// ones is the length of a route's prefix; a default route may have none.
func ones(n *net.IPNet) int {
	if n == nil {
		return 0
	}
	length, _ := n.Mask.Size()
	return length
}
