package netsetup

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Links lists every device.
func (hostAddresses) Links(context.Context) ([]linkState, error) {
	found, err := dump(netlink.LinkList)
	if err != nil {
		return nil, err
	}
	states := make([]linkState, len(found))
	for n, l := range found {
		a := l.Attrs()
		states[n] = linkState{link{a.Name, l.Type(), a.Group}, a.Flags&net.FlagUp != 0}
	}
	return states, nil
}

// make adds the link with its group in one request, so that it is never there without its mark. The kernel loads the module
// if it can, which stays loaded. It answers EOPNOTSUPP to a type that it does not know (rtnl_newlink in
// net/core/rtnetlink.c).
func (l link) make() error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.Group = l.name, l.group
	err := netlink.LinkAdd(&netlink.Dummy{LinkAttrs: attrs})
	if errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("%w (%w)", ErrNoDummy, err)
	}
	return err
}

// delete removes the link by its index, and only while it is ours: by now the name may be another's.
func (l link) delete() error {
	found, err := netlink.LinkByName(l.name)
	if err != nil {
		return err
	}
	if now := (link{found.Attrs().Name, found.Type(), found.Attrs().Group}); now != l {
		return nil
	}
	return netlink.LinkDel(found)
}

func (u upLink) set(state func(netlink.Link) error) error {
	found, err := netlink.LinkByName(u.device)
	if err != nil {
		return err
	}
	return state(found)
}
