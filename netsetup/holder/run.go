package holder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// helloLimit is how long a server that has connected to the attach socket may take to say hello: others wait behind it.
const helloLimit = 5 * time.Second

// Run is a session for the one server at the other end of link: it waits for its hello, starts, attends to it and takes
// everything down when either ends. Why it could not start, or had to end, goes to the server, which speaks to the person.
// It takes the link over. The error is nil when the server asked to stop or ctx ended, and all was taken down.
func Run(ctx context.Context, link *Link, o Options) error {
	if err := hello(ctx, link, o.Stderr); err != nil {
		switch {
		case ctx.Err() != nil:
			err = nil
		case errors.Is(err, errServerGone):
			err = &SaidError{err} // it has refused its own start
		}
		return errors.Join(err, link.Close())
	}
	inner, p := follow(ctx, link)
	return errors.Join(session(ctx, inner, p, o), p.close())
}

// hello waits for the server's first message, which says that its configuration is valid and brings its standard error.
func hello(ctx context.Context, link *Link, adopt func(*os.File) error) error {
	giveUp := context.AfterFunc(ctx, func() { link.Close() })
	m, files, err := link.Receive()
	defer closeAll(files)
	if !giveUp() {
		return fmt.Errorf("waiting for the server: %w", context.Cause(ctx))
	}
	switch {
	case err != nil:
		return fmt.Errorf("waiting for the server: %w: %w", errServerGone, err)
	case m.Kind != KindHello:
		return fmt.Errorf("waiting for the server: it sent %q first", m.Kind)
	case adopt != nil && len(files) == 1:
		return adopt(files[0])
	}
	return nil
}

// session holds for one server. inner is ctx as long as the server lives.
func session(ctx, inner context.Context, p *peer, o Options) error {
	h, err := newHolder(o)
	if err == nil {
		err = h.enter(inner)
	}
	switch {
	case err != nil && ctx.Err() != nil:
		p.tell(o.Log, Message{Kind: KindStopped})
		return unlessEnded(ctx, err)
	case err != nil:
		return p.fail(o, err)
	case h.up != nil:
		err = h.openControl()
	default:
		err = h.start(inner)
	}
	if err != nil {
		return h.finish(ctx, p, err)
	}
	return h.finish(ctx, p, h.attend(inner, p))
}

// finish takes everything down and then tells the server, which may be nil, that it is down: because that was asked for,
// or why it had to be.
func (h *Holder) finish(ctx context.Context, p *peer, end error) error {
	cause := end
	if errors.Is(end, errStopAsked) {
		end = nil
	}
	end = unlessEnded(ctx, end)
	stop := h.stop
	switch {
	case ctx.Err() != nil && h.restarts(ctx):
		stop = func(context.Context) error { return h.leave() }
	case h.lodges():
		h.settle(ctx, p, cause)
		if h.handOver(ctx) {
			stop = func(context.Context) error { return h.ended() }
		}
	}
	stopErr := stop(ctx)
	switch {
	case p == nil, errors.Is(end, errServerGone):
	case end != nil:
		return p.fail(h.options, errors.Join(end, stopErr))
	case stopErr != nil:
		p.tell(h.options.Log, Message{Kind: KindStopped, Error: stopErr.Error()})
	default:
		p.tell(h.options.Log, Message{Kind: KindStopped})
	}
	return errors.Join(end, stopErr)
}

// unlessEnded is err, unless the end of ctx is reason enough.
func unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}

// SaidError is why a holder failed, of which the person hears from the server: nothing need be said of it again.
type SaidError struct{ Err error }

// Error implements error.
func (e *SaidError) Error() string { return e.Err.Error() }

// Unwrap is the cause.
func (e *SaidError) Unwrap() error { return e.Err }

// fail tells the server why, in words, and returns why, as a [SaidError] where the server has been told.
func (p *peer) fail(o Options, cause error) error {
	failure := o.Explain(cause)
	if err := p.send(Message{Kind: KindFailed, Failure: &failure}); err != nil {
		o.Log.Debug("telling the server", "kind", KindFailed, "error", err)
		return cause
	}
	return &SaidError{cause}
}

// Hold starts a holder and attends to whichever server of the owner's connects to its attach socket, one after another,
// until ctx ends, and then leaves everything as it is where [Keeper] says so: the listeners stay while servers come and go, and connections wait in between. A second server waits
// until the first has gone. Hold calls ready once servers can connect. The error is nil when ctx ended and all was taken
// down.
func Hold(ctx context.Context, o Options, ready func(*Holder)) error {
	h, err := lock(o)
	if err != nil {
		return err
	}
	if err := h.start(ctx); err != nil {
		return errors.Join(unlessEnded(ctx, err), h.stop(ctx))
	}
	inner, cancel := h.watched(ctx)
	defer cancel()
	ln, err := h.state.Listen("unixpacket", attachFile, o.Owner)
	if err != nil {
		return h.finish(ctx, nil, err)
	}
	defer ln.Close()
	stop := context.AfterFunc(inner, func() { ln.Close() })
	defer stop()
	ready(h)
	for {
		conn, err := ln.AcceptUnix()
		switch {
		case inner.Err() != nil && err == nil:
			return errors.Join(h.finish(ctx, nil, context.Cause(inner)), conn.Close())
		case inner.Err() != nil:
			return h.finish(ctx, nil, context.Cause(inner))
		case err != nil:
			return h.finish(ctx, nil, fmt.Errorf("accepting a server: %w", err))
		}
		link := &Link{conn: conn}
		if err := h.greet(inner, link); err != nil {
			o.Log.Warn("refused a server", "error", errors.Join(err, link.Close()))
			continue
		}
		serving, p := follow(inner, link)
		end := h.attend(serving, p)
		if inner.Err() != nil {
			return errors.Join(h.finish(ctx, p, context.Cause(inner)), p.close())
		}
		h.release(p, end)
	}
}

// greet makes sure that whoever connected is the owner, and has something to say.
func (h *Holder) greet(ctx context.Context, link *Link) error {
	cred, err := PeerCredentials(link.conn)
	if err != nil {
		return err
	}
	if cred.Uid != h.options.Owner.UID {
		return fmt.Errorf("its uid is %d: %w", cred.Uid, os.ErrPermission)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, helloLimit, os.ErrDeadlineExceeded)
	defer cancel()
	if err := hello(ctx, link, nil); err != nil {
		return err
	}
	h.options.Log.Info("a server is attached", "pid", cred.Pid)
	return nil
}

// release lets one server go; the interception stays.
func (h *Holder) release(p *peer, end error) {
	switch {
	case errors.Is(end, errStopAsked):
		p.tell(h.options.Log, Message{Kind: KindStopped})
		end = nil
	case !errors.Is(end, errServerGone):
		end = p.fail(h.options, end)
	}
	if err := errors.Join(end, p.close()); err != nil {
		h.options.Log.Warn("a server ended", "error", err)
	}
}

// PeerCredentials says who is at the other end of a unix socket: SO_PEERCRED, unix(7).
func PeerCredentials(conn syscall.Conn) (*unix.Ucred, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("reading the peer's credentials: %w", err)
	}
	var cred *unix.Ucred
	var sockErr error
	err = raw.Control(func(fd uintptr) { cred, sockErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err := errors.Join(err, sockErr); err != nil {
		return nil, fmt.Errorf("reading the peer's credentials: %w", err)
	}
	return cred, nil
}
