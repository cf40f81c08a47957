package imds

import (
	"time"

	"azimds/imds/caller"
	"azimds/imds/token"
)

// Event is one request answered, or one connection refused. It holds no token.
type Event struct {
	At       time.Time
	Caller   caller.Caller  // zero when nobody could be named
	Route    string         // "token", "info", "instance", "issuer" or "none"; "" for a refused connection
	Status   int            // of the reply; 0 for a refused connection
	Identity token.Selector // zero when the client selected none, or did not get that far
	Resource string         // as the client wrote it; "" when it did not get that far
	Duration time.Duration
	Reason   string // why there was no token or connection, for a person; "" on success
}

// Refused reports whether a connection was reset and nothing read of it.
func (e Event) Refused() bool { return e.Status == 0 }
