package netsetup

import (
	"net/netip"
	"testing"

	"azimds/test/netns"

	"github.com/google/go-cmp/cmp"
)

// A bridge with more addresses than a message holds is not served, and does not say them all.
func TestJudgeManyAddresses(t *testing.T) {
	var addresses []netip.Prefix
	for i := range 2000 {
		addresses = append(addresses, netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 100, byte(i >> 8), byte(i)}), 24))
	}
	got := judge([]string{"br0"}, []device{{name: "br0", kind: "bridge", index: 1}}, map[int][]netip.Prefix{1: addresses})
	if len(got) != 1 || got[0].Problem != "it has more than 256 IPv4 addresses" || len(got[0].Addresses) > 256 || len(got[0].Subnets) > 256 {
		t.Errorf("bridges %+v", got)
	}
	got = judge([]string{"br0"}, []device{{name: "br0", kind: "bridge", index: 1}}, map[int][]netip.Prefix{1: addresses[:256]})
	if len(got) != 1 || got[0].Problem != "" || len(got[0].Addresses) != 256 {
		t.Errorf("bridges %+v", got)
	}
}

func TestJudge(t *testing.T) {
	const br0, br1, eth0 = 10, 11, 2
	bridge := device{name: "br0", kind: "bridge", index: br0}
	second := device{name: "br1", kind: "bridge", index: br1}
	gateway := netip.MustParsePrefix("10.99.0.1/24")
	port := func(name, kind string) device { return device{name: name, kind: kind, index: 20, master: br0} }
	good := Bridge{Name: "br0", Index: br0, Addresses: []netip.Addr{gateway.Addr()}, Subnets: []netip.Prefix{gateway.Masked()}}
	bad := func(problem string) []Bridge {
		b := good
		b.Problem = problem
		return []Bridge{b}
	}
	tests := []struct {
		name    string
		names   []string
		devices []device
		want    []Bridge
	}{
		{"named", []string{"br0"}, []device{bridge, second}, []Bridge{good}},
		{"matched", []string{"br*"}, []device{second, bridge}, []Bridge{good, {Name: "br1", Index: br1, Problem: "it has no IPv4 address"}}},
		{"named and matched", []string{"br0", "br0*"}, []device{bridge}, []Bridge{good}},
		{"neither", []string{"br2", "docker*"}, []device{bridge}, nil},
		{"not there", []string{"br0"}, nil, nil},
		{"named and no bridge", []string{"eth0"}, []device{{name: "eth0", kind: "device", index: eth0}},
			[]Bridge{{Name: "eth0", Index: eth0, Problem: "it is not a bridge but a device of type device"}}},
		{"matched and no bridge", []string{"eth*"}, []device{{name: "eth0", kind: "device", index: eth0}}, nil},
		{"ports of containers and machines", []string{"br0"},
			[]device{bridge, port("veth1", "veth"), port("vnet0", "tuntap"), port("dummy0", "dummy")}, []Bridge{good}},
		{"port of a card", []string{"br0"}, []device{bridge, port("veth1", "veth"), port("eth0", "device")},
			bad("its port eth0, a device of type device, leads to other machines")},
		{"port of a VLAN", []string{"br0"}, []device{bridge, port("eth0.7", "vlan")},
			bad("its port eth0.7, a device of type vlan, leads to other machines")},
		{"port of a tunnel", []string{"br0"}, []device{bridge, port("vx0", "vxlan")},
			bad("its port vx0, a device of type vxlan, leads to other machines")},
		{"port of another bridge", []string{"br0"}, []device{bridge, {name: "eth0", kind: "device", index: eth0, master: br1}}, []Bridge{good}},
		{"pair with another bridge", []string{"br0"},
			[]device{bridge, second, {"a", "veth", 20, br0, 21}, {"b", "veth", 21, br1, 20}},
			bad("its port a, a device of type veth, leads to other machines")},
		{"pair with this machine", []string{"br0"}, []device{bridge, {"a", "veth", 20, br0, 21}, {"b", "veth", 21, 0, 20}}, []Bridge{good}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := judge(tt.names, tt.devices, map[int][]netip.Prefix{br0: {gateway}})
			if diff := cmp.Diff(tt.want, got, comparable); diff != "" {
				t.Errorf("bridges (-want +got):\n%s", diff)
			}
		})
	}
}

// comparable compares addresses, whose fields are nobody's business, by their operator.
var comparable = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
}

// What the kernel says of devices is read as it is meant.
func TestBridges(t *testing.T) {
	ns, container := netns.New(t), netns.New(t)
	ns.Bridge(t, "br-a", "10.99.0.1/24")
	ns.Plug(t, "br-a", container, "10.99.0.2/24", "10.99.0.1")
	ns.Run(t, "ip", "addr", "add", "10.99.1.1/24", "dev", "br-a")
	ns.Run(t, "ip", "addr", "add", "fd00::1/64", "dev", "br-a")
	ns.Bridge(t, "br-tap", "10.98.0.1/24")
	ns.Run(t, "ip", "tuntap", "add", "mode", "tap", "name", "tap0")
	ns.Run(t, "ip", "link", "set", "tap0", "master", "br-tap")
	ns.Bridge(t, "br-vxlan", "10.97.0.1/24")
	ns.Run(t, "sh", "-ec", "ip link add base0 type veth peer name base1; ip link add vx0 type vxlan id 7 dstport 4789; ip link set vx0 master br-vxlan")
	ns.Bridge(t, "br-x", "10.96.0.1/24")
	ns.Bridge(t, "br-y", "10.95.0.1/24")
	ns.Run(t, "sh", "-ec", "ip link add x type veth peer name y; ip link set x master br-x; ip link set y master br-y")
	ns.Run(t, "ip", "link", "add", "br-none", "type", "bridge")
	var found []Bridge
	do(t, ns, func() (err error) {
		found, err = Bridges(t.Context(), []string{"br-*", "base1", "absent"})
		return err
	})
	got := make(map[string]string)
	for _, b := range found {
		got[b.Name] = b.Problem
		if b.Index == 0 {
			t.Errorf("%s has no index", b.Name)
		}
		if b.Name == "br-a" {
			want := Bridge{Name: "br-a", Index: b.Index,
				Addresses: []netip.Addr{netip.MustParseAddr("10.99.0.1"), netip.MustParseAddr("10.99.1.1")},
				Subnets:   []netip.Prefix{netip.MustParsePrefix("10.99.0.0/24"), netip.MustParsePrefix("10.99.1.0/24")}}
			if diff := cmp.Diff(want, b, comparable); diff != "" {
				t.Errorf("bridge (-want +got):\n%s", diff)
			}
		}
	}
	want := map[string]string{
		"br-a": "", "br-tap": "", "br-none": "it has no IPv4 address",
		"br-vxlan": "its port vx0, a device of type vxlan, leads to other machines",
		"br-x":     "its port x, a device of type veth, leads to other machines",
		"br-y":     "its port y, a device of type veth, leads to other machines",
		"base1":    "it is not a bridge but a device of type veth",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}
