package netsetup

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"azimds/test/netns"
)

// Root without CAP_NET_ADMIN, as in a container, is told so before anything is tried; with it, a mode is found.
func TestChooseWithoutCapability(t *testing.T) {
	netns.Root(t)
	ns := netns.New(t)
	if mode, err := choose(t, ns, Want{Mode: Loopback}); mode != Loopback || err != nil {
		t.Errorf("Choose = %q, %v", mode, err)
	}
	err := ns.Do(func() error { // on a thread that ends with this function
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var sets [2]unix.CapUserData
		if err := unix.Capget(&header, &sets[0]); err != nil {
			return err
		}
		sets[0].Effective &^= 1 << unix.CAP_NET_ADMIN
		if err := unix.Capset(&header, &sets[0]); err != nil {
			return err
		}
		_, _, err := Choose(t.Context(), Want{Mode: Loopback})
		return err
	})
	if !errors.Is(err, ErrNotPermitted) {
		t.Errorf("Choose without CAP_NET_ADMIN: %v", err)
	}
}
