package netsetup

import (
	"errors"
	"net"
	"syscall"
	"testing"
	"time"

	"azimds/test/netns"

	"golang.org/x/sys/unix"
)

// A stranger's dial of the endpoint itself, which nobody answers, must not take its source port away from the owner: the
// connection tracker would remember it for two minutes, and the owner's dial from that port would not be redirected.
func TestStrangersDialTheEndpoint(t *testing.T) {
	netns.Root(t)
	for _, tt := range []struct {
		name  string
		plan  Plan
		taken bool
	}{
		{"refused", rootPlan, false},
		// This shows that the test can fail: beside a real metadata service strangers are let through.
		{"let through", shadowing(rootPlan), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			backends(t, func(t *testing.T, ns *netns.NS) {
				ln := listening(t, ns, tt.plan)
				up(t, ns, tt.plan)
				for _, port := range strangersPorts {
					strangerDials(t, ns, port)
				}
				for _, port := range strangersPorts {
					if got := arrives(t, ns, ln, port); got == tt.taken {
						t.Errorf("the owner's port %d: arrives %v, want %v", port, got, !tt.taken)
					}
				}
			})
		})
	}
}

func shadowing(p Plan) Plan {
	p.Shadows = true
	return p
}

// strangerDials begins to connect to the endpoint from a source port, as a user who is not the owner.
func strangerDials(t *testing.T, ns *netns.NS, port uint16) {
	t.Helper()
	do(t, ns, func() error {
		if _, err := unix.SetfsuidRetUid(strangersUID); err != nil { // of this thread, which ends with the function
			return err
		}
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		t.Cleanup(func() { unix.Close(fd) })
		loopback := [4]byte{127, 0, 0, 1}
		err = errors.Join(
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
			unix.SetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, loopbackDevice), // a way without any route
			unix.Bind(fd, &unix.SockaddrInet4{Addr: loopback, Port: int(port)}),
		)
		if err != nil {
			return err
		}
		err = unix.Connect(fd, &unix.SockaddrInet4{Addr: Endpoint.Addr().As4(), Port: int(Endpoint.Port())})
		if errors.Is(err, syscall.EINPROGRESS) || errors.Is(err, syscall.ECONNREFUSED) {
			return nil
		}
		return err
	})
}

// strangersUID is nobody's in these tests.
const strangersUID = 61236

// arrives tells whether a dial of the owner's from a source port comes to the listener from that port.
func arrives(t *testing.T, ns *netns.NS, ln *net.TCPListener, port uint16) bool {
	t.Helper()
	var conn net.Conn
	do(t, ns, func() error {
		dialer := net.Dialer{
			Timeout:   200 * time.Millisecond, // what is not redirected is lost
			LocalAddr: &net.TCPAddr{IP: backendAddr.AsSlice(), Port: int(port)},
			Control: func(_, _ string, c syscall.RawConn) (err error) {
				return errors.Join(c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) }), err)
			},
		}
		var err error
		if conn, err = dialer.DialContext(t.Context(), "tcp4", Endpoint.String()); err != nil {
			conn = nil
		}
		return nil
	})
	if conn == nil {
		return false
	}
	t.Cleanup(func() { conn.Close() })
	return accept(t, ln) == port
}
