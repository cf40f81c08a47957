package netsetup

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
)

// Bridge is a device that a plan's Bridges name, as it is now. Its containers can be served where Problem is "".
type Bridge struct {
	Name      string
	Index     int            // another one for each device, also for one made again under the same name
	Addresses []netip.Addr   // its own, IPv4
	Subnets   []netip.Prefix // of its addresses, masked: where its containers' addresses are
	Problem   string         // why its containers cannot be served; words that read on after "bridge docker0: "
}

// device is what is looked at of a device.
type device struct {
	name   string
	kind   string // "device" for those that are not made by command, such as those of a network card
	index  int
	master int // index of the bridge whose port it is; 0: none
	peer   int // index of the other end of a veth where that is in this namespace, too; 0: none, or elsewhere
}

// portKinds are the kinds of device that lead from a bridge to containers and virtual machines of this machine. All others
// are taken to lead out of it: cards, VLANs, bonds, tunnels.
var portKinds = []string{"veth", "tuntap", "dummy"}

// Bridges lists the devices that names and patterns are about, by name. Of those that a pattern matches, bridges alone are
// listed; one that is named and is no bridge has that as its Problem.
func Bridges(_ context.Context, names []string) ([]Bridge, error) {
	devices, addresses, err := listDevices()
	if err != nil {
		return nil, err
	}
	return judge(names, devices, addresses), nil
}

// MendBridge is the command after which the containers of a bridge can be served; "" where there is none, or no need. It changes
// nothing itself.
func MendBridge(_ context.Context, name string) (string, error) {
	devices, addresses, err := listDevices()
	if err != nil {
		return "", err
	}
	at := slices.IndexFunc(devices, func(d device) bool { return d.name == name })
	if at < 0 || devices[at].kind != "bridge" {
		return "", nil
	}
	for _, port := range devices {
		if port.master == devices[at].index && outward(port, devices) {
			return fmt.Sprintf("ip link set %s nomaster", port.name), nil
		}
	}
	if len(addresses[devices[at].index]) == 0 {
		return fmt.Sprintf("ip address add %s dev %s", spareNetwork, name), nil
	}
	return "", nil
}

// spareNetwork is for a bridge that has no address: of 192.168.0.0/16 (RFC 1918), away from the networks that routers and engines
// begin with.
const spareNetwork = "192.168.254.1/24"

// listDevices lists every device, and the IPv4 addresses by the index of their device.
func listDevices() ([]device, map[int][]netip.Prefix, error) {
	links, err := dump(netlink.LinkList)
	if err != nil {
		return nil, nil, fmt.Errorf("listing devices: %w", err)
	}
	found, err := dump(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_V4) })
	if err != nil {
		return nil, nil, fmt.Errorf("listing addresses: %w", err)
	}
	var devices []device
	for _, l := range links {
		a := l.Attrs()
		d := device{name: a.Name, kind: l.Type(), index: a.Index, master: a.MasterIndex}
		if a.NetNsID < 0 { // IFLA_LINK_NETNSID is there where the other end is not here
			d.peer = a.ParentIndex
		}
		devices = append(devices, d)
	}
	addresses := make(map[int][]netip.Prefix)
	for _, a := range found {
		if prefix, ok := prefixOf(a.IPNet); ok {
			addresses[a.LinkIndex] = append(addresses[a.LinkIndex], prefix)
		}
	}
	return devices, addresses, nil
}

// maxAddresses bounds the addresses of a bridge: they have to fit into one message of a holder's to its server, which ends where one
// does not. Bridges of containers have one, or a few.
const maxAddresses = 256

// judge picks what names and patterns are about, and says what is wrong with it.
func judge(names []string, devices []device, addresses map[int][]netip.Prefix) []Bridge {
	var bridges []Bridge
	for _, d := range devices {
		named := slices.Contains(names, d.name)
		matched := slices.ContainsFunc(names, func(name string) bool { return matches(name, d.name) })
		if !named && (!matched || d.kind != "bridge") {
			continue
		}
		own := addresses[d.index]
		b := Bridge{Name: d.name, Index: d.index, Problem: problem(d, devices, own)}
		for _, prefix := range own[:min(len(own), maxAddresses)] {
			b.Addresses = append(b.Addresses, prefix.Addr())
			b.Subnets = append(b.Subnets, prefix.Masked())
		}
		bridges = append(bridges, b)
	}
	slices.SortFunc(bridges, func(a, b Bridge) int { return strings.Compare(a.Name, b.Name) })
	return bridges
}

// problem is why the containers of a device cannot be served, or "".
func problem(d device, devices []device, addresses []netip.Prefix) string {
	if d.kind != "bridge" {
		return fmt.Sprintf("it is not a bridge but a device of type %s", d.kind)
	}
	for _, port := range devices {
		if port.master == d.index && outward(port, devices) {
			return fmt.Sprintf("its port %s, a device of type %s, leads to other machines", port.name, port.kind)
		}
	}
	switch {
	case len(addresses) == 0:
		return "it has no IPv4 address"
	case len(addresses) > maxAddresses:
		return fmt.Sprintf("it has more than %d IPv4 addresses", maxAddresses)
	}
	return ""
}

// outward tells whether a port may lead to where others than containers are: out of this machine, or by a pair of veth to
// another bridge, whose ports are not looked at.
func outward(port device, devices []device) bool {
	return !slices.Contains(portKinds, port.kind) || slices.ContainsFunc(devices, func(d device) bool {
		return port.kind == "veth" && d.index == port.peer && d.master != 0
	})
}

// maxDevice is the longest name of a device: IFNAMSIZ in include/uapi/linux/if.h, less its terminating zero.
const maxDevice = 15

// checkBridge refuses names that are no device's and no pattern, or that iptables would read as something else: it takes a
// plus sign at the end for a wildcard, and an exclamation mark for a negation. Every device is not a bridge, so that a
// star alone is no pattern.
func checkBridge(name string) error {
	base := strings.TrimSuffix(name, "*")
	switch {
	case base == "":
		return errors.New("it names no bridge")
	case len(name) > maxDevice:
		return errors.New("it is longer than any device's name")
	case strings.HasPrefix(base, "-") || base == "." || base == "..":
		return errors.New("it is no device's name")
	}
	for _, r := range base {
		if !strings.ContainsRune("-_.@", r) && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') {
			return errors.New("it may have letters, digits, and the signs - _ . @ in it, and one star at its end")
		}
	}
	return nil
}

// wildcard is a name or pattern in the words of iptables.
func wildcard(bridge string) string {
	if base, ok := strings.CutSuffix(bridge, "*"); ok {
		return base + "+"
	}
	return bridge
}

// matches tells whether a name or pattern is about a device.
func matches(bridge, device string) bool {
	if base, ok := strings.CutSuffix(bridge, "*"); ok {
		return strings.HasPrefix(device, base)
	}
	return bridge == device
}
