package imds

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"

	"azimds/imds/caller"
	"azimds/imds/policy"
)

// endpoint is [Address] as a value.
var endpoint = netip.MustParseAddrPort(Address)

// errDead refuses a connection that has ended: who has its client's port now is not who opened it.
var errDead = errors.New("the connection has ended")

// gate is the listener that net/http sees: only admitted connections come out of its Accept.
//
// A peer that is not admitted is reset before a byte of it is read, so that to it nothing is there. It makes Accept
// return nothing and fail in nothing.
type gate struct {
	net.Listener
	server     *Server
	zone       *Zone           // nil for the local one
	env        *EnvEndpoint    // that is served; nil is the metadata service's
	describing *sync.WaitGroup // refusals of which more is looked for
	tarpit     *tarpit         // resets who is not admitted; nil: at once
}

// Accept waits for the next admitted connection. Its errors are the listener's own.
func (g gate) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if admitted, ok := g.admitted(c); ok {
			return admitted, nil
		}
	}
}

// admitted finds out who is behind a connection and lets it in, or resets it.
func (g gate) admitted(c net.Conn) (*conn, bool) {
	s := g.server
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		s.log.Error("connection closed", "error", fmt.Errorf("accepting a connection of type %T: not TCP", c))
		s.hangUp(c)
		return nil, false
	}
	who, err := g.identify(tcp)
	if err == nil {
		err = s.admit(who)
	}
	if err != nil {
		g.refuse(tcp, who, err)
		return nil, false
	}
	own := newConn(tcp, who, s, g.env)
	if err := s.places.take(own, s.owner(who)); err != nil {
		g.tarpit = nil // there are too many as it is
		g.refuse(tcp, who, err)
		return nil, false
	}
	return own, true
}

// identify names the caller. The connection counts only if its client dialled the service's address: what comes to the
// listener's own, behind NAT, was not meant for a metadata service.
func (g gate) identify(c *net.TCPConn) (caller.Caller, error) {
	dialed, err := g.dialed(c)
	if err != nil {
		return caller.Caller{}, err
	}
	if g.zone != nil {
		return g.zone.identify(clientOf(c).Addr())
	}
	who, err := g.server.identifyLocal(c, dialed)
	if errors.Is(err, caller.ErrUnknown) && without("unknown") {
		return caller.Caller{}, nil
	}
	return who, err
}

// dialed is the address that the client dialled. Nothing is between a client and an endpoint that is dialled by its own address.
func (g gate) dialed(c *net.TCPConn) (netip.AddrPort, error) {
	if g.env != nil {
		return caller.LocalAddr(c)
	}
	dialed, err := g.server.dialed(c)
	if err == nil && dialed != endpoint && !without("dialed") {
		err = fmt.Errorf("client dialled %s", dialed)
	}
	return dialed, err
}

// identifyLocal asks the kernel. The connection must be alive still once its client is known: one that waited in the queue may
// have died, and its client's port may be somebody else's since, whom the kernel names then.
func (s *Server) identifyLocal(c *net.TCPConn, dialed netip.AddrPort) (caller.Caller, error) {
	who, err := s.callers.Resolve(clientOf(c), dialed)
	if err != nil {
		return caller.Caller{}, err
	}
	state, err := stateOf(c)
	if err != nil {
		return caller.Caller{}, err
	}
	if state != unix.BPF_TCP_ESTABLISHED && state != unix.BPF_TCP_CLOSE_WAIT && !without("alive") {
		return caller.Caller{}, errDead
	}
	who.Client = clientOf(c)
	return who, nil
}

// screened finds out the rest about the caller of an admitted connection, or resets it. Of whom a loud line speaks and was refused
// before anything was found of its process, that is looked for.
func (s *Server) screened(c *conn) error {
	detail, err := s.look(c)
	c.detail = detail
	switch {
	case err == nil || c.madeRoom() || errors.Is(err, errPassedOn):
		return err
	case left(c.TCPConn, c.caller, err):
		s.letGo(c.TCPConn, err)
		return err
	}
	loud := s.loudness(slog.LevelWarn)
	if s.describe != nil && loud.level >= slog.LevelWarn && detail.PID == 0 {
		detail = s.describe(c.caller)
	}
	s.reject(c.TCPConn)
	s.refused(c, c.env, c.caller, detail, err, loud)
	return err
}

// errPassedOn ends a connection here that another server goes on with.
var errPassedOn = errors.New("another server has the connection")

// look finds out whose a connection is, unless that is for another server to do.
func (s *Server) look(c *conn) (caller.Detail, error) {
	if s.passOn != nil {
		passed, err := s.passOn(c.caller, c.TCPConn)
		if err != nil {
			return caller.Detail{}, err
		}
		if passed {
			return caller.Detail{}, errPassedOn
		}
	}
	if s.screen == nil {
		return caller.Detail{}, nil
	}
	return s.screen(c.gone, c.caller)
}

// clientOf is the address a connection comes from; zero when it is closed.
func clientOf(c net.Conn) netip.AddrPort {
	addr, ok := c.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(addr.AddrPort().Addr().Unmap(), addr.AddrPort().Port())
}

// refuse resets a connection that is not admitted, sooner or later, and says so once. A client that has already gone gets neither a loud line nor
// an event: Java's SDK connects and disconnects to see whether anything is there, and nobody can be named for a socket that is
// closed.
//
// Of whom a loud line speaks, more is looked for while the connection is open still; the next connection does not wait for it.
// There are few of those, however many are refused.
func (g gate) refuse(c *net.TCPConn, who caller.Caller, reason error) {
	s := g.server
	if left(c, who, reason) {
		s.letGo(c, reason)
		return
	}
	loud := s.loudness(slog.LevelWarn)
	if s.describe == nil || !who.Known() || loud.level < slog.LevelWarn {
		g.turnAway(c, who, caller.Detail{}, reason, loud)
		return
	}
	g.describing.Go(func() { g.turnAway(c, who, s.describe(who), reason, loud) })
}

// turnAway lets a refused connection go, and says so.
func (g gate) turnAway(c *net.TCPConn, who caller.Caller, detail caller.Detail, reason error, loud loudness) {
	if reset := func() { g.server.reject(c) }; g.tarpit != nil {
		g.tarpit.take(reset)
	} else {
		reset()
	}
	g.server.refused(c, g.env, who, detail, reason, loud)
}

// left tells that nobody could be named for a connection because its client has gone.
func left(c *net.TCPConn, who caller.Caller, reason error) bool {
	return (!who.Known() || errors.Is(reason, caller.ErrUnknown)) && hungUp(c)
}

// letGo ends the connection of a client that has gone.
func (s *Server) letGo(c *net.TCPConn, reason error) {
	client := clientOf(c)
	s.reject(c)
	s.say(s.now(), slog.LevelDebug, "client left", 0, slog.String("client", client.String()), slog.String("reason", reason.Error()))
}

// loudness is how to say a line about a refused caller.
type loudness struct {
	level   slog.Level
	lowered int // lines before it that were said less loudly than they should have been
}

func (s *Server) loudness(level slog.Level) loudness {
	level, lowered := s.refusals.level(level, s.now())
	return loudness{level, lowered}
}

// refused says that a connection is not served.
func (s *Server) refused(c net.Conn, env *EnvEndpoint, who caller.Caller, detail caller.Detail, reason error, loud loudness) {
	e := Event{At: s.now(), Caller: who, Detail: detail, Endpoint: env.name(), Reason: reason.Error()}
	if refused, ok := errors.AsType[*policy.Refusal](reason); ok {
		e.Allow = refused.Allow
	}
	if s.log.Enabled(context.Background(), loud.level) {
		attrs := append(make([]slog.Attr, 0, 16), slog.String("client", clientOf(c).String()))
		s.say(e.At, loud.level, "caller refused", loud.lowered, e.attrs(attrs)...)
	}
	s.observe(e)
}

// reject resets a connection.
func (s *Server) reject(c *net.TCPConn) {
	if err := c.SetLinger(0); err != nil { // makes Close send RST
		s.log.Debug("connection not reset", "error", fmt.Errorf("setting linger: %w", err))
	}
	s.hangUp(c)
}

// hangUp closes a connection that is not served.
func (s *Server) hangUp(c net.Conn) {
	if err := c.Close(); err != nil {
		s.log.Debug("connection not closed", "error", fmt.Errorf("closing a refused connection: %w", err))
	}
}

// hungUp reports whether the client has closed its end, without reading anything of it. A kernel that does not say leaves
// the client in doubt, and the line in the log.
func hungUp(c *net.TCPConn) bool {
	state, err := stateOf(c)
	return errors.Is(err, net.ErrClosed) || err == nil && (state == unix.BPF_TCP_CLOSE_WAIT || state == unix.BPF_TCP_CLOSE)
}

// stateOf is a connection's state as in include/net/tcp_states.h. When it is closed on our side the error is
// [net.ErrClosed].
func stateOf(c *net.TCPConn) (uint8, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("reading the connection's state: %w", err)
	}
	var info *unix.TCPInfo
	var failed error
	err = raw.Control(func(fd uintptr) { info, failed = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) })
	if err := errors.Join(err, failed); err != nil {
		return 0, fmt.Errorf("reading the connection's state: %w", err)
	}
	return info.State, nil
}
