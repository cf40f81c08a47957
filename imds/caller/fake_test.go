package caller

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

var (
	client  = netip.MustParseAddrPort("10.0.0.7:40000")
	another = netip.MustParseAddrPort("10.0.0.7:40001")
	named   = socket{src: client, dst: imds, state: stateEstablished, uid: owner, inode: 77, cgroup: 5}
)

// fakeKernel is the other end of a diag: it holds the replies to come.
type fakeKernel struct {
	t  *testing.T
	fd int
}

// newFakeKernel returns a diag that waits no longer for an answer than the fake has already given.
func newFakeKernel(t *testing.T) (*diag, fakeKernel) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	timeout := unix.Timeval{Usec: 1}
	if err := unix.SetsockoptTimeval(fds[0], unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		t.Fatal(err)
	}
	k := fakeKernel{t, fds[1]}
	t.Cleanup(func() { unix.Close(k.fd) })
	return &diag{fd: fds[0], overflow: 65534}, k
}

// say queues datagrams.
func (k fakeKernel) say(datagrams ...[]byte) fakeKernel {
	for _, b := range datagrams {
		if _, err := unix.Write(k.fd, b); err != nil {
			k.t.Fatal(err)
		}
	}
	return k
}

// asked is the device of the next question that was put.
func (k fakeKernel) asked() uint32 {
	k.t.Helper()
	var b [requestLen]byte
	if n, _, err := unix.Recvfrom(k.fd, b[:], unix.MSG_DONTWAIT); n != requestLen || err != nil {
		k.t.Fatalf("reading a question: %d bytes, %v", n, err)
	}
	return binary.NativeEndian.Uint32(b[headerLen+8+36:])
}

// closed says whether the diag has closed its end.
func (k fakeKernel) closed() bool {
	k.t.Helper()
	for b := make([]byte, replyLen); ; {
		switch n, _, err := unix.Recvfrom(k.fd, b, unix.MSG_DONTWAIT); {
		case errors.Is(err, unix.ECONNRESET), err == nil && n == 0: // with unread replies, and without
			return true
		case errors.Is(err, unix.EAGAIN):
			return false
		case err != nil:
			k.t.Fatal(err)
		}
	}
}

// message is one netlink message.
func message(kind uint16, seq uint32, body ...byte) []byte {
	ne := binary.NativeEndian
	b := ne.AppendUint32(nil, uint32(headerLen+len(body)))
	b = ne.AppendUint16(b, kind)
	b = ne.AppendUint16(b, 0)
	b = ne.AppendUint32(b, seq)
	return append(ne.AppendUint32(b, 0), body...)
}

// refusal is the kernel's answer with an error number.
func refusal(seq uint32, code unix.Errno) []byte {
	return message(unix.NLMSG_ERROR, seq, binary.NativeEndian.AppendUint32(nil, uint32(-int32(code)))...)
}

// answer is the kernel's answer about a socket.
func answer(seq uint32, s socket) []byte {
	ne, be := binary.NativeEndian, binary.BigEndian
	body := make([]byte, messageLen)
	body[0], body[1] = unix.AF_INET, s.state
	be.PutUint16(body[4:], s.src.Port())
	be.PutUint16(body[6:], s.dst.Port())
	copy(body[8:], s.src.Addr().AsSlice())
	copy(body[24:], s.dst.Addr().AsSlice())
	ne.PutUint32(body[64:], s.uid)
	ne.PutUint32(body[68:], s.inode)
	body = ne.AppendUint16(body, 5) // first an attribute of one byte, padded: INET_DIAG_SHUTDOWN
	body = ne.AppendUint16(body, 8)
	body = append(body, 0, 0, 0, 0)
	body = ne.AppendUint16(body, 12)
	body = ne.AppendUint16(body, attrCgroupID)
	body = ne.AppendUint64(body, s.cgroup)
	return message(unix.SOCK_DIAG_BY_FAMILY, seq, body...)
}
