package netns

import (
	"fmt"
	"os"
	"testing"
)

// Bridge makes a bridge with an address, such as 10.99.0.1/24, in the namespace.
func (ns *NS) Bridge(t testing.TB, name, address string) {
	t.Helper()
	ns.Run(t, "sh", "-ec", fmt.Sprintf("ip link add %[1]s type bridge; ip addr add %[2]s dev %[1]s; ip link set %[1]s up", name, address))
}

// Plug joins another namespace, as a container's, to a bridge of this one: the other has an address there on its device eth0
// and goes by way of gateway, the bridge's own address.
func (ns *NS) Plug(t testing.TB, bridge string, container *NS, address, gateway string) {
	t.Helper()
	port := fmt.Sprintf("v%d", container.Inode()) // fifteen characters at most: an inode here has ten
	ns.Join(t, port, container, "eth0")
	ns.Run(t, "ip", "link", "set", port, "master", bridge, "up")
	container.Run(t, "sh", "-ec", fmt.Sprintf("ip addr add %s dev eth0; ip link set eth0 up; ip route add default via %s", address, gateway))
}

// Join makes a pair of veth, one end in this namespace and the other in another, both down.
func (ns *NS) Join(t testing.TB, device string, other *NS, peer string) {
	t.Helper()
	ns.Run(t, "ip", "link", "add", device, "type", "veth", "peer", "name", peer,
		"netns", fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), other.file.Fd()))
}
