package netsetup

import (
	"errors"
	"net/netip"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"azimds/test/netns"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// hasDummy tells whether the kernel has links of type dummy, by ip's word.
var hasDummy = sync.OnceValue(func() bool {
	made := make(chan bool, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread is in a namespace of its own and ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			made <- false
			return
		}
		made <- exec.Command("ip", "link", "add", "trial0", "type", "dummy").Run() == nil
	}()
	return <-made
})

// addressPlans are those with the address on a device that this kernel can have.
func addressPlans() []Plan {
	if hasDummy() {
		return []Plan{loopbackPlan, dummyPlan}
	}
	return []Plan{loopbackPlan}
}

// Mode dummy says what the kernel lacks, and leaves nothing; or else it works.
func TestDummyOnThisKernel(t *testing.T) {
	_, err := exec.LookPath("ip")
	netns.Need(t, "ip", err)
	ns := netns.New(t)
	before := ns.Run(t, "ip", "-d", "addr")
	var errs [3]error
	do(t, ns, func() error {
		host := NewHost(Options{})
		_, _, errs[0] = Choose(t.Context(), Want{Mode: Dummy})
		errs[1] = host.Guard(t.Context(), dummyPlan)
		errs[2] = host.Up(t.Context(), dummyPlan)
		return nil
	})
	for n, err := range errs {
		if hasDummy() && err != nil || !hasDummy() && !errors.Is(err, ErrNoDummy) {
			t.Errorf("call %d, on a kernel with dummy %v: %v", n, hasDummy(), err)
		}
	}
	t.Logf("dummy %v: %v", hasDummy(), errs[2])
	down(t, ns, dummyPlan)
	if diff := cmp.Diff(before, ns.Run(t, "ip", "-d", "addr")); diff != "" {
		t.Errorf("devices (-before +after):\n%s", diff)
	}
}

// auto leaves dummy to those who ask for it.
func TestAutoIsNeverDummy(t *testing.T) {
	for _, f := range []facts{{}, {iptables: ErrNoIPTables}, {iptables: ErrNoIPTables, loopback: &InUseError{Addr: Endpoint, Err: syscall.EADDRINUSE}}} {
		if mode, reason, err := decide(Want{Mode: Auto}, f); mode == Dummy || err != nil && strings.Contains(err.Error(), "dummy") {
			t.Errorf("decide(%+v) = %q, %q, %v", f, mode, reason, err)
		}
	}
}

// foreignLink is a host with a link of somebody else that has our name.
func foreignLink() *fakeHost {
	h := newFakeHost()
	h.objects = append(h.objects, link{dummyDevice, "dummy", 0}, upLink{dummyDevice})
	return h
}

// sharedLink is a host on which somebody has put an address on our link.
func sharedLink(t *testing.T) *fakeHost {
	t.Helper()
	h := newFakeHost()
	if err := h.interceptor(Options{}).Up(t.Context(), dummyPlan); err != nil {
		t.Fatal(err)
	}
	h.objects = append(h.objects, address{netip.MustParsePrefix("10.1.1.1/24"), dummyDevice, dummyDevice})
	return h
}

func TestCheckDummy(t *testing.T) {
	host := starts(t)
	linkDown := host["dummy"].clone()
	linkDown.objects = slices.DeleteFunc(linkDown.objects, func(o piece) bool { return o == upLink{dummyDevice} })
	tests := []struct {
		name string
		host *fakeHost
		plan Plan
		want Report
	}{
		{"link missing", host["nothing"], dummyPlan, Report{Delta: []string{
			"ip link add azimds0 group 169254 type dummy",
			"ip link set azimds0 up",
			"ip addr add 169.254.169.254/32 dev azimds0 scope host label azimds0:azimds"}}},
		{"link down", linkDown, dummyPlan, Report{Delta: []string{"ip link set azimds0 up"}}},
		{"link left", host["dummy"], Plan{}, Report{Residue: []string{
			"ip addr del 169.254.169.254/32 dev azimds0 label azimds0:azimds", "ip link set azimds0 down", "ip link del azimds0"}}},
		{"somebody else's address on our link", sharedLink(t), Plan{}, Report{
			Residue: []string{"ip addr del 169.254.169.254/32 dev azimds0 label azimds0:azimds"},
			Foreign: []string{"address 10.1.1.1/24 of our device azimds0"}}},
		{"somebody else's link", foreignLink(), dummyPlan, Report{
			Delta:   []string{"ip link add azimds0 group 169254 type dummy", "ip link set azimds0 up", dummyPlan.addresses()[0].adding()},
			Foreign: []string{"device azimds0, a link of type dummy in group 0"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { reports(t, tt.host, tt.plan, tt.want) })
	}
}

// Somebody else's address keeps our link; what is ours goes, and the address is not touched.
func TestDownOfSharedLink(t *testing.T) {
	h := sharedLink(t)
	err := h.interceptor(Options{}).Down(t.Context(), dummyPlan)
	if foreign, ok := errors.AsType[*ForeignError](err); !ok || !slices.Equal(foreign.What, []string{"address 10.1.1.1/24 of our device azimds0"}) {
		t.Errorf("Down: %v, want a ForeignError that names the address", err)
	}
	want := newFakeHost()
	want.objects = append(want.objects, address{netip.MustParsePrefix("10.1.1.1/24"), dummyDevice, dummyDevice}, ownLink, upLink{dummyDevice})
	if diff := cmp.Diff(want.String(), h.String()); diff != "" {
		t.Errorf("host (-want +got):\n%s", diff)
	}
	// While the link is wanted, the address is not in the way.
	if err := h.interceptor(Options{}).Up(t.Context(), dummyPlan); err != nil {
		t.Errorf("Up: %v", err)
	}
}

// Somebody else's link of our name is not touched.
func TestDownBesideForeignLink(t *testing.T) {
	h := foreignLink()
	before := h.String()
	if err := h.interceptor(Options{}).Down(t.Context(), dummyPlan); err != nil {
		t.Error(err)
	}
	if removed, err := h.interceptor(Options{}).Sweep(t.Context()); len(removed) > 0 || err != nil {
		t.Errorf("Sweep = %q, %v", removed, err)
	}
	if diff := cmp.Diff(before, h.String()); diff != "" {
		t.Errorf("host (-before +after):\n%s", diff)
	}
}
