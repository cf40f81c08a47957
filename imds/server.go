package imds

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"azimds/imds/caller"
	"azimds/imds/token"
)

// CallerResolver names who opened the connection client -> dialed, where dialed is what the client dialled. Any error
// means that nobody can be named. It is called for one connection after another and holds up the next.
type CallerResolver interface {
	Resolve(client, dialed netip.AddrPort) (caller.Caller, error)
}

// Options are what a Server needs. Dialed, Callers, Admit and Source are required. All functions must be safe for
// concurrent use.
type Options struct {
	// Dialed is the address that a connection's client dialled: [caller.LocalAddr], or [caller.OriginalDst] behind NAT.
	Dialed func(*net.TCPConn) (netip.AddrPort, error)
	// Callers names who is behind a connection.
	Callers CallerResolver
	// Admit says why a caller may not talk to us at all; nil admits. Who is not admitted is reset before a byte is read. It holds
	// up the next connection, so it goes by what the kernel said and what is in memory. An error that wraps a [*policy.Refusal] says, too, what
	// would admit the caller.
	Admit func(caller.Caller) error
	// PassOn passes a connection that was admitted, of which no byte has been read, on to another server, whose its client is, and says
	// that it has: then this one closes its copy and says nothing. An error refuses the caller. It may take its time, as Screen may. Nil passes none on.
	PassOn func(c caller.Caller, conn *net.TCPConn) (bool, error)
	// Screen looks closer at a caller that was admitted, and may refuse it like Admit: it may read files and take its time, and
	// comes before the first byte is read. What it found out goes to Allow, the log and the events, also beside an error. One that
	// wraps [caller.ErrUnknown] says that something was not found which a client that has gone takes with it: of such a one
	// nothing loud is said. gone is closed when the connection has had to make room for another: nobody waits for an answer any
	// more. Nil finds out nothing.
	Screen func(gone <-chan struct{}, c caller.Caller) (caller.Detail, error)
	// Describe finds out what can be said of a caller that was not admitted, for the log, also where Screen refused it before it
	// had looked for a process. It is asked for few of them; nil: for none.
	Describe func(caller.Caller) caller.Detail
	// Allow says what a caller gets: the request to put to the source, for an identity that it may have chosen, or an error, a
	// [*policy.Denial] for one that the client is told. Nil allows all.
	Allow func(caller.Caller, caller.Detail, token.Request) (token.Request, error)
	// Owner tells whose connections come first when there are too many; nil: everybody's are alike.
	Owner func(caller.Caller) bool
	// Source yields the tokens. It finds the caller in its context, see [CallerOf], and should end when that ends.
	Source token.Source
	// Available tells, at once, whether a request would now be answered with a token; nil: always. While it would not, a
	// probe is reset instead of answered, so that credential chains go on (docs/signed-out.md).
	Available func() bool
	// Ours tells connections of azimds itself, whose probes are no client's; nil: none is.
	Ours func(caller.Caller) bool
	// Issuer serves /azimds/emulated/…, the public documents of the issuer of emulated tokens, to GET requests that passed
	// the Host check alone. Of an answer other than 200 only the status is passed on. It is asked for at each request, and
	// nil is 404, as is no Issuer.
	Issuer func() http.Handler
	// Log takes a line a request; nil discards.
	Log *slog.Logger
	// Observe is told of each request and each refusal before the next on that connection, so it must be quick; may be nil.
	Observe func(Event)
	// Ebbed is told when most of many connections have ended, and again and again while many are refused, so that memory can be given
	// back after that; it must be quick. May be nil.
	Ebbed func()
	// Now is the wall clock of replies and events; nil: time.Now.
	Now func() time.Time
	// Limits bound what a client can hold.
	Limits Limits
}

// Server answers as the metadata service does. It is safe for concurrent use, and one Server can serve several listeners,
// whose connections count together against its limits.
type Server struct {
	dialed  func(*net.TCPConn) (netip.AddrPort, error)
	callers CallerResolver
	admit   func(caller.Caller) error
	passOn  func(caller.Caller, *net.TCPConn) (bool, error)
	screen  func(<-chan struct{}, caller.Caller) (caller.Detail, error)
	allow   func(caller.Caller, caller.Detail, token.Request) (token.Request, error)
	owner   func(caller.Caller) bool
	source  token.Source
	can     func() bool // yield a token
	ours    func(caller.Caller) bool
	issuer  func() http.Handler
	log     *slog.Logger
	observe func(Event)
	now     func() time.Time
	limits  Limits

	describe func(caller.Caller) caller.Detail // nil: nothing is known

	places   places
	probed   atomic.Int64 // when a probe was last answered, in Unix nanoseconds
	refusals quota        // lines about refused callers
	problems quota        // lines about requests
}

// New checks the options. It does no I/O and starts nothing.
func New(o Options) (*Server, error) {
	if o.Dialed == nil || o.Callers == nil || o.Admit == nil || o.Source == nil {
		return nil, errors.New("checking options: Dialed, Callers, Admit and Source are required")
	}
	if err := o.Limits.validate(); err != nil {
		return nil, err
	}
	s := &Server{
		dialed: o.Dialed, callers: o.Callers, admit: o.Admit, source: o.Source, can: o.Available, ours: o.Ours, issuer: o.Issuer,
		log: o.Log, observe: o.Observe, now: o.Now, limits: o.Limits.withDefaults(),
		passOn: o.PassOn, screen: o.Screen, describe: o.Describe, allow: o.Allow, owner: o.Owner,
	}
	s.places.limit, s.places.ebbed = s.limits.Connections, o.Ebbed
	if s.allow == nil {
		s.allow = func(_ caller.Caller, _ caller.Detail, r token.Request) (token.Request, error) { return r, nil }
	}
	if s.owner == nil {
		s.owner = func(caller.Caller) bool { return true }
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.can == nil {
		s.can = func() bool { return true }
	}
	if s.issuer == nil {
		s.issuer = func() http.Handler { return nil }
	}
	if s.ours == nil {
		s.ours = func(caller.Caller) bool { return false }
	}
	if s.observe == nil {
		s.observe = func(Event) {}
	}
	if s.now == nil {
		s.now = time.Now
	}
	return s, nil
}

// Serve answers the processes of this network namespace on ln, which must be TCP, until ctx ends. Then it stops accepting, closes
// ln, waits for requests under way as long as [Limits.Drain] says, cuts off what is left, and returns nil. Any other return is the
// listener's error.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	return s.serveOn(ctx, ln, gate{})
}

// ServeZone answers on ln what is behind a bridge, as Serve does the processes of this network namespace.
func (s *Server) ServeZone(ctx context.Context, ln net.Listener, zone *Zone) error {
	return s.serveOn(ctx, ln, gate{zone: zone})
}

// ServeEnv answers on ln as an endpoint that environment variables select does, and no longer as the metadata service: for the
// processes of this network namespace, or for what is behind a bridge where zone is not nil. Callers, policy, source, limits and
// events are those of the metadata service.
func (s *Server) ServeEnv(ctx context.Context, ln net.Listener, env *EnvEndpoint, zone *Zone) error {
	if env == nil {
		return errors.New("serving an endpoint: there is none")
	}
	return s.serveOn(ctx, ln, gate{zone: zone, env: env})
}

// serveOn serves what comes out of a gate, which says what is served to whom.
func (s *Server) serveOn(ctx context.Context, ln net.Listener, g gate) error {
	var describing sync.WaitGroup // of this listener alone: another goes on to refuse while this one waits
	pit := tarpit{released: s.places.ebbed}
	defer pit.end()
	defer describing.Wait()
	g.Listener, g.server, g.describing, g.tarpit = ln, s, &describing, &pit
	var asked underWay
	hs := s.httpServer(ctx, asked.follow)
	failed := make(chan error, 1)
	go func() { failed <- hs.Serve(g) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serving on %q: %w", ln.Addr(), errors.Join(err, hs.Close()))
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.limits.Drain)
	defer cancel()
	hs.SetKeepAlivesEnabled(false)
	err := ln.Close() // whoever connects from now on waits in the queue of who else has the listener
	if served := <-failed; !errors.Is(served, net.ErrClosed) {
		err = errors.Join(err, served)
	}
	asked.wait(drain)
	ended := hs.Shutdown(drain)
	if errors.Is(ended, context.DeadlineExceeded) {
		s.log.Warn("connections cut off", "after", s.limits.Drain)
		ended = hs.Close()
	}
	if err := errors.Join(err, ended); err != nil {
		return fmt.Errorf("closing the server on %q: %w", ln.Addr(), err)
	}
	return nil
}

// httpServer is net/http without what is not wanted here: no routing of its own (nothing is ever redirected), no answer
// to "OPTIONS *", HTTP/1 alone.
func (s *Server) httpServer(ctx context.Context, follow func(net.Conn, http.ConnState)) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	requests := context.WithoutCancel(ctx) // those under way go on while draining
	return &http.Server{
		Handler:                      http.HandlerFunc(s.serve),
		DisableGeneralOptionsHandler: true,
		Protocols:                    protocols,
		ReadHeaderTimeout:            s.limits.Header,
		ReadTimeout:                  s.limits.Read,
		WriteTimeout:                 s.limits.Write,
		IdleTimeout:                  s.limits.Idle,
		MaxHeaderBytes:               s.limits.HeaderBytes,
		BaseContext:                  func(net.Listener) context.Context { return requests },
		ConnContext:                  withConn,
		ConnState:                    follow,
		ErrorLog:                     slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
}
