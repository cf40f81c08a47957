package imds

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"azimds/imds/caller"
)

// conn is an admitted connection. net/http reads and writes it; what is added is who is behind it, its place among the
// server's connections, the time that a request on it may wait for a token, and deadlines that cost little to move.
type conn struct {
	*net.TCPConn
	caller   caller.Caller
	server   *Server
	env      *EnvEndpoint // that it has reached; nil is the metadata service's
	closed   atomic.Bool
	gone     chan struct{} // closed when its place is given back, or another's
	idle     atomic.Int64  // since when nothing is asked on it, in Unix nanoseconds; 0 while something is
	screened bool          // its first read has found out the rest about the caller: detail
	detail   caller.Detail

	reads, writes deadline

	// All requests of the connection, which come one after another, share these.
	cancel  context.CancelFunc // ends the context of every request on this connection
	answer  deadline           // for the source
	due     time.Time          // what answer was last moved to
	timer   *time.Timer        // keeps answer; nil before the first request that waits
	expired atomic.Bool
}

func newConn(c *net.TCPConn, who caller.Caller, s *Server, env *EnvEndpoint) *conn {
	own := &conn{TCPConn: c, caller: who, server: s, env: env, gone: make(chan struct{})}
	own.reads.set, own.writes.set, own.answer.set = c.SetReadDeadline, c.SetWriteDeadline, own.setTimer
	own.idle.Store(time.Now().UnixNano())
	return own
}

type connKey struct{}

// withConn is an http.Server's ConnContext: the context of every request on the connection.
func withConn(ctx context.Context, c net.Conn) context.Context {
	own, ok := c.(*conn)
	if !ok {
		return ctx // only a gate's connections are served
	}
	ctx, own.cancel = context.WithCancel(context.WithValue(ctx, connKey{}, own))
	return ctx
}

// followState is an http.Server's ConnState: a connection on which nothing is asked may have to make room.
func followState(c net.Conn, state http.ConnState) {
	own, ok := c.(*conn)
	if !ok {
		return
	}
	switch state {
	case http.StateActive:
		own.idle.Store(0)
	case http.StateIdle:
		own.idle.Store(time.Now().UnixNano())
	}
}

// CallerOf names who is behind a request, given the context that a [token.Source] is called with; ok is false for a
// context that comes from elsewhere.
func CallerOf(ctx context.Context) (who caller.Caller, ok bool) {
	c, ok := ctx.Value(connKey{}).(*conn)
	if !ok {
		return caller.Caller{}, false
	}
	return c.caller, true
}

// madeRoom reports whether the connection has had to make room for another.
func (c *conn) madeRoom() bool {
	select {
	case <-c.gone:
		return true
	default:
		return false
	}
}

// Close gives the connection's place back.
func (c *conn) Close() error {
	if c.closed.CompareAndSwap(false, true) {
		c.server.places.leave(c)
		if c.cancel != nil {
			c.cancel()
		}
	}
	return errors.Join(c.answer.end(), c.TCPConn.Close())
}

// SetReadDeadline implements [net.Conn].
func (c *conn) SetReadDeadline(t time.Time) error { return c.reads.move(t) }

// SetWriteDeadline implements [net.Conn].
func (c *conn) SetWriteDeadline(t time.Time) error { return c.writes.move(t) }

// SetDeadline implements [net.Conn].
func (c *conn) SetDeadline(t time.Time) error { return errors.Join(c.reads.move(t), c.writes.move(t)) }

// Read implements [net.Conn]. The first one looks closer at who is behind the connection, here and not where it was accepted, as
// that may take longer than others should wait: who is turned away is reset before a byte of it has been read.
func (c *conn) Read(b []byte) (int, error) {
	if !c.screened {
		c.screened = true
		if err := c.server.screened(c); err != nil {
			return 0, &net.OpError{Op: "read", Net: "tcp", Addr: c.RemoteAddr(), Err: err} // net/http answers none of these
		}
	}
	for {
		n, err := c.TCPConn.Read(b)
		if n > 0 || !goesOn(err, &c.reads) {
			return n, err
		}
	}
}

// Write implements [net.Conn].
func (c *conn) Write(b []byte) (written int, err error) {
	for {
		n, err := c.TCPConn.Write(b[written:])
		if written += n; !goesOn(err, &c.writes) {
			return written, err
		}
	}
}

// goesOn reports whether err only says that a deadline rang too early.
func goesOn(err error, d *deadline) bool {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	early, err := d.early()
	return early && err == nil
}

// begin starts the time that one request may wait for a token. Timer and context belong to the connection and not to the
// request, so that a request costs no allocation.
func (c *conn) begin() {
	c.due = time.Now().Add(c.server.limits.Answer)
	_ = c.answer.move(c.due) // setTimer does not fail
}

// setTimer is what keeps the deadline of an answer.
func (c *conn) setTimer(t time.Time) error {
	switch {
	case c.timer == nil && !t.IsZero():
		c.timer = time.AfterFunc(time.Until(t), c.expire)
	case c.timer != nil && t.IsZero():
		c.timer.Stop()
	case c.timer != nil:
		c.timer.Reset(time.Until(t))
	}
	return nil
}

func (c *conn) expire() {
	if early, _ := c.answer.early(); early { // most often it kept the time of a request long answered
		return
	}
	c.expired.Store(true)
	c.cancel()
}

// end ends that time and starts the time for the client to take the reply, which net/http has been counting since it read
// the request. It reports whether the time to wait was enough; if it was not, this exchange must be the connection's last.
func (c *conn) end() bool {
	_ = c.answer.move(time.Time{}) // setTimer does not fail
	now := time.Now()
	if err := c.SetWriteDeadline(now.Add(c.server.limits.Write)); err != nil { // closed, so nothing waits on it
		c.server.log.Debug("connection without deadline", "error", fmt.Errorf("setting a write deadline: %w", err))
	}
	if !now.Before(c.due) {
		c.expired.Store(true) // expire has begun, or would have
	}
	return !c.expired.Load()
}
