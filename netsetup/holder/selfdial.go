package holder

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// selfDialLimit bounds the one connection that a holder makes through its own interception before it says ready.
const selfDialLimit = 5 * time.Second

// ErrNotReached is wrapped when the holder's own connection to the endpoint did not get our own answer: something keeps
// connections from arriving.
var ErrNotReached = errors.New("dialling ourselves")

// dialSelf proves that a connection of the owner's to the endpoint arrives at this server, and that the server is told by
// the kernel that it is the owner's.
func (h *Holder) dialSelf(ctx context.Context, p *peer) error {
	ctx, stop := context.WithTimeoutCause(ctx, selfDialLimit, fmt.Errorf("%w: no answer in time", ErrNotReached))
	defer stop()
	probe, err := newProbe(h.options.Owner)
	if err != nil {
		return err
	}
	defer probe.file.Close()
	h.probing.Store(probe.inode)
	defer h.probing.Store(0)
	if err := p.send(Message{Kind: KindCheck, Inode: probe.inode}); err != nil {
		return err
	}
	var late []Kind
	if h.turns > 0 { // the connection before may have come only now
		late = append(late, KindSeen)
	}
	if _, err := h.await(ctx, p, KindExpect, late...); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	asked := make(chan error, 1)
	go func() {
		err := probe.ask(ctx, h.Plan().Endpoint)
		if err != nil {
			err = fmt.Errorf("%w: %w", ErrNotReached, err)
			cancel(err)
		}
		asked <- err
	}()
	seen, err := h.await(ctx, p, KindSeen)
	if err != nil {
		cancel(err)
	}
	if askErr := <-asked; err == nil {
		err = askErr
	}
	if err == nil && seen.UID != h.options.Owner.UID {
		err = fmt.Errorf("%w: the server saw uid %d and not %s", ErrNotReached, seen.UID, h.options.Owner)
	}
	return err
}

// await waits for a message of the kind wanted and answers what the server asks meanwhile: it has the listeners, and a
// client's connection can be before ours. What may come late, of a connection that was given up before, is passed by. The end of a
// guest's host is [errHostGone].
func (h *Holder) await(ctx context.Context, p *peer, want Kind, late ...Kind) (Message, error) {
	for {
		var m Message
		select {
		case m = <-p.in:
		case <-ctx.Done():
			return Message{}, context.Cause(ctx)
		case e, open := <-h.up.told():
			if !open && !h.heir {
				return Message{}, errHostGone
			}
			if err := h.heed(ctx, p, e, open); err != nil {
				return Message{}, err
			}
			continue
		}
		switch {
		case m.Kind == want:
			return m, nil
		case slices.Contains(late, m.Kind):
			continue
		case m.Kind == KindStop:
			return Message{}, errStopAsked
		case !slices.Contains([]Kind{KindAsk, KindFind, KindGuest, KindWhose}, m.Kind):
			return Message{}, fmt.Errorf("waiting for message %q: the server sent %q", want, m.Kind)
		}
		if err := h.reply(ctx, p, m); err != nil {
			return Message{}, err
		}
	}
}

// probe is a connection of the holder's own through the interception, as the owner would make it.
type probe struct {
	file  *os.File // a TCP socket, not yet connected
	inode uint64
}

// newProbe opens a TCP socket that belongs to the owner. The thread takes on the owner's filesystem uid for the one
// moment in which the socket is made (setfsuid(2), per thread): that uid is what sock_diag reports as the socket's owner
// and what the kernel's owner match compares. The thread's groups stay root's, so the exemption by group does not apply.
func newProbe(owner Owner) (*probe, error) {
	fd, err := socketAs(int(owner.UID))
	if err != nil {
		return nil, fmt.Errorf("opening a socket as %s: %w", owner, err)
	}
	file := os.NewFile(uintptr(fd), "self-dial")
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, errors.Join(fmt.Errorf("reading a socket's inode: %w", err), file.Close())
	}
	return &probe{file: file, inode: st.Ino}, nil
}

func socketAs(uid int) (int, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := setFsuid(uid); err != nil {
		return -1, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if back := setFsuid(os.Geteuid()); back != nil {
		runtime.LockOSThread() // once more than is undone: the thread must not serve another goroutine
		if err == nil {
			err = unix.Close(fd)
		}
		return -1, errors.Join(back, err)
	}
	return fd, err
}

// setFsuid changes the thread's filesystem uid; the call reports no error, so it is asked again.
func setFsuid(uid int) error {
	if _, err := unix.SetfsuidRetUid(uid); err != nil {
		return fmt.Errorf("taking on filesystem uid %d: %w", uid, err)
	}
	now, err := unix.SetfsuidRetUid(-1) // invalid: changes nothing, returns the present one
	if err != nil || now != uid {
		return fmt.Errorf("taking on filesystem uid %d: it stayed %d: %w", uid, now, syscall.EPERM)
	}
	return nil
}

// ask connects to endpoint, sends the request of an SDK's probe, which carries no Metadata header, and reads the answer:
// 400 from a server that calls itself IMDS.
func (p *probe) ask(ctx context.Context, endpoint netip.AddrPort) error {
	fd := int(p.file.Fd()) // blocking; bounded by the kernel's own listen queue: it answers without the server
	limit := unix.NsecToTimeval(selfDialLimit.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit); err != nil { // connect(2) too, socket(7)
		return fmt.Errorf("limiting a socket: %w", err)
	}
	if err := connect(fd, endpoint); err != nil {
		return fmt.Errorf("connecting to %s: %w", endpoint, err)
	}
	conn, err := net.FileConn(p.file)
	if err != nil {
		return fmt.Errorf("opening the connection to %s: %w", endpoint, err)
	}
	defer conn.Close()
	giveUp := context.AfterFunc(ctx, func() { conn.Close() })
	defer giveUp()
	if err := exchange(ctx, conn, endpoint); err != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	return nil
}

// connect waits until fd is connected. A signal, such as the Go runtime sends its own threads, ends connect(2) on a socket that
// has a time limit (signal(7)); the connection is then made all the same, and whoever waits finds out by poll(2).
func connect(fd int, to netip.AddrPort) error {
	err := unix.Connect(fd, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())})
	if !errors.Is(err, unix.EINTR) {
		return err
	}
	for deadline := time.Now().Add(selfDialLimit); ; {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, int(time.Until(deadline).Milliseconds()))
		switch {
		case errors.Is(err, unix.EINTR) && time.Now().Before(deadline):
		case err != nil:
			return err
		case n == 0:
			return os.ErrDeadlineExceeded
		default:
			return connected(fd)
		}
	}
}

// connected is how a connection that was begun has ended: SO_ERROR in socket(7).
func connected(fd int) error {
	code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && code != 0 {
		err = unix.Errno(code)
	}
	return err
}

// maxAnswer bounds what is read of an answer, in bytes. It comes from the server, which root does not trust, and an error
// that quotes it must fit into a message.
const maxAnswer = 4 << 10

func exchange(ctx context.Context, conn net.Conn, endpoint netip.AddrPort) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+endpoint.Addr().String()+"/metadata/identity/oauth2/token", nil)
	if err != nil {
		return fmt.Errorf("making the probe: %w", err)
	}
	req.Close = true
	if err := req.Write(conn); err != nil {
		return fmt.Errorf("sending the probe to %s: %w", endpoint, err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(io.LimitReader(conn, maxAnswer)), req)
	if err != nil {
		return fmt.Errorf("reading the answer of %s: %w", endpoint, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest || !strings.HasPrefix(resp.Header.Get("Server"), "IMDS/") {
		return fmt.Errorf("reading the answer of %s: it is %q from %q and not ours", endpoint, resp.Status, resp.Header.Get("Server"))
	}
	return nil
}
