package caller

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// answerTimeout is far beyond what an answer takes: the kernel has put it in the queue when the write of the question
	// returns. It only keeps a kernel that never answers from stopping the server.
	answerTimeout = 500 * time.Millisecond
	// maxStray is how many answers to other questions may come first.
	maxStray = 16
	// replyLen holds any answer: a socket without extensions is some 130 bytes.
	replyLen = 8192

	overflowFile = "/proc/sys/kernel/overflowuid"
)

// diag is one open NETLINK_SOCK_DIAG socket, for one goroutine at a time.
type diag struct {
	fd       int
	overflow uint32 // the uid that stands for every uid without a number in this user namespace
	seq      uint32
	request  [requestLen]byte
	reply    [replyLen]byte
}

// openDiag opens a socket in the calling thread's network namespace. It is connected to the kernel, which then refuses
// datagrams that other processes send to it.
func openDiag() (*diag, error) {
	overflow, err := overflowUID(overflowFile)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, fmt.Errorf("opening a sock_diag socket: %w", err)
	}
	timeout := unix.NsecToTimeval(answerTimeout.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		return nil, errors.Join(fmt.Errorf("setting the sock_diag socket's timeout: %w", err), unix.Close(fd))
	}
	if err := unix.Connect(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, errors.Join(fmt.Errorf("connecting the sock_diag socket: %w", err), unix.Close(fd))
	}
	return &diag{fd: fd, overflow: overflow}, nil
}

// overflowUID reads the uid that user_namespaces(7) shows for one that is not mapped.
func overflowUID(file string) (uint32, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, fmt.Errorf("reading the overflow uid: %w", err)
	}
	uid, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 32)
	if err != nil {
		return 0, fmt.Errorf("reading the overflow uid in %q: %w", file, err)
	}
	return uint32(uid), nil
}

// find asks for the one socket src -> dst bound to device. Its errors are [errNoSocket], or say that this diag is of no
// further use.
func (d *diag) find(src, dst netip.AddrPort, device uint32) (socket, error) {
	d.seq++
	putRequest(&d.request, d.seq, src, dst, device)
	if _, err := retryEINTR(unix.Write, d.fd, d.request[:]); err != nil {
		return socket{}, fmt.Errorf("asking sock_diag: %w", err)
	}
	for range maxStray {
		n, err := retryEINTR(unix.Read, d.fd, d.reply[:])
		if err != nil {
			return socket{}, fmt.Errorf("reading sock_diag's answer: %w", err)
		}
		s, err := parseReply(d.reply[:n], d.seq)
		switch {
		case err == nil || errors.Is(err, errNoSocket):
			return s, err
		case !errors.Is(err, errStray):
			return socket{}, fmt.Errorf("reading sock_diag's answer: %w", err)
		}
	}
	return socket{}, fmt.Errorf("reading sock_diag's answer: %d answers to other questions", maxStray)
}

// close closes the descriptor.
func (d *diag) close() error {
	if err := unix.Close(d.fd); err != nil {
		return fmt.Errorf("closing the sock_diag socket: %w", err)
	}
	return nil
}

// retryEINTR does one read or write, again when a signal interrupts it: a receive timeout switches SA_RESTART off
// (signal(7)), and Go's own preemption signals count.
func retryEINTR(op func(int, []byte) (int, error), fd int, b []byte) (int, error) {
	for {
		n, err := op(fd, b)
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
