package attack

import (
	"fmt"
	"testing"

	"azimds/test/netns"
)

// bridge is a bridge with two addresses in it: its own, and that of a container.
type bridge struct {
	name, own, container string
}

// named is a zone of the agent's, unnamed is not.
var (
	named   = bridge{"brz0", "10.99.0.1", "10.99.0.2"}
	unnamed = bridge{"brz1", "10.99.1.1", "10.99.1.2"}
)

// make makes the bridge in the scene, and a container behind it, in which is the puppet that it returns.
func (b bridge) make(s *scene) *puppet {
	s.t.Helper()
	there := netns.New(s.t)
	inside := newPuppet(s.t, there, root)
	for _, command := range [][]string{
		{"ip", "link", "add", b.name, "type", "bridge"},
		{"ip", "address", "add", b.own + "/24", "dev", b.name},
		{"ip", "-6", "address", "add", "fd00::1/64", "dev", b.name, "nodad"},
		{"ip", "link", "set", b.name, "up"},
		{"ip", "link", "add", "to-" + b.name, "type", "veth", "peer", "name", "eth0", "netns", fmt.Sprint(inside.cmd.Process.Pid)},
		{"ip", "link", "set", "to-" + b.name, "master", b.name, "up"},
	} {
		s.ns.Run(s.t, command[0], command[1:]...)
	}
	for _, command := range [][]string{
		{"ip", "address", "add", b.container + "/24", "dev", "eth0"},
		{"ip", "-6", "address", "add", "fd00::2/64", "dev", "eth0", "nodad"},
		{"ip", "link", "set", "eth0", "up"},
		{"ip", "route", "add", "default", "via", b.own},
	} {
		there.Run(s.t, command[0], command[1:]...)
	}
	s.there = there
	return inside
}

// zoned is an attack on an agent whose one zone is the bridge that is named. Where no other is, who is allowed is the container
// there, and the owner.
func zoned(a attack) attack {
	prepare := a.prepare
	a.user, a.args = owner, []string{"--zones", named.name}
	a.prepare = func(s *scene) {
		s.inside = named.make(s)
		if prepare != nil {
			prepare(s)
		}
	}
	if a.allowed != nil {
		return a
	}
	a.allowed = func(s *scene) string {
		if got := s.owner(); got != token {
			return got
		}
		return s.inside.ask(endpoint)
	}
	return a
}

// TestOtherBridges has containers ask who are not on the bridge that is named: they are behind another.
//
// In mode loopback the zone has no listener when none is bound to a device, so that the owner alone is allowed. In mode iptables
// what they dial is led nowhere; there a rule of somebody else's leads them to the zone's listener.
func TestOtherBridges(t *testing.T) {
	netns.Root(t)
	other := func(s *scene) { s.other = unnamed.make(s) }
	ask := func(s *scene) string { return s.other.askSoon(endpoint) }
	zoned(attack{
		name: "not named", mode: "loopback", checks: []string{"device", "unknown", "owner", "relay"}, alone: true,
		prepare: other, allowed: (*scene).owner, attempt: ask,
	}).run(t)
	zoned(attack{
		name: "not named", mode: "iptables", checks: []string{"device", "subnet"}, alone: true, prepare: other, attempt: ask,
		open: func(s *scene) {
			s.ns.Run(s.t, "iptables", "-t", "nat", "-A", "PREROUTING", "-i", unnamed.name, "-d", "169.254.169.254", "-p", "tcp", "--dport", "80",
				"-j", "DNAT", "--to-destination", named.own+":981")
		},
	}).run(t)
}

// TestForeignSources has a container ask from an address outside the bridge's subnet, to which the machine has a route all the
// same.
func TestForeignSources(t *testing.T) {
	netns.Root(t)
	for _, mode := range []string{"iptables", "loopback"} {
		zoned(attack{
			name: "outside the subnet", mode: mode, checks: []string{"subnet"},
			open: func(s *scene) {
				s.there.Run(s.t, "ip", "address", "add", "192.168.77.7/32", "dev", "lo")
				s.ns.Run(s.t, "ip", "route", "add", "192.168.77.7", "via", named.container)
			},
			attempt: func(s *scene) string { return s.inside.askSoon(endpoint + ",192.168.77.7") },
		}).run(t)
	}
}

// TestZoneBackendPort dials the listener of a zone itself, in mode iptables: a container, and a local user through the bridge's
// device, who would be taken for a container. From another address of the machine's than the bridge's own there is no way back.
func TestZoneBackendPort(t *testing.T) {
	netns.Root(t)
	zoned(attack{
		name: "of a container", mode: "iptables", checks: []string{"reject", "dialed"}, alone: true,
		attempt: func(s *scene) string { return s.inside.ask(named.own + ":981") },
	}).run(t)
	zoned(attack{
		name: "of another user", mode: "iptables", checks: []string{"reject", "dialed", "subnet"}, alone: true,
		attempt: func(s *scene) string {
			return s.puppet(stranger).ask(named.own + ":981," + named.own + "," + named.name)
		},
	}).run(t)
}

// TestLocalUsersThroughBridge has local users dial the endpoint through the bridge's device, where the zone's listener is. There
// is no way: the kernel looks for the address behind the bridge.
func TestLocalUsersThroughBridge(t *testing.T) {
	netns.Root(t)
	for _, mode := range []string{"iptables", "loopback"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			s := &scene{t: t, ns: netns.New(t), mode: mode, user: owner}
			s.inside = named.make(s)
			s.start([]string{"reject", "dialed", "subnet", "owner", "unknown", "relay"}, "--zones", named.name)
			if got := s.inside.ask(endpoint); got != token {
				t.Errorf("the container got %s", got)
			}
			for _, source := range []string{"", named.own} {
				if got := s.puppet(stranger).askSoon(endpoint + "," + source + "," + named.name); !gotNothing(got) {
					t.Errorf("from %q: %s", source, got)
				}
			}
			s.agent.Stop()
		})
	}
}

// TestZoneOtherProtocols wants a container to find closed ports everywhere but at the endpoint, and no IPv6: there is no listener
// whose check could be taken out.
func TestZoneOtherProtocols(t *testing.T) {
	netns.Root(t)
	for _, mode := range []string{"iptables", "loopback"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			s := &scene{t: t, ns: netns.New(t), mode: mode, user: owner}
			s.inside = named.make(s)
			s.start(nil, "--zones", named.name)
			for range 2 {
				for _, address := range []string{named.own + ":80", "[fd00::1]:80", "[fd00::1]:981"} {
					if got := s.inside.ask(address); got != refused {
						t.Errorf("%s: %s", address, got)
					}
				}
				if got := s.inside.ask(endpoint); got != token {
					t.Errorf("the endpoint: %s", got)
				}
			}
			s.agent.Stop()
		})
	}
}

// TestZoneNeighbour has a neighbour ask on the network while there is a zone.
func TestZoneNeighbour(t *testing.T) {
	netns.Root(t)
	zoned(attack{
		name: "by route", mode: "loopback", checks: []string{"device", "unknown", "owner", "relay"}, alone: true, allowed: (*scene).owner,
		prepare: func(s *scene) {
			s.link()
			s.there.Run(s.t, "ip", "route", "add", "169.254.169.254", "via", "192.0.2.1")
		},
		attempt: func(s *scene) string { return s.other.askSoon(endpoint) },
	}).run(t)
}
