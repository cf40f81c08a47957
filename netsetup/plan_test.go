package netsetup

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPlanString(t *testing.T) {
	tests := []struct {
		name string
		plan Plan
		want string
	}{
		{"nothing", Plan{}, "\n"},
		{"loopback", loopbackPlan, `
ip addr add 169.254.169.254/32 dev lo scope host label lo:azimds
`},
		{"loopback before other rules", preceding(loopbackPlan), `
iptables -t nat -I OUTPUT 1 -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -m comment --comment azimds -j ACCEPT
ip addr add 169.254.169.254/32 dev lo scope host label lo:azimds
`},
		{"dummy", dummyPlan, `
ip link add azimds0 group 169254 type dummy
ip link set azimds0 up
ip addr add 169.254.169.254/32 dev azimds0 scope host label azimds0:azimds
`},
		{"dummy before other rules", preceding(dummyPlan), `
ip link add azimds0 group 169254 type dummy
ip link set azimds0 up
iptables -t nat -I OUTPUT 1 -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -m comment --comment azimds -j ACCEPT
ip addr add 169.254.169.254/32 dev azimds0 scope host label azimds0:azimds
`},
		{"loopback for several", severalOnLoopback, `
iptables -t filter -I OUTPUT 1 -d 169.254.169.254/32 -p tcp -m tcp --dport 80 --tcp-flags FIN,SYN,RST,ACK SYN -m owner ! --uid-owner 1000 -m owner ! --uid-owner 0 -m owner ! --uid-owner 1001 -m owner ! --gid-owner 27 --suppl-groups -m comment --comment azimds -j REJECT --reject-with tcp-reset
iptables -t nat -I OUTPUT 1 -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -m comment --comment azimds -j ACCEPT
iptables -t nat -I PREROUTING 1 -d 169.254.169.254/32 -i br-+ -p tcp -m tcp --dport 80 -m comment --comment azimds -j ACCEPT
iptables -t nat -I PREROUTING 2 -d 169.254.169.254/32 -i docker0 -p tcp -m tcp --dport 80 -m comment --comment azimds -j ACCEPT
ip addr add 169.254.169.254/32 dev lo scope host label lo:azimds
`},
		{"dummy for every local user", with(dummyPlan, func(p *Plan) { p.Refuses, p.AnyLocal = true, true }), `
ip link add azimds0 group 169254 type dummy
ip link set azimds0 up
ip addr add 169.254.169.254/32 dev azimds0 scope host label azimds0:azimds
`},
		{"dummy, refusing others", refusing(dummyPlan), `
iptables -t filter -I OUTPUT 1 -d 169.254.169.254/32 -p tcp -m tcp --dport 80 --tcp-flags FIN,SYN,RST,ACK SYN -m owner ! --uid-owner 0 -m comment --comment azimds -j REJECT --reject-with tcp-reset
ip link add azimds0 group 169254 type dummy
ip link set azimds0 up
ip addr add 169.254.169.254/32 dev azimds0 scope host label azimds0:azimds
`},
		{"iptables for users", with(iptablesPlan, func(p *Plan) { p.Admitted = []uint32{1002, 1001} }), `
iptables -t filter -I OUTPUT 1 -d 127.0.0.1/32 -p tcp -m tcp --dport 981 -m conntrack ! --ctstate DNAT -m comment --comment azimds -j REJECT --reject-with tcp-reset
iptables -t filter -I OUTPUT 2 -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -m comment --comment azimds -j REJECT --reject-with tcp-reset
ip route add local 169.254.169.254/32 dev lo src 127.0.0.1 proto 169 table 169254
ip rule add iif lo to 169.254.169.254/32 uidrange 1000-1000 dport 80-80 lookup 169254 pref 40000 proto 169
ip rule add iif lo to 169.254.169.254/32 uidrange 1001-1001 dport 80-80 lookup 169254 pref 40000 proto 169
ip rule add iif lo to 169.254.169.254/32 uidrange 1002-1002 dport 80-80 lookup 169254 pref 40000 proto 169
iptables -t nat -N AZIMDS
iptables -t nat -I AZIMDS 1 -p tcp -j REDIRECT --to-ports 981
iptables -t nat -I OUTPUT 1 -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -m owner --uid-owner 1000 -m comment --comment azimds -j AZIMDS
iptables -t nat -I OUTPUT 2 -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -m owner --uid-owner 1001 -m comment --comment azimds -j AZIMDS
iptables -t nat -I OUTPUT 3 -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -m owner --uid-owner 1002 -m comment --comment azimds -j AZIMDS
`},
		{"iptables for a group, beside a metadata service", with(iptablesPlan, func(p *Plan) { p.Groups, p.Shadows = []uint32{27}, true }), `
iptables -t filter -I OUTPUT 1 -d 127.0.0.1/32 -p tcp -m tcp --dport 981 -m conntrack ! --ctstate DNAT -m comment --comment azimds -j REJECT --reject-with tcp-reset
ip route add local 169.254.169.254/32 dev lo src 127.0.0.1 proto 169 table 169254
ip rule add iif lo to 169.254.169.254/32 uidrange 1000-1000 dport 80-80 lookup 169254 pref 40000 proto 169
iptables -t nat -N AZIMDS
iptables -t nat -I AZIMDS 1 -p tcp -j REDIRECT --to-ports 981
iptables -t nat -I OUTPUT 1 -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -m owner --uid-owner 1000 -m comment --comment azimds -j AZIMDS
iptables -t nat -I OUTPUT 2 -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -m owner --gid-owner 27 --suppl-groups -m comment --comment azimds -j AZIMDS
`},
		{"iptables for several and for bridges", severalByIPTables, `
iptables -t filter -I OUTPUT 1 -o lo -p tcp -m tcp --dport 981 -m conntrack ! --ctstate DNAT -m comment --comment azimds -j REJECT --reject-with tcp-reset
iptables -t filter -I OUTPUT 2 -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -m comment --comment azimds -j REJECT --reject-with tcp-reset
iptables -t filter -I INPUT 1 -i br-+ -p tcp -m tcp --dport 981 -m conntrack ! --ctstate DNAT -m comment --comment azimds -j REJECT --reject-with tcp-reset
iptables -t filter -I INPUT 2 -i docker0 -p tcp -m tcp --dport 981 -m conntrack ! --ctstate DNAT -m comment --comment azimds -j REJECT --reject-with tcp-reset
ip route add local 169.254.169.254/32 dev lo src 127.0.0.1 proto 169 table 169254
ip rule add iif lo to 169.254.169.254/32 uidrange 0-4294967294 dport 80-80 lookup 169254 pref 40000 proto 169
iptables -t nat -N AZIMDS
iptables -t nat -I AZIMDS 1 -m owner --gid-owner 4242 --suppl-groups -j RETURN
iptables -t nat -I AZIMDS 2 -p tcp -j REDIRECT --to-ports 981
iptables -t nat -I OUTPUT 1 -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -m owner --uid-owner 1000 -m comment --comment azimds -j AZIMDS
iptables -t nat -I OUTPUT 2 -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -m owner --uid-owner 0 -m comment --comment azimds -j AZIMDS
iptables -t nat -I OUTPUT 3 -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -m owner --uid-owner 1001 -m comment --comment azimds -j AZIMDS
iptables -t nat -I OUTPUT 4 -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -m owner --gid-owner 27 --suppl-groups -m comment --comment azimds -j AZIMDS
iptables -t nat -I PREROUTING 1 -d 169.254.169.254/32 -i br-+ -p tcp -m tcp --dport 80 -m comment --comment azimds -j REDIRECT --to-ports 981
iptables -t nat -I PREROUTING 2 -d 169.254.169.254/32 -i docker0 -p tcp -m tcp --dport 80 -m comment --comment azimds -j REDIRECT --to-ports 981
`},
		{"iptables", iptablesPlan, `
iptables -t filter -I OUTPUT 1 -d 127.0.0.1/32 -p tcp -m tcp --dport 981 -m conntrack ! --ctstate DNAT -m comment --comment azimds -j REJECT --reject-with tcp-reset
iptables -t filter -I OUTPUT 2 -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -m comment --comment azimds -j REJECT --reject-with tcp-reset
ip route add local 169.254.169.254/32 dev lo src 127.0.0.1 proto 169 table 169254
ip rule add iif lo to 169.254.169.254/32 uidrange 1000-1000 dport 80-80 lookup 169254 pref 40000 proto 169
iptables -t nat -N AZIMDS
iptables -t nat -I AZIMDS 1 -p tcp -j REDIRECT --to-ports 981
iptables -t nat -I OUTPUT 1 -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -m owner --uid-owner 1000 -m comment --comment azimds -j AZIMDS
`},
		{"iptables with an exempt group", exemptPlan, `
iptables -t filter -I OUTPUT 1 -d 127.0.0.1/32 -p tcp -m tcp --dport 980 -m conntrack ! --ctstate DNAT -m comment --comment azimds -j REJECT --reject-with tcp-reset
ip route add local 169.254.169.254/32 dev lo src 127.0.0.1 proto 169 table 169254
ip rule add iif lo to 169.254.169.254/32 uidrange 1001-1001 dport 80-80 lookup 169254 pref 40000 proto 169
iptables -t nat -N AZIMDS
iptables -t nat -I AZIMDS 1 -m owner --gid-owner 4242 --suppl-groups -j RETURN
iptables -t nat -I AZIMDS 2 -p tcp -j REDIRECT --to-ports 980
iptables -t nat -I OUTPUT 1 -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -m owner --uid-owner 1001 -m comment --comment azimds -j AZIMDS
`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, "\n"+tt.plan.String()); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
		})
	}
}

func with(p Plan, change func(*Plan)) Plan {
	change(&p)
	return p
}

func TestPlanJSON(t *testing.T) {
	text, err := json.Marshal(exemptPlan)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"mode":"iptables","endpoint":"169.254.169.254:80","owner":1001,"backend":"127.0.0.1:980","exemptGroup":4242,"shadows":true}`
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("JSON (-want +got):\n%s", diff)
	}
	for _, p := range []Plan{{}, loopbackPlan, dummyPlan, preceding(dummyPlan), iptablesPlan, exemptPlan, severalOnLoopback, severalByIPTables} {
		text, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var got Plan
		if err := json.Unmarshal(text, &got); err != nil || !reflect.DeepEqual(got, p) {
			t.Errorf("%s came back as %+v, %v", text, got, err)
		}
	}
}

func bridging(name string) Plan {
	return with(iptablesPlan, func(p *Plan) { p.Bridges = []string{name} })
}

func TestPlanValidate(t *testing.T) {
	tests := []struct {
		name string
		plan Plan
		want string
	}{
		{"loopback", loopbackPlan, ""},
		{"iptables", iptablesPlan, ""},
		{"dummy", preceding(dummyPlan), ""},
		{"dummy with a backend of its own", with(dummyPlan, func(p *Plan) { p.Backend = iptablesPlan.Backend }),
			`checking backend "127.0.0.1:981": mode "dummy" listens on the endpoint itself, 169.254.169.254:80`},
		{"dummy with an exempt group", with(dummyPlan, func(p *Plan) { p.ExemptGroup = 4 }),
			`checking exempt group 4: mode "dummy" cannot exempt anyone`},
		{"iptables before other rules", preceding(iptablesPlan), `checking mode "iptables": its jump precedes other rules as it is`},
		{"nothing", Plan{}, `checking endpoint "invalid AddrPort": not an IPv4 address and port`},
		{"IPv6", with(loopbackPlan, func(p *Plan) { p.Endpoint = netip.MustParseAddrPort("[fe80::1]:80") }),
			`checking endpoint "[fe80::1]:80": not an IPv4 address and port`},
		{"loopback with a backend of its own", with(loopbackPlan, func(p *Plan) { p.Backend = iptablesPlan.Backend }),
			`checking backend "127.0.0.1:981": mode "loopback" listens on the endpoint itself, 169.254.169.254:80`},
		{"loopback with an exempt group", with(loopbackPlan, func(p *Plan) { p.ExemptGroup = 4 }),
			`checking exempt group 4: mode "loopback" cannot exempt anyone`},
		{"port that anyone may take", with(iptablesPlan, func(p *Plan) { p.Backend = netip.MustParseAddrPort("127.0.0.1:1024") }),
			`checking backend "127.0.0.1:1024": mode "iptables" needs 127.0.0.1 and a port from 1 to 1023`},
		{"address that REDIRECT does not go to", with(iptablesPlan, func(p *Plan) { p.Backend = netip.MustParseAddrPort("127.0.0.2:981") }),
			`checking backend "127.0.0.2:981": mode "iptables" needs 127.0.0.1 and a port from 1 to 1023`},
		{"iptables refusing others", refusing(iptablesPlan), `checking mode "iptables": it refuses others as it is`},
		{"bridges", severalOnLoopback, ""},
		{"every device", bridging("*"), `checking bridge "*": it names no bridge`},
		{"no bridge", bridging(""), `checking bridge "": it names no bridge`},
		{"star within", bridging("br-*0"), `checking bridge "br-*0": it may have letters, digits, and the signs - _ . @ in it, and one star at its end`},
		{"iptables' own wildcard", bridging("br+"), `checking bridge "br+": it may have letters, digits, and the signs - _ . @ in it, and one star at its end`},
		{"two words", bridging("br0 -j"), `checking bridge "br0 -j": it may have letters, digits, and the signs - _ . @ in it, and one star at its end`},
		{"option", bridging("-j"), `checking bridge "-j": it is no device's name`},
		{"long name", bridging("abcdefghijklmnop"), `checking bridge "abcdefghijklmnop": it is longer than any device's name`},
		{"longest name", bridging("abcdefghijklmno"), ""},
		{"no interception", Plan{Mode: None, Endpoint: netip.MustParseAddrPort("127.0.0.1:41741"), Backend: netip.MustParseAddrPort("127.0.0.1:41741")}, ""},
		{"no interception of the service's address", with(loopbackPlan, func(p *Plan) { p.Mode = None }),
			`checking endpoint "169.254.169.254:80": mode "none" listens on 127.0.0.1, on the endpoint itself`},
		{"auto", with(loopbackPlan, func(p *Plan) { p.Mode = Auto }), `checking mode "auto": not one of "iptables", "loopback", "dummy"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			if err := tt.plan.Validate(); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("error %s, want %s", got, tt.want)
			}
		})
	}
}

// planText compares plans by what they are in JSON.
var planText = cmp.Transformer("text", func(p Plan) string {
	text, err := json.Marshal(p)
	if err != nil {
		return err.Error()
	}
	return string(text)
})
