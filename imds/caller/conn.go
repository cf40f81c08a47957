package caller

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// LocalAddr is what the client dialled when nothing between rewrote it: the accepted connection's own address, an IPv4
// one never mapped to IPv6.
func LocalAddr(c *net.TCPConn) (netip.AddrPort, error) {
	addr, ok := c.LocalAddr().(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("reading the local address of a connection: %w", net.ErrClosed)
	}
	return plain(addr.AddrPort()), nil
}

// OriginalDst is what the client dialled before NAT rewrote it, as conntrack remembers it (SO_ORIGINAL_DST of
// linux/netfilter_ipv4.h; IPv4 alone). For a connection that conntrack saw and left alone it is the local address, which
// tells a direct connection from an intercepted one. It fails where conntrack does not know the connection (ENOENT), and
// on a Multipath TCP connection (EOPNOTSUPP), which a listener made by package net accepts unless told otherwise.
func OriginalDst(c *net.TCPConn) (netip.AddrPort, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("reading the original destination of a connection: %w", err)
	}
	var dst netip.AddrPort
	var failed error
	err = raw.Control(func(fd uintptr) { dst, failed = originalDst(int(fd)) })
	if err == nil {
		err = failed
	}
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("reading the original destination of %s: %w", c.RemoteAddr(), err)
	}
	return dst, nil
}

// originalDst reads a struct sockaddr_in through the one getsockopt of x/sys/unix whose result has room for its 16 bytes:
// struct ipv6_mreq, of which they fill the first member.
func originalDst(fd int) (netip.AddrPort, error) {
	value, err := unix.GetsockoptIPv6Mreq(fd, unix.SOL_IP, unix.SO_ORIGINAL_DST)
	if err != nil {
		return netip.AddrPort{}, err
	}
	b := value.Multiaddr
	if family := binary.NativeEndian.Uint16(b[0:]); family != unix.AF_INET {
		return netip.AddrPort{}, fmt.Errorf("address family %d", family)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), binary.BigEndian.Uint16(b[2:])), nil
}
