package imds

import (
	"log/slog"
	"time"

	"azimds/imds/caller"
	"azimds/imds/policy"
	"azimds/imds/token"
)

// Outcome is how a connection or request ended.
type Outcome string

// The outcomes.
const (
	Refused  Outcome = "refused"  // a connection: the caller may not talk to us, and nothing was read
	Given    Outcome = "token"    // a request: it got a token
	Denied   Outcome = "denied"   // a request: policy gives this caller no such token
	Failed   Outcome = "failed"   // a request: there was no token to be had
	Answered Outcome = "answered" // a request: anything else, such as an SDK's probe
)

// Event is one request answered, or one connection refused. It holds no token.
type Event struct {
	At       time.Time
	Caller   caller.Caller  // zero when nobody could be named
	Detail   caller.Detail  // what else could be found out about the caller
	Endpoint EndpointKind   // which one was asked; "" is the metadata service's
	Route    string         // "token", "info", "instance", "issuer" or "none"; "" for a refused connection
	Status   int            // of the reply; 0 for a refused connection
	Identity token.Selector // zero when the client selected none and none was chosen for it, or it did not get that far
	Resource string         // as the client wrote it; "" when it did not get that far
	Given    bool           // a token was given
	Stored   bool           // and it was one that had been kept
	Denied   bool           // policy forbade it
	Duration time.Duration
	Reason   string // why there was no token or connection, for a person; "" on success
	Allow    string // the line of configuration that would admit a refused caller
}

// Refused reports whether a connection was reset and nothing read of it.
func (e Event) Refused() bool { return e.Status == 0 }

// Outcome is how it ended, in a word.
func (e Event) Outcome() Outcome {
	switch {
	case e.Refused():
		return Refused
	case e.Given:
		return Given
	case e.Denied:
		return Denied
	case e.Resource != "" && e.Reason != "", e.Status >= 500:
		return Failed
	}
	return Answered
}

// Cache says where a token came from: "hit" is the agent's memory, "miss" the credential; "" where there is none.
func (e Event) Cache() string {
	switch {
	case !e.Given:
		return ""
	case e.Stored:
		return "hit"
	}
	return "miss"
}

// Zone is where the caller is: "local", or the name of the bridge that it is behind or, after "network:", of the bridge's network.
func (e Event) Zone() string {
	if e.Caller.Network != "" {
		return policy.Network + e.Caller.Network
	}
	if e.Caller.Bridge != "" {
		return e.Caller.Bridge
	}
	return "local"
}

// attrs appends what is known as the attributes of a log line. What is empty is left out.
func (e Event) attrs(attrs []slog.Attr) []slog.Attr {
	if e.Route != "" {
		attrs = append(attrs, slog.String("route", e.Route), slog.Int("status", e.Status))
	}
	attrs = append(attrs, slog.String("outcome", string(e.Outcome())), slog.String("zone", e.Zone()))
	attrs = appendText(attrs, "endpoint", string(e.Endpoint))
	switch {
	case e.Caller.Bridge != "":
		attrs = append(attrs, slog.String("address", e.Caller.Address.String()))
	case e.Caller.Known():
		attrs = append(attrs, slog.Uint64("uid", uint64(e.Caller.UID)))
	}
	attrs = appendText(attrs, "user", e.Detail.User)
	if e.Detail.PID != 0 {
		attrs = append(attrs, slog.Int("pid", e.Detail.PID))
	}
	attrs = appendText(attrs, "exe", e.Detail.Executable)
	if e.Detail.Executable == "" {
		attrs = appendText(attrs, "command", e.Detail.Command)
	}
	attrs = appendText(attrs, "container", e.Detail.Container)
	attrs = appendText(attrs, "unit", e.Detail.Unit)
	if e.Identity.Kind != "" {
		attrs = append(attrs, slog.String("identity", string(e.Identity.Kind)+"="+e.Identity.Value))
	}
	attrs = appendText(attrs, "resource", e.Resource)
	attrs = appendText(attrs, "cache", e.Cache())
	if e.Route != "" {
		attrs = append(attrs, slog.Duration("duration", e.Duration))
	}
	attrs = appendText(attrs, "reason", e.Reason)
	return appendText(attrs, "allow", e.Allow)
}

// appendText appends an attribute that is not empty.
func appendText(attrs []slog.Attr, key, value string) []slog.Attr {
	if value == "" {
		return attrs
	}
	return append(attrs, slog.String(key, value))
}
