package holder

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// Run is a session for the one server at the other end of link: it waits for its hello, starts, attends to it and takes
// everything down when either ends. Why it could not start, or had to end, goes to the server, which speaks to the person.
// It takes the link over. The error is nil when the server asked to stop or ctx ended.
func Run(ctx context.Context, link *Link, o Options) error {
	if err := hello(ctx, link, o.Stderr); err != nil {
		return errors.Join(err, link.Close())
	}
	outer := ctx
	ctx, p := attend(ctx, link)
	err := session(ctx, p, o)
	if outer.Err() != nil || errors.Is(err, errStopAsked) {
		err = nil
	}
	return errors.Join(err, p.close())
}

// hello waits for the server's first message, which says that its configuration is valid and brings its standard error.
func hello(ctx context.Context, link *Link, adopt func(*os.File) error) error {
	giveUp := context.AfterFunc(ctx, func() { link.Close() })
	m, files, err := link.Receive()
	defer closeAll(files)
	if !giveUp() {
		return context.Cause(ctx)
	}
	switch {
	case err != nil:
		return fmt.Errorf("waiting for the server: %w", errors.Join(errServerGone, err))
	case m.Kind != KindHello:
		return fmt.Errorf("waiting for the server: it sent %q first", m.Kind)
	case adopt != nil && len(files) == 1:
		return adopt(files[0])
	}
	return nil
}

func session(ctx context.Context, p *peer, o Options) error {
	h, err := Start(ctx, o)
	if err != nil {
		return errors.Join(err, p.fail(o, err))
	}
	end := h.attend(ctx, p)
	if errors.Is(end, errStopAsked) || ctx.Err() != nil && !errors.Is(end, errServerGone) {
		p.tell(o, Message{Kind: KindStopping})
	} else if !errors.Is(end, errServerGone) {
		if err := p.fail(o, end); err != nil {
			o.Log.Debug("telling the server", "error", err)
		}
	}
	stopped := Message{Kind: KindStopped}
	err = h.Stop(ctx)
	if err != nil {
		stopped.Error = err.Error()
	}
	p.tell(o, stopped)
	return errors.Join(end, err)
}

// tell sends m to a server that may be gone.
func (p *peer) tell(o Options, m Message) {
	if err := p.link.Send(m); err != nil {
		o.Log.Debug("telling the server", "kind", m.Kind, "error", err)
	}
}

// fail tells the server why, in words.
func (p *peer) fail(o Options, cause error) error {
	failure := o.Explain(cause)
	return p.link.Send(Message{Kind: KindFailed, Failure: &failure})
}

// Hold starts a holder and attends to whichever server of the owner's connects to its attach socket, one after another,
// until ctx ends: the listeners stay while servers come and go, and connections wait in between.
func Hold(ctx context.Context, o Options, ready func(*Holder)) (err error) {
	h, err := Start(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Stop(ctx)) }()
	ln, err := h.state.Listen("unixpacket", attachFile, o.Owner)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	defer ln.Close()
	go func() { // ends with the janitor, which ends with the holder
		<-h.janitor.gone
		ln.Close()
	}()
	ready(h)
	for {
		conn, err := ln.AcceptUnix()
		switch {
		case ctx.Err() != nil:
			return nil
		case h.janitorGone():
			return h.janitor.err
		case err != nil:
			return fmt.Errorf("accepting a server: %w", err)
		}
		if err := h.one(ctx, conn); err != nil {
			o.Log.Warn("a server ended", "error", err)
		}
	}
}

// one attends to one server that connected to the attach socket.
func (h *Holder) one(ctx context.Context, conn *net.UnixConn) error {
	link := &Link{conn: conn}
	cred, err := PeerCredentials(conn)
	if err != nil {
		return errors.Join(err, link.Close())
	}
	if cred.Uid != h.options.Owner.UID {
		return errors.Join(fmt.Errorf("refusing a server of uid %d: %w", cred.Uid, os.ErrPermission), link.Close())
	}
	if err := hello(ctx, link, nil); err != nil {
		return errors.Join(err, link.Close())
	}
	ctx, p := attend(ctx, link)
	h.options.Log.Info("a server is attached", "pid", cred.Pid)
	err = h.attend(ctx, p)
	if errors.Is(err, errStopAsked) { // it leaves; the interception stays
		p.tell(h.options, Message{Kind: KindStopping})
		p.tell(h.options, Message{Kind: KindStopped})
		err = nil
	} else if !errors.Is(err, errServerGone) {
		err = errors.Join(err, p.fail(h.options, err))
	}
	return errors.Join(err, p.close())
}

func (h *Holder) janitorGone() bool {
	select {
	case <-h.janitor.gone:
		return true
	default:
		return false
	}
}

// PeerCredentials says who is at the other end of a unix socket: SO_PEERCRED, unix(7).
func PeerCredentials(conn *net.UnixConn) (*unix.Ucred, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("reading the peer's credentials: %w", err)
	}
	var cred *unix.Ucred
	var sockErr error
	if err := raw.Control(func(fd uintptr) { cred, sockErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return nil, fmt.Errorf("reading the peer's credentials: %w", err)
	}
	if sockErr != nil {
		return nil, fmt.Errorf("reading the peer's credentials: %w", sockErr)
	}
	return cred, nil
}
