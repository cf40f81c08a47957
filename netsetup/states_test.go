package netsetup

import (
	"context"
	"net/netip"
	"slices"
	"testing"
)

var (
	loopbackPlan = Plan{Mode: Loopback, Endpoint: Endpoint, Backend: Endpoint}
	dummyPlan    = Plan{Mode: Dummy, Endpoint: Endpoint, Backend: Endpoint}
	iptablesPlan = Plan{Mode: IPTables, Endpoint: Endpoint, Owner: 1000, Backend: netip.MustParseAddrPort("127.0.0.1:981")}
	exemptPlan   = Plan{Mode: IPTables, Endpoint: Endpoint, Owner: 1001, Backend: netip.MustParseAddrPort("127.0.0.1:980"), ExemptGroup: 4242, Shadows: true}
)

// Plans that serve more than the owner; some say twice whom.
var (
	severalOnLoopback = Plan{Mode: Loopback, Endpoint: Endpoint, Backend: Endpoint, Owner: 1000, Admitted: []uint32{1001, 0, 1000, 1001},
		Groups: []uint32{27}, Bridges: []string{"docker0", "br-*", "docker0"}, Precedes: true, Refuses: true}
	severalByIPTables = Plan{Mode: IPTables, Endpoint: Endpoint, Backend: iptablesPlan.Backend, Owner: 1000, Admitted: []uint32{1001, 0, 1000, 1001},
		Groups: []uint32{27}, Bridges: []string{"docker0", "br-*", "docker0"}, ExemptGroup: 4242}
	anyByIPTables = Plan{Mode: IPTables, Endpoint: Endpoint, Backend: exemptPlan.Backend, Owner: 1001, Admitted: []uint32{1002}, AnyLocal: true,
		ExemptGroup: 4242, Shadows: true}
)

// states are what a namespace with the canaries of newFakeHost looks like under each plan.
var states = []struct {
	name string
	plan Plan
	want string
}{
	{"nothing", Plan{}, `
ip addr 10.0.0.7/24 dev eth0 scope host label eth0
ip addr 127.0.0.1/8 dev lo scope host label lo
ip link dummy0 group 0 type dummy
ip link sandbox0 group 169254 type dummy
ip link set sandbox0 up
ip route local 192.0.2.1/32 dev lo src 127.0.0.1 proto 4 table 169254
ip rule iif eth0 to 192.0.2.0/24 uidrange 0-4294967295 dport 0-0 lookup 169254 pref 40000 proto 170
filter/INPUT:
  -i docker0 -j ACCEPT
  -i docker0 -m comment --comment azimds -j REJECT
filter/OUTPUT:
  -o lo -j ACCEPT
  -m comment --comment azimds -j REJECT
nat/OUTPUT:
  -d 192.0.2.9/32 -j ACCEPT
  -m comment --comment azimds -j RETURN
nat/PREROUTING:
  -i docker0 -m comment --comment azimds -j ACCEPT
  -m comment --comment azimds -j REDIRECT --to-ports 981
`},
	{"loopback", loopbackPlan, `
ip addr 10.0.0.7/24 dev eth0 scope host label eth0
ip addr 127.0.0.1/8 dev lo scope host label lo
ip addr 169.254.169.254/32 dev lo scope host label lo:azimds
ip link dummy0 group 0 type dummy
ip link sandbox0 group 169254 type dummy
ip link set sandbox0 up
ip route local 192.0.2.1/32 dev lo src 127.0.0.1 proto 4 table 169254
ip rule iif eth0 to 192.0.2.0/24 uidrange 0-4294967295 dport 0-0 lookup 169254 pref 40000 proto 170
filter/INPUT:
  -i docker0 -j ACCEPT
  -i docker0 -m comment --comment azimds -j REJECT
filter/OUTPUT:
  -o lo -j ACCEPT
  -m comment --comment azimds -j REJECT
nat/OUTPUT:
  -d 192.0.2.9/32 -j ACCEPT
  -m comment --comment azimds -j RETURN
nat/PREROUTING:
  -i docker0 -m comment --comment azimds -j ACCEPT
  -m comment --comment azimds -j REDIRECT --to-ports 981
`},
	{"dummy", dummyPlan, `
ip addr 10.0.0.7/24 dev eth0 scope host label eth0
ip addr 127.0.0.1/8 dev lo scope host label lo
ip addr 169.254.169.254/32 dev azimds0 scope host label azimds0:azimds
ip link azimds0 group 169254 type dummy
ip link dummy0 group 0 type dummy
ip link sandbox0 group 169254 type dummy
ip link set azimds0 up
ip link set sandbox0 up
ip route local 192.0.2.1/32 dev lo src 127.0.0.1 proto 4 table 169254
ip rule iif eth0 to 192.0.2.0/24 uidrange 0-4294967295 dport 0-0 lookup 169254 pref 40000 proto 170
filter/INPUT:
  -i docker0 -j ACCEPT
  -i docker0 -m comment --comment azimds -j REJECT
filter/OUTPUT:
  -o lo -j ACCEPT
  -m comment --comment azimds -j REJECT
nat/OUTPUT:
  -d 192.0.2.9/32 -j ACCEPT
  -m comment --comment azimds -j RETURN
nat/PREROUTING:
  -i docker0 -m comment --comment azimds -j ACCEPT
  -m comment --comment azimds -j REDIRECT --to-ports 981
`},
	{"dummy before other rules", preceding(dummyPlan), `
ip addr 10.0.0.7/24 dev eth0 scope host label eth0
ip addr 127.0.0.1/8 dev lo scope host label lo
ip addr 169.254.169.254/32 dev azimds0 scope host label azimds0:azimds
ip link azimds0 group 169254 type dummy
ip link dummy0 group 0 type dummy
ip link sandbox0 group 169254 type dummy
ip link set azimds0 up
ip link set sandbox0 up
ip route local 192.0.2.1/32 dev lo src 127.0.0.1 proto 4 table 169254
ip rule iif eth0 to 192.0.2.0/24 uidrange 0-4294967295 dport 0-0 lookup 169254 pref 40000 proto 170
filter/INPUT:
  -i docker0 -j ACCEPT
  -i docker0 -m comment --comment azimds -j REJECT
filter/OUTPUT:
  -o lo -j ACCEPT
  -m comment --comment azimds -j REJECT
nat/OUTPUT:
  -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -m comment --comment azimds -j ACCEPT
  -d 192.0.2.9/32 -j ACCEPT
  -m comment --comment azimds -j RETURN
nat/PREROUTING:
  -i docker0 -m comment --comment azimds -j ACCEPT
  -m comment --comment azimds -j REDIRECT --to-ports 981
`},
	{"loopback before other rules", preceding(loopbackPlan), `
ip addr 10.0.0.7/24 dev eth0 scope host label eth0
ip addr 127.0.0.1/8 dev lo scope host label lo
ip addr 169.254.169.254/32 dev lo scope host label lo:azimds
ip link dummy0 group 0 type dummy
ip link sandbox0 group 169254 type dummy
ip link set sandbox0 up
ip route local 192.0.2.1/32 dev lo src 127.0.0.1 proto 4 table 169254
ip rule iif eth0 to 192.0.2.0/24 uidrange 0-4294967295 dport 0-0 lookup 169254 pref 40000 proto 170
filter/INPUT:
  -i docker0 -j ACCEPT
  -i docker0 -m comment --comment azimds -j REJECT
filter/OUTPUT:
  -o lo -j ACCEPT
  -m comment --comment azimds -j REJECT
nat/OUTPUT:
  -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -m comment --comment azimds -j ACCEPT
  -d 192.0.2.9/32 -j ACCEPT
  -m comment --comment azimds -j RETURN
nat/PREROUTING:
  -i docker0 -m comment --comment azimds -j ACCEPT
  -m comment --comment azimds -j REDIRECT --to-ports 981
`},
	{"iptables", iptablesPlan, `
ip addr 10.0.0.7/24 dev eth0 scope host label eth0
ip addr 127.0.0.1/8 dev lo scope host label lo
ip link dummy0 group 0 type dummy
ip link sandbox0 group 169254 type dummy
ip link set sandbox0 up
ip route local 169.254.169.254/32 dev lo src 127.0.0.1 proto 169 table 169254
ip route local 192.0.2.1/32 dev lo src 127.0.0.1 proto 4 table 169254
ip rule iif eth0 to 192.0.2.0/24 uidrange 0-4294967295 dport 0-0 lookup 169254 pref 40000 proto 170
ip rule iif lo to 169.254.169.254/32 uidrange 1000-1000 dport 80-80 lookup 169254 pref 40000 proto 169
filter/INPUT:
  -i docker0 -j ACCEPT
  -i docker0 -m comment --comment azimds -j REJECT
filter/OUTPUT:
  -d 127.0.0.1/32 -p tcp -m tcp --dport 981 -m conntrack ! --ctstate DNAT -m comment --comment azimds -j REJECT --reject-with tcp-reset
  -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -m comment --comment azimds -j REJECT --reject-with tcp-reset
  -o lo -j ACCEPT
  -m comment --comment azimds -j REJECT
nat/AZIMDS:
  -p tcp -j REDIRECT --to-ports 981
nat/OUTPUT:
  -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -m owner --uid-owner 1000 -m comment --comment azimds -j AZIMDS
  -d 192.0.2.9/32 -j ACCEPT
  -m comment --comment azimds -j RETURN
nat/PREROUTING:
  -i docker0 -m comment --comment azimds -j ACCEPT
  -m comment --comment azimds -j REDIRECT --to-ports 981
`},
	{"iptables for another owner, with an exempt group", exemptPlan, `
ip addr 10.0.0.7/24 dev eth0 scope host label eth0
ip addr 127.0.0.1/8 dev lo scope host label lo
ip link dummy0 group 0 type dummy
ip link sandbox0 group 169254 type dummy
ip link set sandbox0 up
ip route local 169.254.169.254/32 dev lo src 127.0.0.1 proto 169 table 169254
ip route local 192.0.2.1/32 dev lo src 127.0.0.1 proto 4 table 169254
ip rule iif eth0 to 192.0.2.0/24 uidrange 0-4294967295 dport 0-0 lookup 169254 pref 40000 proto 170
ip rule iif lo to 169.254.169.254/32 uidrange 1001-1001 dport 80-80 lookup 169254 pref 40000 proto 169
filter/INPUT:
  -i docker0 -j ACCEPT
  -i docker0 -m comment --comment azimds -j REJECT
filter/OUTPUT:
  -d 127.0.0.1/32 -p tcp -m tcp --dport 980 -m conntrack ! --ctstate DNAT -m comment --comment azimds -j REJECT --reject-with tcp-reset
  -o lo -j ACCEPT
  -m comment --comment azimds -j REJECT
nat/AZIMDS:
  -m owner --gid-owner 4242 --suppl-groups -j RETURN
  -p tcp -j REDIRECT --to-ports 980
nat/OUTPUT:
  -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -m owner --uid-owner 1001 -m comment --comment azimds -j AZIMDS
  -d 192.0.2.9/32 -j ACCEPT
  -m comment --comment azimds -j RETURN
nat/PREROUTING:
  -i docker0 -m comment --comment azimds -j ACCEPT
  -m comment --comment azimds -j REDIRECT --to-ports 981
`},
	{"loopback for several, refusing others", severalOnLoopback, `
ip addr 10.0.0.7/24 dev eth0 scope host label eth0
ip addr 127.0.0.1/8 dev lo scope host label lo
ip addr 169.254.169.254/32 dev lo scope host label lo:azimds
ip link dummy0 group 0 type dummy
ip link sandbox0 group 169254 type dummy
ip link set sandbox0 up
ip route local 192.0.2.1/32 dev lo src 127.0.0.1 proto 4 table 169254
ip rule iif eth0 to 192.0.2.0/24 uidrange 0-4294967295 dport 0-0 lookup 169254 pref 40000 proto 170
filter/INPUT:
  -i docker0 -j ACCEPT
  -i docker0 -m comment --comment azimds -j REJECT
filter/OUTPUT:
  -d 169.254.169.254/32 -p tcp -m tcp --dport 80 --tcp-flags FIN,SYN,RST,ACK SYN -m owner ! --uid-owner 1000 -m owner ! --uid-owner 0 -m owner ! --uid-owner 1001 -m owner ! --gid-owner 27 --suppl-groups -m comment --comment azimds -j REJECT --reject-with tcp-reset
  -o lo -j ACCEPT
  -m comment --comment azimds -j REJECT
nat/OUTPUT:
  -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -m comment --comment azimds -j ACCEPT
  -d 192.0.2.9/32 -j ACCEPT
  -m comment --comment azimds -j RETURN
nat/PREROUTING:
  -d 169.254.169.254/32 -i br-+ -p tcp -m tcp --dport 80 -m comment --comment azimds -j ACCEPT
  -d 169.254.169.254/32 -i docker0 -p tcp -m tcp --dport 80 -m comment --comment azimds -j ACCEPT
  -i docker0 -m comment --comment azimds -j ACCEPT
  -m comment --comment azimds -j REDIRECT --to-ports 981
`},
	{"iptables for several", severalByIPTables, `
ip addr 10.0.0.7/24 dev eth0 scope host label eth0
ip addr 127.0.0.1/8 dev lo scope host label lo
ip link dummy0 group 0 type dummy
ip link sandbox0 group 169254 type dummy
ip link set sandbox0 up
ip route local 169.254.169.254/32 dev lo src 127.0.0.1 proto 169 table 169254
ip route local 192.0.2.1/32 dev lo src 127.0.0.1 proto 4 table 169254
ip rule iif eth0 to 192.0.2.0/24 uidrange 0-4294967295 dport 0-0 lookup 169254 pref 40000 proto 170
ip rule iif lo to 169.254.169.254/32 uidrange 0-4294967294 dport 80-80 lookup 169254 pref 40000 proto 169
filter/INPUT:
  -i br-+ -p tcp -m tcp --dport 981 -m conntrack ! --ctstate DNAT -m comment --comment azimds -j REJECT --reject-with tcp-reset
  -i docker0 -p tcp -m tcp --dport 981 -m conntrack ! --ctstate DNAT -m comment --comment azimds -j REJECT --reject-with tcp-reset
  -i docker0 -j ACCEPT
  -i docker0 -m comment --comment azimds -j REJECT
filter/OUTPUT:
  -o lo -p tcp -m tcp --dport 981 -m conntrack ! --ctstate DNAT -m comment --comment azimds -j REJECT --reject-with tcp-reset
  -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -m comment --comment azimds -j REJECT --reject-with tcp-reset
  -o lo -j ACCEPT
  -m comment --comment azimds -j REJECT
nat/AZIMDS:
  -m owner --gid-owner 4242 --suppl-groups -j RETURN
  -p tcp -j REDIRECT --to-ports 981
nat/OUTPUT:
  -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -m owner --uid-owner 1000 -m comment --comment azimds -j AZIMDS
  -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -m owner --uid-owner 0 -m comment --comment azimds -j AZIMDS
  -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -m owner --uid-owner 1001 -m comment --comment azimds -j AZIMDS
  -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -m owner --gid-owner 27 --suppl-groups -m comment --comment azimds -j AZIMDS
  -d 192.0.2.9/32 -j ACCEPT
  -m comment --comment azimds -j RETURN
nat/PREROUTING:
  -d 169.254.169.254/32 -i br-+ -p tcp -m tcp --dport 80 -m comment --comment azimds -j REDIRECT --to-ports 981
  -d 169.254.169.254/32 -i docker0 -p tcp -m tcp --dport 80 -m comment --comment azimds -j REDIRECT --to-ports 981
  -i docker0 -m comment --comment azimds -j ACCEPT
  -m comment --comment azimds -j REDIRECT --to-ports 981
`},
	{"iptables for every local user beside a metadata service", anyByIPTables, `
ip addr 10.0.0.7/24 dev eth0 scope host label eth0
ip addr 127.0.0.1/8 dev lo scope host label lo
ip link dummy0 group 0 type dummy
ip link sandbox0 group 169254 type dummy
ip link set sandbox0 up
ip route local 169.254.169.254/32 dev lo src 127.0.0.1 proto 169 table 169254
ip route local 192.0.2.1/32 dev lo src 127.0.0.1 proto 4 table 169254
ip rule iif eth0 to 192.0.2.0/24 uidrange 0-4294967295 dport 0-0 lookup 169254 pref 40000 proto 170
ip rule iif lo to 169.254.169.254/32 uidrange 0-4294967294 dport 80-80 lookup 169254 pref 40000 proto 169
filter/INPUT:
  -i docker0 -j ACCEPT
  -i docker0 -m comment --comment azimds -j REJECT
filter/OUTPUT:
  -d 127.0.0.1/32 -p tcp -m tcp --dport 980 -m conntrack ! --ctstate DNAT -m comment --comment azimds -j REJECT --reject-with tcp-reset
  -o lo -j ACCEPT
  -m comment --comment azimds -j REJECT
nat/AZIMDS:
  -m owner --gid-owner 4242 --suppl-groups -j RETURN
  -p tcp -j REDIRECT --to-ports 980
nat/OUTPUT:
  -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -m comment --comment azimds -j AZIMDS
  -d 192.0.2.9/32 -j ACCEPT
  -m comment --comment azimds -j RETURN
nat/PREROUTING:
  -i docker0 -m comment --comment azimds -j ACCEPT
  -m comment --comment azimds -j REDIRECT --to-ports 981
`},
}

func refusing(p Plan) Plan {
	p.Refuses = true
	return p
}

func preceding(p Plan) Plan {
	p.Precedes = true
	return p
}

// leftovers are what crashes and other people's tools can make of a state.
var leftovers = []struct {
	name  string
	spoil func(*fakeHost)
}{
	{"both modes", func(h *fakeHost) {
		h.objects = append(h.objects, loopbackPlan.addresses()...)
	}},
	{"jump not first", func(h *fakeHost) {
		h.chains[natOutput] = slices.Insert(h.chains[natOutput], 0, "-p udp -j ACCEPT")
	}},
	{"jumps of two owners", func(h *fakeHost) {
		h.chains[natOutput] = append(h.chains[natOutput], exemptPlan.jumps()[0].spec)
	}},
	{"jump twice", func(h *fakeHost) {
		h.chains[natOutput] = append(h.chains[natOutput], iptablesPlan.jumps()[0].spec)
	}},
	{"no jump", func(h *fakeHost) {
		h.chains[natOutput] = h.chains[natOutput][1:]
	}},
	{"no guard", func(h *fakeHost) { h.chains[filterOutput] = h.chains[filterOutput][1:] }},
	{"guard not first", func(h *fakeHost) {
		h.chains[filterOutput] = slices.Insert(h.chains[filterOutput], 0, "-p udp -j ACCEPT")
	}},
	{"guards of two ports", func(h *fakeHost) {
		h.chains[filterOutput] = slices.Insert(h.chains[filterOutput], 1, protection(980))
	}},
	{"bridge of another run", func(h *fakeHost) {
		h.chains[filterInput] = slices.Insert(h.chains[filterInput], 0, severalByIPTables.guards()[2].spec)
		h.chains[natPrerouting] = slices.Insert(h.chains[natPrerouting], 1, severalByIPTables.redirections()[0].spec)
	}},
	{"bridge of another run in mode loopback", func(h *fakeHost) {
		h.chains[filterOutput] = append(h.chains[filterOutput], severalOnLoopback.guards()[0].spec)
		h.chains[natPrerouting] = append(h.chains[natPrerouting], severalOnLoopback.passes()[1].spec, severalByIPTables.redirections()[0].spec)
	}},
	{"empty chain", func(h *fakeHost) { h.chains[ownChain] = nil }},
	{"no route", func(h *fakeHost) {
		h.objects = slices.DeleteFunc(h.objects, func(o piece) bool { return o == iptablesPlan.routing()[0] })
	}},
	{"every mode", func(h *fakeHost) {
		h.objects = slices.Concat(h.objects, loopbackPlan.addresses(), dummyPlan.links(), dummyPlan.addresses())
	}},
	{"link of ours", func(h *fakeHost) { h.objects = append(h.objects, ownLink) }},
	{"link of ours, down", func(h *fakeHost) { h.objects = append(h.objects, ownLink, dummyPlan.addresses()[0]) }},
	{"before other rules, but not first", func(h *fakeHost) {
		h.chains[natOutput] = slices.Insert(h.chains[natOutput], 1, pass(Endpoint))
	}},
	{"before other rules twice", func(h *fakeHost) {
		h.chains[natOutput] = slices.Insert(h.chains[natOutput], 0, pass(Endpoint), pass(Endpoint))
	}},
	{"exemption behind the redirection", func(h *fakeHost) {
		h.chains[ownChain] = append(h.chains[ownChain], exemption(4242))
	}},
}

// apply goes to a state, where "nothing" is gone to by Down.
func apply(ctx context.Context, i *Interceptor, p Plan) error {
	if p.IsZero() {
		return i.Down(ctx, p)
	}
	return i.Up(ctx, p)
}

// starts are hosts in every state and with every leftover.
func starts(t *testing.T) map[string]*fakeHost {
	t.Helper()
	hosts := make(map[string]*fakeHost)
	for _, s := range states {
		h := newFakeHost()
		if err := apply(t.Context(), h.interceptor(Options{}), s.plan); err != nil {
			t.Fatal(err)
		}
		hosts[s.name] = h
	}
	for _, l := range leftovers {
		h := hosts["iptables"].clone()
		l.spoil(h)
		hosts[l.name] = h
	}
	return hosts
}
