package netsetup

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// tcpListen is TCP_LISTEN in include/net/tcp_states.h.
const tcpListen = 10

// holder names who listens where a listener of ours on addr and device cannot, as far as the caller's rights reach. It
// serves an error message, so what cannot be found out is left out.
func holder(addr netip.AddrPort, device string) string {
	ours, err := net.InterfaceByName(device)
	if err != nil {
		return ""
	}
	var names []string
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		sockets, err := dump(func() ([]*netlink.Socket, error) { return netlink.SocketDiagTCP(family) })
		if err != nil {
			continue
		}
		for _, s := range sockets {
			if at, in := inTheWay(s, addr, uint32(ours.Index)); in {
				names = append(names, fmt.Sprintf("%s on %s", process(s.INode, s.UID), at))
			}
		}
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ", ")
}

// inTheWay tells whether a socket excludes a listener on addr and a device, and where it listens.
func inTheWay(s *netlink.Socket, addr netip.AddrPort, device uint32) (netip.AddrPort, bool) {
	ip, ok := netip.AddrFromSlice(s.ID.Source)
	ip = ip.Unmap() // netlink writes IPv4 addresses as IPv6 ones
	if !ok || s.State != tcpListen || s.ID.SourcePort != addr.Port() {
		return netip.AddrPort{}, false
	}
	if s.ID.Interface != 0 && s.ID.Interface != device {
		return netip.AddrPort{}, false
	}
	in := ip.IsUnspecified() || addr.Addr().IsUnspecified() || ip == addr.Addr()
	return netip.AddrPortFrom(ip, addr.Port()), in
}

// process names the first process that has a socket open.
func process(inode, uid uint32) string {
	link := fmt.Sprintf("socket:[%d]", inode)
	fds, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return fmt.Sprintf("a process of uid %d", uid)
	}
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err != nil || to != link {
			continue
		}
		dir := filepath.Dir(filepath.Dir(fd))
		if name, err := os.ReadFile(filepath.Join(dir, "comm")); err == nil {
			return fmt.Sprintf("%s (pid %s)", strings.TrimSpace(string(name)), filepath.Base(dir))
		}
	}
	return fmt.Sprintf("a process of uid %d", uid)
}
