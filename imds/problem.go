package imds

import (
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"azimds/imds/token"
)

// Codes of the identity endpoints' error replies (IdentityErrorResponse of the service's OpenAPI description).
const (
	codeInvalidRequest  = "invalid_request"
	codeInvalidResource = "invalid_resource"
	codeServerError     = "server_error"
	codeUnavailable     = "service_unavailable"
)

// maxRetryAfter is the longest wait worth passing on: MSAL for Python answers out of its memory for as long as Retry-After
// says, and Go's SDK gives up where it says more than 25 s.
const maxRetryAfter = 5 * time.Second

// Problem is an error with an HTTP face: what the client is told, and apart from that what the log is told.
type Problem struct {
	Status      int
	Code        string // "error" of the reply
	Description string // "error_description" of the reply: no secret, nothing internal

	entra      *token.EntraError // adds what Entra said to the reply
	bare       []byte            // replaces the reply's body, also by an empty one; nil replaces nothing
	retryAfter time.Duration     // whole seconds; 0 sends no Retry-After
	allow      string            // the Allow header of a 405
	suspicious bool              // a request that no client of the service makes
	denied     bool              // policy forbids it
	cause      error             // for the log alone
}

var (
	// notFound is what the real service says about a path it does not know. It holds without a Metadata header, too: .NET's
	// MSAL takes a 400 there for a newer protocol.
	notFound = &Problem{Status: http.StatusNotFound, Description: "unknown path", bare: []byte(`{"error":"Not Found"}`)}

	// noInstance hides the instance metadata. Its body is empty because some readers take any JSON of any status for proof
	// of a virtual machine in Azure, and others any text for its size.
	noInstance = &Problem{Status: http.StatusNotFound, Description: "no instance metadata", bare: []byte{}}
)

// internal is the answer to a failure of ours; cause goes to the log and nowhere else.
func internal(cause error) *Problem {
	return &Problem{
		Status: http.StatusInternalServerError, Code: codeServerError,
		Description: "azimds: internal error, its log says more", cause: cause,
	}
}

// unavailable is the answer where trying again may help. Every SDK does.
func unavailable(description string, cause error) *Problem {
	return &Problem{Status: http.StatusServiceUnavailable, Code: codeUnavailable, Description: description, cause: cause}
}

// Error tells what happened, for the log.
func (p *Problem) Error() string {
	if p.cause != nil {
		return p.cause.Error()
	}
	return p.Description
}

// Unwrap is what led to it, if anything did.
func (p *Problem) Unwrap() error { return p.cause }

// level is how loudly the log speaks of it: Error where azimds is at fault, Warn where a person should know.
func (p *Problem) level() slog.Level {
	switch {
	case p.Status == http.StatusInternalServerError:
		return slog.LevelError
	case p.cause != nil || p.suspicious:
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

// appendReply implements [reply].
func (p *Problem) appendReply(h http.Header, dst []byte) (int, []byte) {
	p.appendHeaders(h)
	if p.bare != nil {
		dst = append(dst, p.bare...)
	} else {
		dst = p.appendJSON(dst)
	}
	if len(dst) > 0 {
		h["Content-Type"] = jsonContent
	}
	return p.Status, dst
}

// appendHeaders adds what a problem says beside its body.
func (p *Problem) appendHeaders(h http.Header) {
	if p.allow != "" {
		h.Set("Allow", p.allow)
	}
	if p.retryAfter > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64(p.retryAfter/time.Second), 10))
	}
}

// appendJSON appends error and error_description, always both and always strings, then whatever Entra added, in Entra's
// order.
func (p *Problem) appendJSON(dst []byte) []byte {
	dst = append(dst, '{')
	dst = appendMember(dst, "error", p.Code)
	dst = appendMember(dst, "error_description", p.Description)
	if e := p.entra; e != nil {
		if len(e.ErrorCodes) > 0 {
			dst = append(appendName(dst, "error_codes"), '[')
			for i, code := range e.ErrorCodes {
				if i > 0 {
					dst = append(dst, ',')
				}
				dst = strconv.AppendInt(dst, int64(code), 10)
			}
			dst = append(dst, ']')
		}
		for _, m := range [...]struct{ name, value string }{
			{"timestamp", e.Timestamp}, {"trace_id", e.TraceID}, {"correlation_id", e.CorrelationID}, {"error_uri", e.URI},
		} {
			if m.value != "" {
				dst = appendMember(dst, m.name, m.value)
			}
		}
	}
	return append(dst, '}')
}
