package netsetup

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestStates(t *testing.T) {
	ctx := t.Context()
	for name, start := range starts(t) {
		for _, s := range states {
			t.Run(name+" to "+s.name, func(t *testing.T) {
				h := start.clone()
				want := s.want
				if name == "guard not first" {
					want = strings.Replace(want, "  -o lo -j ACCEPT", "  -p udp -j ACCEPT\n  -o lo -j ACCEPT", 1)
				}
				if name == "jump not first" {
					want = strings.Replace(want, "  -d 192.0.2.9/32", "  -p udp -j ACCEPT\n  -d 192.0.2.9/32", 1)
				}
				for range 2 { // the second time nothing changes
					if err := apply(ctx, h.interceptor(Options{}), s.plan); err != nil {
						t.Fatal(err)
					}
					if diff := cmp.Diff(want, "\n"+h.String()); diff != "" {
						t.Errorf("host (-want +got):\n%s", diff)
					}
				}
				report, err := h.interceptor(Options{}).Check(ctx, s.plan)
				if err != nil || !report.OK() {
					t.Errorf("Check = %+v, %v; want nothing", report, err)
				}
				repeated := h.interceptor(Options{After: func(phase string, _ int, name string) {
					t.Errorf("repeated, %s ran %q", phase, name)
				}})
				if err := apply(ctx, repeated, s.plan); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func TestStatesAtRandom(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	h := newFakeHost()
	for range 500 {
		s := states[random.IntN(len(states))]
		if err := apply(t.Context(), h.interceptor(Options{}), s.plan); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(s.want, "\n"+h.String()); diff != "" {
			t.Fatalf("%s (-want +got):\n%s", s.name, diff)
		}
	}
}

// A call that fails leaves Up with what was before. Down goes on: the next one has the rest to do and nothing to repeat.
func TestFailureAtEachCall(t *testing.T) {
	ctx := t.Context()
	for name, start := range starts(t) {
		for _, s := range states {
			t.Run(name+" to "+s.name, func(t *testing.T) {
				for n := 1; ; n++ {
					h := start.clone()
					h.calls, h.failAt = 0, n
					err := apply(ctx, h.interceptor(Options{}), s.plan)
					if h.calls < n {
						break // it never came to that call
					}
					if !errors.Is(err, errInjected) {
						t.Fatalf("call %d: error %v, want the injected one", n, err)
					}
					if s.plan.IsZero() {
						if err := h.interceptor(Options{}).Down(ctx, s.plan); err != nil {
							t.Fatalf("call %d: second Down: %v", n, err)
						}
						if left := residue(t, h); len(left) > 0 {
							t.Fatalf("call %d: second Down left %q", n, left)
						}
						continue
					}
					if diff := cmp.Diff(start.String(), h.String()); diff != "" {
						t.Fatalf("call %d (-before +after):\n%s", n, diff)
					}
				}
			})
		}
	}
}

func residue(t *testing.T, h *fakeHost) []string {
	t.Helper()
	report, err := h.interceptor(Options{}).Check(t.Context(), Plan{})
	if err != nil {
		t.Fatal(err)
	}
	return report.Residue
}

// What makes the interception live comes last, and goes first.
func TestOrder(t *testing.T) {
	var got []string
	h := newFakeHost()
	i := h.interceptor(Options{After: func(phase string, step int, name string) {
		got = append(got, phase+" "+string(rune('0'+step))+" "+name)
	}})
	for _, p := range []Plan{exemptPlan, loopbackPlan, preceding(dummyPlan), {}} {
		if err := apply(t.Context(), i, p); err != nil {
			t.Fatal(err)
		}
	}
	want := strings.TrimSpace(`
up 0 iptables -t filter -I OUTPUT 1 -d 127.0.0.1/32 -p tcp -m tcp --dport 980 -m conntrack ! --ctstate DNAT -m comment --comment azimds -j REJECT --reject-with tcp-reset
up 1 ip route add local 169.254.169.254/32 dev lo src 127.0.0.1 proto 169 table 169254
up 2 ip rule add iif lo to 169.254.169.254/32 uidrange 1001-1001 dport 80-80 lookup 169254 pref 40000 proto 169
up 3 iptables -t nat -N AZIMDS
up 4 iptables -t nat -I AZIMDS 1 -m owner --gid-owner 4242 --suppl-groups -j RETURN
up 5 iptables -t nat -I AZIMDS 2 -p tcp -j REDIRECT --to-ports 980
up 6 iptables -t nat -I OUTPUT 1 -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -m owner --uid-owner 1001 -m comment --comment azimds -j AZIMDS
up 0 iptables -t nat -D OUTPUT -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -m owner --uid-owner 1001 -m comment --comment "azimds" -j AZIMDS
up 1 iptables -t nat -D AZIMDS -m owner --gid-owner 4242 --suppl-groups -j RETURN
up 2 iptables -t nat -D AZIMDS -p tcp -j REDIRECT --to-ports 980
up 3 iptables -t nat -X AZIMDS
up 4 ip rule del iif lo to 169.254.169.254/32 uidrange 1001-1001 dport 80-80 lookup 169254 pref 40000 proto 169
up 5 ip route del local 169.254.169.254/32 dev lo src 127.0.0.1 proto 169 table 169254
up 6 iptables -t filter -D OUTPUT -d 127.0.0.1/32 -p tcp -m tcp --dport 980 -m conntrack ! --ctstate DNAT -m comment --comment "azimds" -j REJECT --reject-with tcp-reset
up 7 ip addr add 169.254.169.254/32 dev lo scope host label lo:azimds
up 0 ip addr del 169.254.169.254/32 dev lo label lo:azimds
up 1 ip link add azimds0 group 169254 type dummy
up 2 ip link set azimds0 up
up 3 iptables -t nat -I OUTPUT 1 -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -m comment --comment azimds -j ACCEPT
up 4 ip addr add 169.254.169.254/32 dev azimds0 scope host label azimds0:azimds
down 0 ip addr del 169.254.169.254/32 dev azimds0 label azimds0:azimds
down 1 iptables -t nat -D OUTPUT -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -m comment --comment "azimds" -j ACCEPT
down 2 ip link set azimds0 down
down 3 ip link del azimds0`)
	if diff := cmp.Diff(want, strings.Join(got, "\n")); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

func TestCheck(t *testing.T) {
	const jump = "iptables -t nat -I OUTPUT 1 -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -m owner --uid-owner 1000 -m comment --comment azimds -j AZIMDS"
	guard := "iptables -t filter -I OUTPUT 1 " + protection(981)
	refused := "iptables -t filter -I OUTPUT 2 " + refusal(Endpoint)
	host := starts(t)
	foreign := host["iptables"].clone()
	foreign.chains[ownChain] = append(foreign.chains[ownChain], "-p udp -j ACCEPT")
	othersFirst := host["dummy before other rules"].clone()
	othersFirst.chains[natOutput] = slices.Insert(othersFirst.chains[natOutput], 0, "-p tcp -j ACCEPT")
	othersJump := host["iptables"].clone()
	othersJump.chains[natOutput] = slices.Insert(othersJump.chains[natOutput], 0, "-p tcp -j AZIMDS")
	tests := []struct {
		name string
		host *fakeHost
		plan Plan
		want Report
	}{
		{"address missing", host["nothing"], loopbackPlan, Report{
			Delta: []string{"ip addr add 169.254.169.254/32 dev lo scope host label lo:azimds"}}},
		{"address left", host["loopback"], Plan{}, Report{
			Residue: []string{"ip addr del 169.254.169.254/32 dev lo label lo:azimds"}}},
		{"somebody else's rule first", othersFirst, preceding(dummyPlan), Report{
			Delta: []string{preceding(dummyPlan).passes()[0].adding()}}},
		{"jump gone", host["no jump"], iptablesPlan, Report{Delta: []string{jump}}},
		{"guard gone", host["no guard"], iptablesPlan, Report{Delta: []string{guard, refused}}},
		{"guard not first", host["guard not first"], iptablesPlan, Report{Delta: []string{guard, refused}}},
		{"guard of another port, too", host["guards of two ports"], iptablesPlan, Report{
			Residue: []string{strings.Replace(rule{filterOutput, 1, protection(980)}.removing(), "azimds", `"azimds"`, 1)},
			Delta:   []string{guard, refused}}},
		{"somebody else's jump to our chain before ours", othersJump, iptablesPlan, Report{Delta: []string{jump}}},
		{"route gone", host["no route"], iptablesPlan, Report{
			Delta: []string{"ip route add local 169.254.169.254/32 dev lo src 127.0.0.1 proto 169 table 169254"}}},
		{"rule of somebody else in our chain", foreign, Plan{}, Report{
			Residue: []string{
				"iptables -t nat -D OUTPUT " + strings.Replace(iptablesPlan.jumps()[0].spec, "azimds", `"azimds"`, 1),
				"iptables -t nat -D AZIMDS -p tcp -j REDIRECT --to-ports 981",
				"ip rule del iif lo to 169.254.169.254/32 uidrange 1000-1000 dport 80-80 lookup 169254 pref 40000 proto 169",
				"ip route del local 169.254.169.254/32 dev lo src 127.0.0.1 proto 169 table 169254",
				strings.Replace(rule{filterOutput, 1, protection(981)}.removing(), "azimds", `"azimds"`, 1),
				strings.Replace(rule{filterOutput, 1, refusal(Endpoint)}.removing(), "azimds", `"azimds"`, 1),
			},
			Foreign: []string{`rule "-p udp -j ACCEPT" in chain AZIMDS`},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { reports(t, tt.host, tt.plan, tt.want) })
	}
}

// reports compares what Check says, and with what it does: nothing.
func reports(t *testing.T, h *fakeHost, p Plan, want Report) {
	t.Helper()
	before := h.String()
	got, err := h.interceptor(Options{}).Check(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before, h.String()); diff != "" {
		t.Errorf("Check changed the host (-before +after):\n%s", diff)
	}
}

func TestUpRefuses(t *testing.T) {
	foreignAddress := newFakeHost()
	foreignAddress.objects = append(foreignAddress.objects, address{netip.MustParsePrefix("169.254.169.254/16"), "eth0", "eth0"})
	foreignRule := newFakeHost()
	foreignRule.chains[ownChain] = []string{"-p udp -j ACCEPT"}
	down := newFakeHost()
	down.down = true
	bare := newFakeHost()
	bare.noFirewall = ErrNoIPTables
	noModule := newFakeHost()
	noModule.noDummy = true
	noModuleLeft := starts(t)["iptables"]
	noModuleLeft.noDummy = true
	tests := []struct {
		name string
		host *fakeHost
		plan Plan
		want string
		is   error
	}{
		{"address of somebody else", foreignAddress, loopbackPlan,
			"refusing to touch what is not ours: address 169.254.169.254/16 of device eth0", nil},
		{"address of somebody else, dummy", foreignAddress, dummyPlan,
			"refusing to touch what is not ours: address 169.254.169.254/16 of device eth0", nil},
		{"link of somebody else", foreignLink(), dummyPlan,
			"refusing to touch what is not ours: device azimds0, a link of type dummy in group 0", nil},
		{"address of somebody else on our link", sharedLink(t), loopbackPlan,
			"refusing to touch what is not ours: address 10.1.1.1/24 of our device azimds0", nil},
		{"no module", noModule, dummyPlan, `putting up mode "dummy": running "ip link add azimds0 group 169254 type dummy": ` +
			`the kernel has no module dummy (operation not supported)`, ErrNoDummy},
		{"no module, after mode iptables", noModuleLeft, dummyPlan, `putting up mode "dummy": running ` +
			`"ip link add azimds0 group 169254 type dummy": the kernel has no module dummy (operation not supported)`, ErrNoDummy},
		{"lo down, dummy", down, dummyPlan, `preparing mode "dummy": device lo is down`, ErrLoopbackDown},
		{"no iptables to precede with", bare, preceding(loopbackPlan),
			`listing chain "nat/OUTPUT": looking for iptables: no iptables program`, ErrNoIPTables},
		{"chain of somebody else", foreignRule, iptablesPlan,
			`refusing to touch what is not ours: rule "-p udp -j ACCEPT" in chain AZIMDS`, nil},
		{"lo down", down, iptablesPlan, `preparing mode "iptables": device lo is down`, ErrLoopbackDown},
		{"no iptables", bare, iptablesPlan,
			`listing chain "nat/OUTPUT": looking for iptables: no iptables program`, ErrNoIPTables},
		{"no mode", newFakeHost(), Plan{Mode: Auto, Endpoint: Endpoint}, `checking mode "auto": not one of "iptables", "loopback", "dummy"`, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := tt.host.String()
			err := tt.host.interceptor(Options{}).Up(t.Context(), tt.plan)
			if err == nil || err.Error() != tt.want || tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("error %v, want %s (%v)", err, tt.want, tt.is)
			}
			if diff := cmp.Diff(before, tt.host.String()); diff != "" {
				t.Errorf("host (-before +after):\n%s", diff)
			}
		})
	}
}

func TestWithoutIPTables(t *testing.T) {
	h := newFakeHost()
	h.noFirewall = ErrNoIPTables
	i := h.interceptor(Options{})
	if err := i.Up(t.Context(), loopbackPlan); err != nil {
		t.Fatal(err)
	}
	removed, err := i.Sweep(t.Context())
	if want := []string{"ip addr del 169.254.169.254/32 dev lo label lo:azimds"}; err != nil || !slices.Equal(removed, want) {
		t.Errorf("Sweep = %q, %v; want %q", removed, err, want)
	}
	if err := i.Down(t.Context(), loopbackPlan); err != nil {
		t.Errorf("Down of mode loopback: %v", err)
	}
	for _, p := range []Plan{iptablesPlan, preceding(loopbackPlan)} {
		if err := i.Down(t.Context(), p); !errors.Is(err, ErrNoIPTables) {
			t.Errorf("Down of %+v: %v, want ErrNoIPTables: rules may be there still", p, err)
		}
	}
}

// A context that ends stops Up, but neither what takes it back nor Down.
func TestContextEnds(t *testing.T) {
	h := newFakeHost()
	before := h.String()
	ctx, cancel := context.WithCancel(t.Context())
	i := h.interceptor(Options{After: func(string, int, string) { cancel() }})
	if err := i.Up(ctx, iptablesPlan); !errors.Is(err, context.Canceled) {
		t.Errorf("Up under a context that ends: %v", err)
	}
	if diff := cmp.Diff(before, h.String()); diff != "" {
		t.Errorf("host after Up (-before +after):\n%s", diff)
	}
	if err := i.Up(t.Context(), iptablesPlan); err != nil {
		t.Fatal(err)
	}
	if err := i.Down(ctx, iptablesPlan); err != nil {
		t.Errorf("Down under an ended context: %v", err)
	}
	if diff := cmp.Diff(before, h.String()); diff != "" {
		t.Errorf("host after Down (-before +after):\n%s", diff)
	}
}
