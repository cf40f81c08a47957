package holder

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// passLimit is how long a guest's server may take to make room in its queue for a connection: a client waits.
const passLimit = time.Second

// Outlet passes connections on to another server, which takes them from its [Inlet].
type Outlet struct {
	mu   sync.Mutex
	conn *net.UnixConn
}

// OpenOutlet makes an outlet of one end of a socket pair. The file stays the caller's to close.
func OpenOutlet(file *os.File) (*Outlet, error) {
	conn, err := unixConn(file)
	if err != nil {
		return nil, fmt.Errorf("opening an outlet: %w", err)
	}
	return &Outlet{conn: conn}, nil
}

// Pass passes a connection on. The caller then closes its own copy, which the client does not notice. From now on the connection is
// reset when its last copy is closed, until an inlet has taken it: so it is when the other server has ended, or takes nothing.
func (o *Outlet) Pass(c *net.TCPConn) error {
	if err := c.SetLinger(0); err != nil {
		return fmt.Errorf("passing a connection on: %w", err)
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return fmt.Errorf("passing a connection on: %w", err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	sent := o.conn.SetWriteDeadline(time.Now().Add(passLimit))
	err = raw.Control(func(fd uintptr) { // while the number is this connection's: another goroutine may close it
		if sent == nil {
			_, _, sent = o.conn.WriteMsgUnix([]byte{0}, unix.UnixRights(int(fd)), nil)
		}
	})
	if err = errors.Join(err, sent); err != nil {
		return fmt.Errorf("passing a connection on: %w", err)
	}
	return nil
}

// Close ends the outlet.
func (o *Outlet) Close() error { return o.conn.Close() }

// Inlet is a listener whose connections another server has accepted and passed on. When that has ended, Accept waits until the
// inlet is closed: whoever has been accepted by it is served on.
type Inlet struct {
	conn   *net.UnixConn
	once   sync.Once
	closed chan struct{}
}

// OpenListener opens what a holder hands to its server as the endpoint: a TCP listener, or an [Inlet]. The file stays the
// caller's to close.
func OpenListener(file *os.File) (net.Listener, error) {
	domain, err := domainOf(file)
	if err != nil {
		return nil, err
	}
	if domain == unix.AF_UNIX {
		conn, err := unixConn(file)
		if err != nil {
			return nil, err
		}
		return &Inlet{conn: conn, closed: make(chan struct{})}, nil
	}
	ln, err := net.FileListener(file)
	if err != nil {
		return nil, err
	}
	if _, ok := ln.(*net.TCPListener); !ok {
		return nil, errors.Join(errors.New("it is no TCP socket"), ln.Close())
	}
	return ln, nil
}

// Accept implements [net.Listener].
func (l *Inlet) Accept() (net.Conn, error) {
	for {
		file, err := l.receive()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil, err
		case errors.Is(err, io.EOF):
			<-l.closed
			return nil, net.ErrClosed
		case err != nil:
			return nil, fmt.Errorf("taking a connection: %w", err)
		case file == nil:
			continue // nothing was in it
		}
		if c := connection(file); c != nil {
			return c, nil
		}
	}
}

// receive is the next file; nil is a message without one.
func (l *Inlet) receive() (*os.File, error) {
	rights := make([]byte, unix.CmsgSpace(4)) // one: the kernel closes what does not fit
	_, n, _, _, err := l.conn.ReadMsgUnix(make([]byte, 1), rights)
	if errors.Is(err, unix.ECONNRESET) {
		err = io.EOF
	}
	if err != nil {
		return nil, err
	}
	files, err := openRights(rights[:n])
	if err != nil || len(files) != 1 {
		closeAll(files)
		return nil, err
	}
	return files[0], nil
}

// connection makes a connection of a file that has been passed on, which it closes; nil is none.
func connection(file *os.File) net.Conn {
	c, err := net.FileConn(file)
	if err != nil {
		closeAll([]*os.File{file})
		return nil
	}
	tcp, ok := c.(*net.TCPConn)
	if !ok || tcp.SetLinger(-1) != nil { // undoes what Pass did
		closeAll([]*os.File{file})
		go c.Close()
		return nil
	}
	closeAll([]*os.File{file})
	return tcp
}

// Close implements [net.Listener]. Connections that nobody has taken are reset.
func (l *Inlet) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.conn.Close()
}

// Addr implements [net.Listener].
func (l *Inlet) Addr() net.Addr { return l.conn.LocalAddr() }

func unixConn(file *os.File) (*net.UnixConn, error) {
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, err
	}
	c, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(errors.New("it is no unix socket"), conn.Close())
	}
	return c, nil
}

// domainOf is the family of a socket: SO_DOMAIN in socket(7).
func domainOf(file *os.File) (domain int, err error) {
	raw, err := file.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("looking at %q: %w", file.Name(), err)
	}
	var sockErr error
	err = raw.Control(func(fd uintptr) { domain, sockErr = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DOMAIN) })
	if err = errors.Join(err, sockErr); err != nil {
		return 0, fmt.Errorf("looking at %q: %w", file.Name(), err)
	}
	return domain, nil
}
