package attack

import (
	"testing"

	"azimds/test/netns"
)

// TestNeighbours are another machine on the network, which routes the endpoint's address to this one, or asks who has it.
//
// The listener is bound to a device that no neighbour's packets come by. Were it not, the kernel would know of no socket of this
// machine with the neighbour's address, and nobody would stand for uid 0, which is not the owner.
func TestNeighbours(t *testing.T) {
	netns.Root(t)
	routes := map[string][]string{
		"by route": {"via", "192.0.2.1"},
		"by ARP":   {"dev", "eth0"},
	}
	for name, route := range routes {
		a := attack{
			name: name, user: owner, checks: []string{"device", "unknown", "owner", "relay"}, alone: true,
			prepare: func(s *scene) {
				s.link()
				s.there.Run(s.t, "ip", append([]string{"route", "add", "169.254.169.254"}, route...)...)
			},
			attempt: func(s *scene) string { return s.other.askSoon(endpoint) },
		}
		a.mode = "loopback"
		a.run(t)
		a.mode, a.open = "iptables", leadIn
		a.run(t)
	}
}

// leadIn is a neighbour's dream: the machine takes packets for its loopback addresses from the network (route_localnet, as
// kube-proxy sets it), and a rule leads what is dialled at the endpoint to the agent's listener. The address is the machine's own,
// so that it answers ARP for it.
func leadIn(s *scene) {
	s.ns.Run(s.t, "sysctl", "-q", "-w", "net.ipv4.conf.lan.route_localnet=1")
	s.ns.Run(s.t, "sysctl", "-q", "-w", "net.ipv4.conf.lan.proxy_arp=1")
	s.ns.Run(s.t, "sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
	s.ns.Run(s.t, "ip", "address", "add", "169.254.169.254/32", "dev", "lan")
	s.ns.Run(s.t, "iptables", "-t", "nat", "-A", "PREROUTING", "-i", "lan", "-d", "169.254.169.254", "-p", "tcp", "--dport", "80",
		"-j", "DNAT", "--to-destination", backend)
}
