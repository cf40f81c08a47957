package netsetup

import (
	"encoding/json"
	"net/netip"
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

func TestPlanJSON(t *testing.T) {
	text, err := json.Marshal(exemptPlan)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"mode":"iptables","endpoint":"169.254.169.254:80","owner":1001,"backend":"127.0.0.1:980","exemptGroup":4242,"shadows":true}`
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("JSON (-want +got):\n%s", diff)
	}
	for _, p := range []Plan{{}, loopbackPlan, dummyPlan, preceding(dummyPlan), iptablesPlan, exemptPlan} {
		text, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var got Plan
		if err := json.Unmarshal(text, &got); err != nil || got != p {
			t.Errorf("%s came back as %+v, %v", text, got, err)
		}
	}
}

func TestPlanValidate(t *testing.T) {
	with := func(p Plan, change func(*Plan)) Plan { change(&p); return p }
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
