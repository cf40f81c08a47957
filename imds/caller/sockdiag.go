package caller

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Sizes and numbers of linux/netlink.h, linux/sock_diag.h and linux/inet_diag.h.
const (
	headerLen  = unix.SizeofNlMsghdr // struct nlmsghdr
	requestLen = headerLen + 56      // and struct inet_diag_req_v2
	messageLen = 72                  // struct inet_diag_msg
	attrLen    = unix.SizeofNlAttr   // struct nlattr

	attrCgroupID = 21 // INET_DIAG_CGROUP_ID, a u64; Linux 5.8
	attrTypeMask = 0x3fff

	// anyDevice asks for a socket that is bound to no device. A bound one is found only under its own device's index.
	anyDevice = 0
	// loopbackDevice is the index of lo in every network namespace (LOOPBACK_IFINDEX in the kernel).
	loopbackDevice = 1
)

// The TCP states of a connection whose client can still read, as inet_diag_msg.idiag_state has them (net/tcp_states.h).
const (
	stateEstablished = unix.BPF_TCP_ESTABLISHED
	stateFinWait1    = unix.BPF_TCP_FIN_WAIT1
	stateFinWait2    = unix.BPF_TCP_FIN_WAIT2
	stateCloseWait   = unix.BPF_TCP_CLOSE_WAIT
)

var (
	// errNoSocket is the kernel's ENOENT: no socket with these addresses, nor a listener that would take them.
	errNoSocket = errors.New("no such socket in this network namespace")
	// errStray is a datagram that answers another question.
	errStray = errors.New("no answer to this question")
	// errMalformed is a reply that no kernel sends.
	errMalformed = errors.New("malformed reply")
)

// socket is what the kernel says about one TCP socket; src is its own end.
type socket struct {
	src, dst netip.AddrPort
	state    uint8
	uid      uint32
	inode    uint32
	cgroup   uint64
}

// putRequest writes the question for the one IPv4 socket src -> dst: a SOCK_DIAG_BY_FAMILY message without NLM_F_DUMP
// and without a cookie. The kernel looks IPv6 sockets with mapped addresses up in the same table, so it finds those too.
func putRequest(b *[requestLen]byte, seq uint32, src, dst netip.AddrPort, device uint32) {
	*b = [requestLen]byte{}
	ne, be := binary.NativeEndian, binary.BigEndian
	ne.PutUint32(b[0:], requestLen)
	ne.PutUint16(b[4:], unix.SOCK_DIAG_BY_FAMILY)
	ne.PutUint16(b[6:], unix.NLM_F_REQUEST)
	ne.PutUint32(b[8:], seq)

	req := b[headerLen:]
	req[0], req[1] = unix.AF_INET, unix.IPPROTO_TCP
	ne.PutUint32(req[4:], ^uint32(0)) // idiag_states; an exact lookup ignores it
	id := req[8:]                     // struct inet_diag_sockid
	be.PutUint16(id[0:], src.Port())
	be.PutUint16(id[2:], dst.Port())
	from, to := src.Addr().As4(), dst.Addr().As4()
	copy(id[4:], from[:])
	copy(id[20:], to[:])
	ne.PutUint32(id[36:], device)
	ne.PutUint64(id[40:], ^uint64(0)) // INET_DIAG_NOCOOKIE, twice
}

// parseReply finds the answer to question seq in one datagram. It returns [errStray] when there is none, [errNoSocket],
// [errMalformed], or the kernel's own error.
func parseReply(b []byte, seq uint32) (socket, error) {
	ne := binary.NativeEndian
	for len(b) >= headerLen {
		size := int(ne.Uint32(b[0:]))
		if size < headerLen || size > len(b) {
			return socket{}, fmt.Errorf("%w: message of %d bytes in %d", errMalformed, size, len(b))
		}
		kind, body := ne.Uint16(b[4:]), b[headerLen:size]
		if ne.Uint32(b[8:]) != seq {
			b = b[min(align(size), len(b)):]
			continue
		}
		switch kind {
		case unix.NLMSG_ERROR:
			return socket{}, parseError(body)
		case unix.SOCK_DIAG_BY_FAMILY:
			return parseSocket(body)
		default:
			return socket{}, fmt.Errorf("%w: message type %d", errMalformed, kind)
		}
	}
	return socket{}, errStray
}

// parseError reads struct nlmsgerr: a negative errno, then the request it is about.
func parseError(b []byte) error {
	if len(b) < 4 {
		return fmt.Errorf("%w: error of %d bytes", errMalformed, len(b))
	}
	switch code := int32(binary.NativeEndian.Uint32(b)); {
	case code == -int32(unix.ENOENT):
		return errNoSocket
	case code < 0 && code > -4096: // MAX_ERRNO is 4095
		return unix.Errno(-code)
	default:
		return fmt.Errorf("%w: error number %d", errMalformed, code)
	}
}

// parseSocket reads struct inet_diag_msg and the attributes behind it.
func parseSocket(b []byte) (socket, error) {
	if len(b) < messageLen {
		return socket{}, fmt.Errorf("%w: socket of %d bytes", errMalformed, len(b))
	}
	ne, be := binary.NativeEndian, binary.BigEndian
	id := b[4:]
	src, err := parseAddr(b[0], id[4:20])
	if err != nil {
		return socket{}, err
	}
	dst, err := parseAddr(b[0], id[20:36])
	if err != nil {
		return socket{}, err
	}
	cgroup, err := parseCgroup(b[messageLen:])
	if err != nil {
		return socket{}, err
	}
	return socket{
		src:    netip.AddrPortFrom(src, be.Uint16(id[0:])),
		dst:    netip.AddrPortFrom(dst, be.Uint16(id[2:])),
		state:  b[1],
		uid:    ne.Uint32(b[64:]),
		inode:  ne.Uint32(b[68:]),
		cgroup: cgroup,
	}, nil
}

// parseAddr reads an address of the socket's family: an IPv6 socket that talks IPv4 has mapped addresses, which become
// plain ones.
func parseAddr(family uint8, b []byte) (netip.Addr, error) {
	switch family {
	case unix.AF_INET:
		return netip.AddrFrom4([4]byte(b)), nil
	case unix.AF_INET6:
		return netip.AddrFrom16([16]byte(b)).Unmap(), nil
	default:
		return netip.Addr{}, fmt.Errorf("%w: address family %d", errMalformed, family)
	}
}

// parseCgroup finds the control group's id among attributes; 0 when there is none.
func parseCgroup(b []byte) (uint64, error) {
	ne := binary.NativeEndian
	for len(b) >= attrLen {
		size := int(ne.Uint16(b[0:]))
		if size < attrLen || size > len(b) {
			return 0, fmt.Errorf("%w: attribute of %d bytes in %d", errMalformed, size, len(b))
		}
		if ne.Uint16(b[2:])&attrTypeMask == attrCgroupID {
			if size != attrLen+8 {
				return 0, fmt.Errorf("%w: control group id of %d bytes", errMalformed, size-attrLen)
			}
			return ne.Uint64(b[attrLen:]), nil
		}
		b = b[min(align(size), len(b)):]
	}
	return 0, nil
}

// align rounds up to netlink's four bytes.
func align(n int) int { return (n + 3) &^ 3 }
