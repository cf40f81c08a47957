package holder

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds of one message: JSON that describes a plan and a report stays far below the first, and no message carries more
// descriptors than an offer does, to a server that has guests.
const (
	maxMessage = 64 << 10
	maxFiles   = 2 + maxGuests
)

// sendLimit bounds one Send. A peer reads at all times; one that has not read for so long will not, and must not keep a
// holder from taking a network down.
const sendLimit = 2 * time.Second

// Link is a connection between holder and server: datagrams of JSON over a SOCK_SEQPACKET unix socket, on which open
// files travel too (SCM_RIGHTS, unix(7)). Send may be called from several goroutines, Receive from one.
type Link struct {
	conn *net.UnixConn
	send sync.Mutex
}

// Pair makes a link and returns its ends as files, each to be given to a process.
func Pair() (holder, server *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("making a socket pair: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "holder end"), os.NewFile(uintptr(fds[1]), "server end"), nil
}

// OpenLink takes over file, one end of a pair, and closes it.
func OpenLink(file *os.File) (*Link, error) {
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, fmt.Errorf("opening link %q: %w", file.Name(), err)
	}
	unixConn, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("opening link %q: not a unix socket", file.Name()), conn.Close())
	}
	return &Link{conn: unixConn}, nil
}

// Close ends the link; the other side sees the end of it. Closing it again is fine.
func (l *Link) Close() error {
	if err := l.conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("closing a link: %w", err)
	}
	return nil
}

// Send sends m and files. The files stay the caller's to close. When the other side does not read, Send gives up within
// two seconds, ends the link and returns an error that wraps os.ErrDeadlineExceeded.
func (l *Link) Send(m Message, files ...*os.File) error {
	data, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encoding message %q: %w", m.Kind, err)
	}
	rights, err := packRights(files)
	if err != nil {
		return fmt.Errorf("packing the files of message %q: %w", m.Kind, err)
	}
	l.send.Lock()
	defer l.send.Unlock()
	err = l.conn.SetWriteDeadline(time.Now().Add(sendLimit))
	if err == nil {
		_, _, err = l.conn.WriteMsgUnix(data, rights, nil)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = errors.Join(err, l.Close())
	}
	if err != nil {
		return fmt.Errorf("sending message %q: %w", m.Kind, err)
	}
	return nil
}

// Receive waits for the next message. The files that came with it are the caller's to close. The end of the link is
// io.EOF.
func (l *Link) Receive() (Message, []*os.File, error) {
	data := make([]byte, maxMessage)
	rights := make([]byte, unix.CmsgSpace(4*maxFiles))
	n, rn, flags, _, err := l.conn.ReadMsgUnix(data, rights)
	if errors.Is(err, unix.ECONNRESET) {
		// The peer ended with a message of ours unread. The kernel tells that once, before what the peer said last.
		n, rn, flags, _, err = l.conn.ReadMsgUnix(data, rights)
	}
	files, rightsErr := openRights(rights[:rn]) // an empty datagram looks like the end, and can carry files too
	var m Message
	switch {
	case err != nil:
		err = fmt.Errorf("receiving a message: %w", err)
	case rightsErr != nil:
		err = rightsErr
	case flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0:
		err = errors.New("receiving a message: it is longer than any that is sent")
	default:
		m, err = decode(data[:n])
	}
	if err != nil {
		closeAll(files)
		return Message{}, nil, err
	}
	return m, files, nil
}

// decode reads one message.
func decode(data []byte) (Message, error) {
	var m Message
	if err := json.Unmarshal(data, &m); err != nil {
		return Message{}, fmt.Errorf("decoding a message: %w", err)
	}
	if m.Kind == "" {
		return Message{}, errors.New("decoding a message: it has no kind")
	}
	return m, nil
}

// packRights makes a control message of files. It does not use File.Fd, which may set an open file description to blocking:
// a listener's is shared with the server.
func packRights(files []*os.File) ([]byte, error) {
	if len(files) == 0 {
		return nil, nil
	}
	fds := make([]int, len(files))
	for i, f := range files {
		raw, err := f.SyscallConn()
		if err != nil {
			return nil, err
		}
		if err := raw.Control(func(fd uintptr) { fds[i] = int(fd) }); err != nil {
			return nil, err
		}
	}
	return unix.UnixRights(fds...), nil
}

// openRights takes the descriptors out of a control message. The net package receives them close-on-exec.
func openRights(oob []byte) ([]*os.File, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("parsing a control message: %w", err)
	}
	var files []*os.File
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			closeAll(files)
			return nil, fmt.Errorf("parsing received files: %w", err)
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "received"))
		}
	}
	return files, nil
}

// closeAll closes files that a peer sent. It does not wait: close(2) on a socket with SO_LINGER set waits as long as who made
// the socket wishes.
func closeAll(files []*os.File) {
	for _, f := range files {
		go f.Close()
	}
}

// ErrNoHolder says that no holder waits for a server.
var ErrNoHolder = errors.New("no holder waits for a server")

// DialLink connects to a holder's attach socket. The error wraps [ErrNoHolder] when there is none.
func DialLink(path string) (*Link, error) {
	conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) {
		err = errors.Join(ErrNoHolder, err)
	}
	if err != nil {
		return nil, fmt.Errorf("connecting to the holder: %w", err)
	}
	return &Link{conn: conn}, nil
}
