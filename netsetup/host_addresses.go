package netsetup

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// hostAddresses are the calling thread's network namespace, through netlink.
type hostAddresses struct{}

// Addresses lists every IPv4 address of every device.
func (hostAddresses) Addresses(context.Context) ([]address, error) {
	links, err := dump(netlink.LinkList)
	if err != nil {
		return nil, err
	}
	names := make(map[int]string, len(links))
	for _, link := range links {
		names[link.Attrs().Index] = link.Attrs().Name
	}
	found, err := dump(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_V4) })
	if err != nil {
		return nil, err
	}
	var addresses []address
	for _, a := range found {
		if prefix, ok := prefixOf(a.IPNet); ok {
			addresses = append(addresses, address{prefix, names[a.LinkIndex], a.Label})
		}
	}
	return addresses, nil
}

// Routes lists the IPv4 routes of type local in a table.
func (hostAddresses) Routes(_ context.Context, table int) ([]localRoute, error) {
	found, err := dump(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: table, Type: unix.RTN_LOCAL},
			netlink.RT_FILTER_TABLE|netlink.RT_FILTER_TYPE)
	})
	if err != nil {
		return nil, err
	}
	var routes []localRoute
	for _, r := range found {
		link, err := netlink.LinkByIndex(r.LinkIndex)
		if err != nil {
			return nil, fmt.Errorf("naming device %d: %w", r.LinkIndex, err)
		}
		if prefix, ok := prefixOf(r.Dst); ok {
			src, _ := netip.AddrFromSlice(r.Src) // no source address: the zero Addr
			routes = append(routes, localRoute{prefix, src.Unmap(), link.Attrs().Name, r.Table, int(r.Protocol)})
		}
	}
	return routes, nil
}

// Policies lists every IPv4 policy rule.
func (hostAddresses) Policies(context.Context) ([]policy, error) {
	found, err := dump(func() ([]netlink.Rule, error) { return netlink.RuleList(netlink.FAMILY_V4) })
	if err != nil {
		return nil, err
	}
	var policies []policy
	for _, r := range found {
		p := policy{iif: r.IifName, uids: allUIDs, table: r.Table, pref: r.Priority, proto: int(r.Protocol)}
		p.to, _ = prefixOf(r.Dst) // no destination: the zero Prefix
		if r.UIDRange != nil {
			p.uids = [2]uint32{r.UIDRange.Start, r.UIDRange.End}
		}
		if r.Dport != nil {
			p.ports = [2]uint16{r.Dport.Start, r.Dport.End}
		}
		policies = append(policies, p)
	}
	return policies, nil
}

// Add makes a [link], an [address], a [localRoute] or a [policy], or sets an [upLink].
func (hostAddresses) Add(_ context.Context, object any) error {
	switch o := object.(type) {
	case link:
		return o.make()
	case upLink:
		return o.set(netlink.LinkSetUp)
	case address:
		link, addr, err := o.netlink()
		if err != nil {
			return err
		}
		return netlink.AddrAdd(link, addr)
	case localRoute:
		route, err := o.netlink()
		if err != nil {
			return err
		}
		return netlink.RouteAdd(route)
	case policy:
		return netlink.RuleAdd(o.netlink())
	default:
		return fmt.Errorf("adding %T: %w", object, errors.ErrUnsupported)
	}
}

// Delete removes a [link], an [address], a [localRoute] or a [policy], or sets an [upLink] down.
func (hostAddresses) Delete(_ context.Context, object any) error {
	var err error
	switch o := object.(type) {
	case link:
		err = o.delete()
	case upLink:
		err = o.set(netlink.LinkSetDown)
	case address:
		var link netlink.Link
		var addr *netlink.Addr
		if link, addr, err = o.netlink(); err == nil {
			err = netlink.AddrDel(link, addr)
		}
	case localRoute:
		var route *netlink.Route
		if route, err = o.netlink(); err == nil {
			err = netlink.RouteDel(route)
		}
	case policy:
		err = netlink.RuleDel(o.netlink())
	default:
		return fmt.Errorf("deleting %T: %w", object, errors.ErrUnsupported)
	}
	if gone(err) {
		return nil
	}
	return err
}

func (a address) netlink() (netlink.Link, *netlink.Addr, error) {
	link, err := netlink.LinkByName(a.device)
	if err != nil {
		return nil, nil, fmt.Errorf("finding device %q: %w", a.device, err)
	}
	return link, &netlink.Addr{IPNet: ipNet(a.prefix), Label: a.label, Scope: unix.RT_SCOPE_HOST}, nil
}

func (r localRoute) netlink() (*netlink.Route, error) {
	link, err := netlink.LinkByName(r.device)
	if err != nil {
		return nil, fmt.Errorf("finding device %q: %w", r.device, err)
	}
	return &netlink.Route{
		LinkIndex: link.Attrs().Index,
		Dst:       ipNet(r.dst),
		Src:       r.src.AsSlice(),
		Type:      unix.RTN_LOCAL,
		Scope:     netlink.SCOPE_HOST,
		Table:     r.table,
		Protocol:  netlink.RouteProtocol(r.proto),
	}, nil
}

func (p policy) netlink() *netlink.Rule {
	rule := netlink.NewRule()
	rule.Family = netlink.FAMILY_V4
	rule.IifName = p.iif
	if p.to.IsValid() {
		rule.Dst = ipNet(p.to)
	}
	if p.uids != allUIDs {
		rule.UIDRange = netlink.NewRuleUIDRange(p.uids[0], p.uids[1])
	}
	if p.ports != [2]uint16{} {
		rule.Dport = netlink.NewRulePortRange(p.ports[0], p.ports[1])
	}
	rule.Table = p.table
	rule.Priority = p.pref
	rule.Protocol = uint8(p.proto)
	return rule
}

// routed tells whether the kernel knows a way to addr.
func routed(addr netip.Addr) bool {
	routes, err := netlink.RouteGet(addr.AsSlice())
	return err == nil && len(routes) > 0
}

// dump retries a list call that the kernel interrupted because what it lists was changing. All list calls go through it.
func dump[T any](list func() ([]T, error)) ([]T, error) {
	const tries = 5 // as containernetworking/plugins, pkg/netlinksafe
	for try := 1; ; try++ {
		found, err := list()
		if !errors.Is(err, netlink.ErrDumpInterrupted) || try == tries {
			return found, err
		}
	}
}

// gone tells that there was nothing to delete.
func gone(err error) bool {
	_, noLink := errors.AsType[netlink.LinkNotFoundError](err) // what was on it went with it
	return noLink || errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT) ||
		errors.Is(err, unix.ENODEV)
}

func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(n.IP)
	ones, bits := n.Mask.Size()
	return netip.PrefixFrom(addr.Unmap(), ones), ok && bits == 32
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
