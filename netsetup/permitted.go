package netsetup

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ErrNotPermitted is wrapped where this process may not change the network, as root in a container that was not given CAP_NET_ADMIN.
var ErrNotPermitted = errors.New("no CAP_NET_ADMIN")

// permitted asks the kernel, which looks at the capability before it looks at what it is asked for (rtnetlink_rcv_msg in
// net/core/rtnetlink.c), to remove a device that cannot be: one with a negative index.
func permitted() error {
	err := netlink.LinkDel(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: -1}})
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("changing the network: %w", ErrNotPermitted)
	}
	return nil
}
