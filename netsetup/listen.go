package netsetup

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// The ports that FreeBackendPort tries, downwards. All are privileged; their number is enough to pass by those that an NFS
// client (bindresvport(3)) has taken.
const (
	firstBackendPort = 981
	lastBackendPort  = 901
)

// InUseError says that a listener's address is taken.
type InUseError struct {
	Addr   netip.AddrPort // what we wanted
	Holder string         // who has it, such as "nginx (pid 812) on 0.0.0.0:80"; "" when nobody can be named
	Err    error          // wraps EADDRINUSE
}

func (e *InUseError) Error() string {
	if e.Holder == "" {
		return fmt.Sprintf("listening on %q: %v", e.Addr, syscall.EADDRINUSE)
	}
	return fmt.Sprintf("listening on %q: %v: %s", e.Addr, syscall.EADDRINUSE, e.Holder)
}

func (e *InUseError) Unwrap() error { return e.Err }

// Listen opens the plan's listener in the calling thread's network namespace. It is bound to the device lo, in mode dummy to
// our link, so that no neighbour on a network reaches it, and may be opened before the address exists (IP_FREEBIND): then
// the first client after Up is answered. Its backlog is the kernel's maximum, net.core.somaxconn. A taken address is an
// [*InUseError]; a server on 0.0.0.0:80 or [::]:80 excludes the modes loopback and dummy. Before it comes
// [Interceptor.Guard].
//
// Multipath TCP, which Go listens with by default, is off: SO_ORIGINAL_DST and sock_diag are about plain TCP.
func Listen(ctx context.Context, p Plan) (*net.TCPListener, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	return listenOnDevice(ctx, p.Backend, p.device())
}

// ListenAlone opens a listener for a plan of mode None, which it returns, on a port of 127.0.0.1; 0 is one that is free. It is bound
// to the device lo, as [Listen] has it, for which nobody needs a privilege: SO_BINDTODEVICE in socket(7), since Linux 5.7. A
// taken address is an [*InUseError].
func ListenAlone(ctx context.Context, owner uint32, port uint16, bridges []string) (*net.TCPListener, Plan, error) {
	ln, err := listenOnDevice(ctx, netip.AddrPortFrom(backendAddr, port), loopbackDevice)
	if err != nil {
		return nil, Plan{}, err
	}
	at, ok := ln.Addr().(*net.TCPAddr)
	if !ok {
		return nil, Plan{}, errors.Join(fmt.Errorf("listening on port %d: %w", port, errors.ErrUnsupported), ln.Close())
	}
	p := Plan{Mode: None, Endpoint: at.AddrPort(), Backend: at.AddrPort(), Owner: owner, Bridges: bridges}
	if err := p.Validate(); err != nil {
		return nil, Plan{}, errors.Join(err, ln.Close())
	}
	return ln, p, nil
}

// ListenBridge opens the plan's listener for the containers of a bridge, as [Listen] does for local clients: bound to the
// bridge, on the endpoint where the plan has that on a device, else on the backend's port of every address, since
// PREROUTING redirects to the bridge's own. In mode None it is on the bridge's first address, which clients are told. It ends with the bridge: one made again needs a new listener. What comes from
// other devices does not reach it; what dials the backend on an address of the bridge, from the bridge or from this machine
// itself, is refused by the guards, which [Interceptor.Guard] puts up before.
func ListenBridge(ctx context.Context, p Plan, b Bridge) (*net.TCPListener, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	if b.Problem != "" {
		return nil, fmt.Errorf("listening for bridge %q: %s: %w", b.Name, b.Problem, errors.ErrUnsupported)
	}
	switch {
	case p.onAddress():
		return listenOnDevice(ctx, p.Endpoint, b.Name)
	case p.Mode == None:
		return listenOnDevice(ctx, netip.AddrPortFrom(b.Addresses[0], p.Endpoint.Port()), b.Name)
	}
	addr := netip.IPv4Unspecified()
	if without("device") { // unbound, every address would exclude the listener for local clients
		addr = b.Addresses[0]
	}
	return listenOnDevice(ctx, netip.AddrPortFrom(addr, p.Backend.Port()), b.Name)
}

// Listens tells whether a file is the listener that [Listen] would open for the plan now, as one that an earlier process has opened
// for it may be; the error says why not.
func Listens(p Plan, file *os.File) error { return listensOn(p.Backend, p.device(), file) }

// ListensForBridge is [Listens] for what [ListenBridge] opens.
func ListensForBridge(p Plan, b Bridge, file *os.File) error {
	switch {
	case p.onAddress():
		return listensOn(p.Endpoint, b.Name, file)
	case p.Mode == None:
		return listensOn(netip.AddrPortFrom(b.Addresses[0], p.Endpoint.Port()), b.Name, file)
	}
	return listensOn(netip.AddrPortFrom(netip.IPv4Unspecified(), p.Backend.Port()), b.Name, file)
}

// listensOn looks at a listener. The kernel knows the device by its index: of one that has been deleted there is no name.
func listensOn(addr netip.AddrPort, device string, file *os.File) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return fmt.Errorf("looking at listener %q: %w", file.Name(), err)
	}
	var bound string
	var local unix.Sockaddr
	var accepting int
	err = errors.Join(raw.Control(func(fd uintptr) {
		var addrErr, acceptErr error
		bound, err = unix.GetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE)
		local, addrErr = unix.Getsockname(int(fd))
		accepting, acceptErr = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
		err = errors.Join(err, addrErr, acceptErr)
	}), err)
	if err != nil {
		return fmt.Errorf("looking at listener %q: %w", file.Name(), err)
	}
	at, ok := local.(*unix.SockaddrInet4)
	if !ok || accepting != 1 || netip.AddrPortFrom(netip.AddrFrom4(at.Addr), uint16(at.Port)) != addr || bound != device {
		return fmt.Errorf("looking at listener %q: it does not listen on %s of %q", file.Name(), addr, device)
	}
	return nil
}

func listenOnDevice(ctx context.Context, addr netip.AddrPort, device string) (*net.TCPListener, error) {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		return errors.Join(c.Control(func(fd uintptr) { err = confine(int(fd), device) }), err)
	}}
	config.SetMultipathTCP(false)
	ln, err := config.Listen(ctx, "tcp4", addr.String())
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, &InUseError{Addr: addr, Holder: holder(addr, device), Err: err}
	}
	if err != nil {
		return nil, fmt.Errorf("listening on %q: %w", addr, err)
	}
	tcp, ok := ln.(*net.TCPListener)
	if !ok {
		return nil, errors.Join(fmt.Errorf("listening on %q: %w", addr, errors.ErrUnsupported), ln.Close())
	}
	return tcp, nil
}

// confine sets, before bind(2), what the listener's safety and order of start need.
func confine(fd int, device string) error {
	if !without("device") {
		if err := unix.SetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, device); err != nil {
			return fmt.Errorf("binding to device %q: %w", device, err)
		}
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_FREEBIND, 1); err != nil {
		return fmt.Errorf("setting %q: %w", "IP_FREEBIND", err)
	}
	return nil
}

// FreeBackendPort finds a privileged port on 127.0.0.1 that is free now, for a plan of mode iptables. When none is, it
// returns the [*InUseError] of the first it tried.
func FreeBackendPort(context.Context) (netip.AddrPort, error) {
	var first error
	highest, lowest := uint16(firstBackendPort), uint16(lastBackendPort)
	if without("privileged") {
		highest, lowest = 8981, 8901
	}
	for port := highest; port >= lowest; port-- {
		backend := netip.AddrPortFrom(backendAddr, port)
		err := tryBind(backend)
		if err == nil {
			return backend, nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return netip.AddrPort{}, fmt.Errorf("trying port %q: %w", backend, err)
		}
		if first == nil {
			first = &InUseError{Addr: backend, Holder: holder(backend, loopbackDevice), Err: err}
		}
	}
	return netip.AddrPort{}, fmt.Errorf("looking for a free port from %d to %d: %w", lowest, highest, first)
}

// tryBind tells whether a listener could be bound to an address. It does not listen: as long as nobody does, who dials the
// address leaves no trace in the connection tracker that would outlive the refusal, and could be in the owner's way.
func tryBind(addr netip.AddrPort) (err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	// As net.Listen does: connections that end do not count.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	if err := confine(fd, loopbackDevice); err != nil {
		return err
	}
	return unix.Bind(fd, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()})
}
