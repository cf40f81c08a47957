package control

import "time"

// Activity is one request answered, or one connection refused. It holds no token.
type Activity struct {
	Time       time.Time `json:"time,omitzero"`
	Zone       string    `json:"zone,omitempty"`    // "local", or a bridge's name
	Address    string    `json:"address,omitempty"` // the source, in a bridge's zone
	UID        *uint32   `json:"uid,omitempty"`     // nil when the kernel could not say
	User       string    `json:"user,omitempty"`    // the uid's name; "" when it has none
	PID        int       `json:"pid,omitempty"`     // 0 when the process was not found, or has ended
	Executable string    `json:"executable,omitempty"`
	Container  string    `json:"container,omitempty"`
	Unit       string    `json:"unit,omitempty"`     // of systemd
	Endpoint   string    `json:"endpoint,omitempty"` // of those that variables select; "" for 169.254.169.254
	Route      string    `json:"route,omitempty"`    // as in the log: "token", "info" and so on; "" for a refused connection
	Status     int       `json:"status,omitempty"`   // HTTP; 0 for a refused connection
	Identity   string    `json:"identity,omitempty"` // kind=value, empty when the client named none
	Resource   string    `json:"resource,omitempty"`
	Outcome    Outcome   `json:"outcome,omitempty"`
	Cache      string    `json:"cache,omitempty"`       // "hit" or "miss"; "" when no token was looked for
	DurationUS int64     `json:"duration_us,omitempty"` // microseconds
	Reason     string    `json:"reason,omitempty"`      // why there was no token or connection, for a person
	Allow      string    `json:"allow,omitempty"`       // the line of configuration that would admit a refused caller
}

// Outcome is how an activity ended.
type Outcome string

// Outcomes, from the best to the worst.
const (
	OutcomeToken    Outcome = "token"    // a token was given
	OutcomeAnswered Outcome = "answered" // something else was asked for, and given
	OutcomeFailed   Outcome = "failed"   // no token could be had, or the request was not right
	OutcomeDenied   Outcome = "denied"   // the policy keeps it from this caller
	OutcomeRefused  Outcome = "refused"  // the caller may not talk to the agent at all
)

// Watched is one line of what a watcher gets: an activity, or how many activities were missed at this place.
type Watched struct {
	Activity
	Missed uint64 `json:"missed,omitempty"`
}
