package imds

import (
	"errors"
	"net/http"
	"net/url"
)

// isProbe tells whether a request without the Metadata header is one with which Go's, JavaScript's or Java's SDK finds out
// whether a service is there at all: it names no resource. Python's names one, and its chain goes on after the token
// request's 400, whose text it then shows.
func isProbe(target string) bool {
	_, rawQuery := splitTarget(target)
	q, err := url.ParseQuery(rawQuery)
	return err == nil && !q.Has("resource")
}

// errChain ends a chain's wait for a source that is not expected to answer.
var errChain = errors.New("a credential chain was not kept waiting")

// chained tells whether a credential chain asks: somebody has just probed. SDKs probe for the sake of their chains alone.
func (s *Server) chained(x *exchange) bool {
	if x.conn.env != nil {
		return false
	}
	since := x.began.UnixNano() - s.probed.Load()
	return 0 <= since && since < int64(chainTime) // below 0: the clock was set back
}

// reset ends a connection with a reset instead of an answer. A chain of credentials takes that for "nothing there" and goes
// on; after a 400, Go's chain stops when it has a client id. It reports whether it could.
func (s *Server) reset(w http.ResponseWriter, c *conn) bool {
	hijacked, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		s.log.Debug("resetting a probe", "error", err)
		return false
	}
	err = errors.Join(c.SetLinger(0), hijacked.Close())
	s.log.Debug("probe reset: there is no token to be had", "uid", c.caller.UID, "error", err)
	return true
}
