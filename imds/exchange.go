package imds

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"azimds/imds/token"
)

// serverName is what the real service calls itself, in the newest build that was seen. MSAL looks for "IMDS" in it before
// it believes in the newer protocol, for which our answer is 404.
const serverName = "IMDS/150.870.65.1854"

// serverHeader is shared by all replies and must not be changed.
var serverHeader = []string{serverName}

// maxKeptBody is the largest buffer that is kept for another exchange.
const maxKeptBody = 64 << 10

// reply is what a handler found, or the [*Problem] it met: something that sets headers of its own, appends its body to dst
// and returns the status.
type reply interface {
	appendReply(h http.Header, dst []byte) (status int, body []byte)
}

// exchange is one request and what becomes of it. Exchanges are used again, so that one costs few allocations.
type exchange struct {
	conn     *conn
	began    time.Time
	answered time.Time // when the source had answered, or it was clear that none is asked
	route    route
	request  token.Request
	stored   bool // the token was one that had been kept
	grant    grant
	body     []byte
	length   [1]string // Content-Length
}

var exchanges = sync.Pool{New: func() any { return new(exchange) }}

func newExchange(c *conn, now time.Time) *exchange {
	x, ok := exchanges.Get().(*exchange)
	if !ok {
		x = new(exchange)
	}
	x.conn, x.began = c, now
	return x
}

// free forgets everything, the token's text first.
func (x *exchange) free() {
	clear(x.body)
	if cap(x.body) > maxKeptBody {
		x.body = nil
	}
	*x = exchange{body: x.body[:0]}
	exchanges.Put(x)
}

// serve answers one request of an admitted connection; on any other it answers 500.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	c, ok := r.Context().Value(connKey{}).(*conn)
	if !ok {
		s.log.Error("request without a caller", "error", errors.New("serving a connection that no gate admitted"))
		http.Error(w, "", http.StatusInternalServerError)
		return
	}
	x := newExchange(c, s.now())
	defer x.free()
	found, problem := s.handle(x, r)
	if problem == missingMetadata && !s.can() && !s.ours(c.caller) && isProbe(r.RequestURI) && s.reset(w, c) {
		return
	}
	switch {
	case x.route != routeToken || problem == nil:
	case problem == missingMetadata && !s.ours(c.caller):
		s.probed.Store(x.began.UnixNano())
	case s.chained(x):
		problem = forChain(problem)
	}
	switch {
	case problem != nil && c.env != nil:
		found = envProblem{problem, c.env.kind}
	case problem != nil:
		found = problem
	}
	if x.answered.IsZero() {
		x.answered = s.now()
	}
	s.finish(w, r, x, found, problem)
}

// handle does everything but answer: route by path before any header is looked at, then guard, parse and ask. A panic on
// the way is a Problem, too.
func (s *Server) handle(x *exchange, r *http.Request) (found reply, problem *Problem) {
	defer func() {
		if v := recover(); v != nil {
			s.log.Error("request panicked", "stack", string(debug.Stack()))
			found, problem = nil, internal(fmt.Errorf("recovering from a panic: %v", v))
		}
	}()
	if e := x.conn.env; e != nil {
		return s.envToken(x, r, e)
	}
	path, rawQuery := splitTarget(r.RequestURI)
	switch x.route = routeOf(path); x.route {
	case routeToken:
		if p := s.guardIdentity(r); p != nil {
			return nil, p
		}
		return s.token(x, r, rawQuery)
	case routeInfo:
		if p := s.guardIdentity(r); p != nil {
			return nil, p
		}
		return s.info(x, r, rawQuery)
	case routeIssuer:
		issuer := s.issuer()
		if issuer == nil {
			return nil, notFound
		}
		if p := s.guardPublic(r); p != nil {
			return nil, p
		}
		d := recorded(issuer, r)
		return d, d.problem()
	case routeInstance:
		return nil, noInstance
	}
	return nil, notFound
}

// finish turns what was found into bytes, one log line and one event. Nothing else writes a reply.
func (s *Server) finish(w http.ResponseWriter, r *http.Request, x *exchange, found reply, problem *Problem) {
	h := w.Header()
	status, body := found.appendReply(h, x.body)
	x.body = body
	x.length[0] = strconv.Itoa(len(body))
	h["Content-Length"] = x.length[:] // net/http copies headers before it writes
	if x.conn.env == nil {
		h["Server"] = serverHeader
	}
	if x.conn.expired.Load() || s.tooLarge(r) { // a large body is not read over first
		h.Set("Connection", "close")
	}
	w.WriteHeader(status)
	_, err := w.Write(body)
	s.report(r, x, status, problem, err)
}

// report says what became of a request.
func (s *Server) report(r *http.Request, x *exchange, status int, problem *Problem, writing error) {
	e := Event{
		At: x.began, Caller: x.conn.caller, Detail: x.conn.detail, Endpoint: x.conn.env.name(), Route: string(x.route), Status: status,
		Identity: x.request.Identity, Resource: x.request.Resource, Duration: x.answered.Sub(x.began),
		Given: x.route == routeToken && problem == nil, Stored: x.stored,
	}
	message, level, lowered := "request answered", slog.LevelDebug, 0
	switch {
	case problem != nil:
		e.Reason, e.Denied = problem.Error(), problem.denied
		level, lowered = s.problems.level(problem.level(), e.At)
	case e.Given:
		message, level = "token given", slog.LevelInfo
	}
	if s.log.Enabled(r.Context(), level) {
		attrs := e.attrs(make([]slog.Attr, 0, 18))
		if writing != nil {
			attrs = append(attrs, slog.String("write", writing.Error()))
		}
		s.say(x.answered, level, message, lowered, attrs...)
	}
	s.observe(e)
}

// say writes one log line of the time at. It hands its record to the handler itself: [slog.Logger] would look at the clock
// once more, and walk the stack for a line of source that is always this one.
func (s *Server) say(at time.Time, level slog.Level, message string, lowered int, attrs ...slog.Attr) {
	ctx, handler := context.Background(), s.log.Handler()
	if !handler.Enabled(ctx, level) {
		return
	}
	line := slog.NewRecord(at, level, message, 0)
	line.AddAttrs(attrs...)
	if lowered > 0 {
		line.AddAttrs(slog.Int("lines_lowered_to_debug", lowered))
	}
	_ = handler.Handle(ctx, line) // as slog.Logger does: there is nobody left to tell
}
