package imds

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"azimds/imds/caller"
)

// conn is an admitted connection. net/http reads and writes it; what is added is who is behind it, its place among the
// server's connections, and the time that a request on it may wait for a token.
type conn struct {
	*net.TCPConn
	caller caller.Caller
	server *Server
	closed atomic.Bool

	// All requests of the connection, which come one after another, share these.
	cancel  context.CancelFunc // ends the context of every request on this connection
	timer   *time.Timer        // nil before the first request that waits
	expired atomic.Bool
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

// CallerOf names who is behind a request, given the context that a [token.Source] is called with; ok is false for a
// context that comes from elsewhere.
func CallerOf(ctx context.Context) (who caller.Caller, ok bool) {
	c, ok := ctx.Value(connKey{}).(*conn)
	if !ok {
		return caller.Caller{}, false
	}
	return c.caller, true
}

// Close gives the connection's place back.
func (c *conn) Close() error {
	if c.closed.CompareAndSwap(false, true) {
		c.server.open.Add(-1)
		if c.cancel != nil {
			c.cancel()
		}
	}
	return c.TCPConn.Close()
}

// begin starts the time that one request may wait for a token. Timer and context belong to the connection and not to the
// request, so that a request costs no allocation.
func (c *conn) begin() {
	if c.timer == nil {
		c.timer = time.AfterFunc(c.server.limits.Answer, c.expire)
		return
	}
	c.timer.Reset(c.server.limits.Answer)
}

func (c *conn) expire() {
	c.expired.Store(true)
	c.cancel()
}

// end ends that time and starts the time for the client to take the reply, which net/http has been counting since it read
// the request. It reports whether the time to wait was enough; if it was not, this exchange must be the connection's last.
func (c *conn) end() bool {
	if err := c.SetWriteDeadline(time.Now().Add(c.server.limits.Write)); err != nil { // closed, so nothing waits on it
		c.server.log.Debug("connection without deadline", "error", fmt.Errorf("setting a write deadline: %w", err))
	}
	if !c.timer.Stop() {
		c.expired.Store(true) // expire has begun, if it has not ended
	}
	return !c.expired.Load()
}
