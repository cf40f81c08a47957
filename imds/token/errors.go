package token

import (
	"cmp"
	"errors"
	"strings"
	"time"
)

// What a caller branches on; see [Error] for what a person reads.
var (
	// ErrSignInRequired: nobody is signed in, or not well enough; a person must act.
	ErrSignInRequired = errors.New("sign-in required")
	// ErrUnavailable: nobody answered, or not usefully; the same request may succeed later.
	ErrUnavailable = errors.New("token source unavailable")
	// ErrUnreachable: nobody has answered for a while, or ever; who asks should look elsewhere.
	ErrUnreachable = errors.New("token source unreachable")
	// ErrUnsupportedResource: the resource cannot be asked for in any way.
	ErrUnsupportedResource = errors.New("unsupported resource")
)

// Error is a failure that a person can act on.
type Error struct {
	Kind    error  // one of the sentinels of this package
	Message string // one sentence, lower case, no full stop
	Command string // what to paste into a shell to mend it; "" when nothing would
	Err     error  // the cause, or nil
}

// Error is the sentence and the cause. The command is left to whoever shows the error.
func (e *Error) Error() string {
	message := e.Message
	if message == "" && e.Kind != nil {
		message = e.Kind.Error()
	}
	if e.Err == nil {
		return message
	}
	return message + ": " + e.Err.Error()
}

// Unwrap makes errors.Is and errors.As find the kind and the cause.
func (e *Error) Unwrap() []error {
	var wrapped []error
	for _, err := range []error{e.Kind, e.Err} {
		if err != nil {
			wrapped = append(wrapped, err)
		}
	}
	return wrapped
}

// EntraError is Entra's own refusal, to be passed on as it came: RFC 6749 section 5.2 with the members that
// login.microsoftonline.com adds.
type EntraError struct {
	Status        int    // HTTP status that Entra answered with
	Code          string // error: invalid_resource, invalid_grant …
	Description   string // error_description: "AADSTS…: …", sometimes of several lines
	ErrorCodes    []int  // error_codes: the AADSTS numbers
	Timestamp     string
	TraceID       string
	CorrelationID string
	URI           string        // error_uri
	RetryAfter    time.Duration // 0 when Entra named none
}

// Error is Entra's description on one line, else its code.
func (e *EntraError) Error() string {
	what := cmp.Or(strings.Join(strings.Fields(e.Description), " "), e.Code, "no reason given")
	return "Entra refused: " + what
}
