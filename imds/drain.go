package imds

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// newcomer is how long a request is waited for, when a server ends, on a connection that has just been accepted: who probes
	// waits a second for the whole answer.
	newcomer = time.Second
	// drainNap is the pause between two looks at what is still under way.
	drainNap = 5 * time.Millisecond
)

// underWay follows the connections of an http.Server on which something is asked, or is about to be.
//
// [http.Server.Shutdown] lets a handler end that runs, but a request that is read after it has begun is dropped, which to a client whose
// connection had been accepted is a failure. So it has to wait until there is none.
type underWay struct {
	mu   sync.Mutex
	open map[net.Conn]http.ConnState
}

// follow is the server's ConnState.
func (u *underWay) follow(c net.Conn, state http.ConnState) {
	followState(c, state)
	u.mu.Lock()
	defer u.mu.Unlock()
	switch state {
	case http.StateNew, http.StateActive:
		if u.open == nil {
			u.open = map[net.Conn]http.ConnState{}
		}
		u.open[c] = state
	default:
		delete(u.open, c)
	}
}

// wait returns when nothing is asked any more, and nobody who has just come is about to, or ctx ends.
func (u *underWay) wait(ctx context.Context) {
	tick := time.NewTicker(drainNap)
	defer tick.Stop()
	late := time.After(newcomer)
	patient := true
	for u.busy(patient) {
		select {
		case <-ctx.Done():
			return
		case <-late:
			patient = false
		case <-tick.C:
		}
	}
}

// busy tells whether something is asked, or may be on a connection that is new.
func (u *underWay) busy(patient bool) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, state := range u.open {
		if state == http.StateActive || patient {
			return true
		}
	}
	return false
}
