package imds

import (
	"cmp"
	"errors"
	"net/http"
	"time"

	"azimds/imds/token"
)

// problemOf is the HTTP face of what a [token.Source] failed with. What tells a 400 from a 5xx is whether asking again may
// help: a 400 ends at once in every SDK, and lets most credential chains go on to their next member, while 404, 410, 429
// and 5xx are retried for up to a minute.
//
// Only a [token.Error] and a [token.EntraError] were written for clients; the text of any other error stays in the log.
func problemOf(err error) *Problem {
	entra, refused := errors.AsType[*token.EntraError](err)
	_, actionable := errors.AsType[*token.Error](err)
	switch {
	case refused:
		return entraProblem(entra, err)
	case errors.Is(err, token.ErrUnsupportedResource):
		p := invalid("azimds: " + hint(err, "this resource cannot be asked for"))
		p.Code, p.cause = codeInvalidResource, err
		return p
	case errors.Is(err, token.ErrUnavailable):
		return unavailable("azimds: "+hint(err, "no token can be had at the moment"), err)
	case errors.Is(err, token.ErrSignInRequired) || actionable:
		// The first sentence is the real service's and what SDKs look for to say that there is no identity here.
		p := invalid("Identity not found. azimds: " + hint(err, "nobody is signed in"))
		p.cause = err
		return p
	}
	return internal(err)
}

// hint is what a person should know and do about err: its [token.Error]'s sentence and command, or else the sentence given.
func hint(err error, sentence string) string {
	e, ok := errors.AsType[*token.Error](err)
	if !ok {
		return sentence
	}
	if e.Command == "" {
		return cmp.Or(e.Message, sentence)
	}
	return cmp.Or(e.Message, sentence) + "; run: " + e.Command
}

// entraProblem passes Entra's refusal on as the real service does: some SDKs act on its code. Entra's own status is not
// passed on, as 401 and 403 end every SDK's credential chain. Throttling is told in the real service's words.
func entraProblem(e *token.EntraError, err error) *Problem {
	p := &Problem{
		Status:      http.StatusBadRequest,
		Code:        cmp.Or(e.Code, codeInvalidRequest),
		Description: cmp.Or(e.Description, "Entra ID refused the request"),
		entra:       e,
		cause:       err,
	}
	switch {
	case e.Status == http.StatusTooManyRequests:
		p.Status, p.Code, p.entra = http.StatusTooManyRequests, codeInvalidRequest, nil
		p.Description = "Temporarily throttled, too many requests"
		if wait := (e.RetryAfter + time.Second - 1).Truncate(time.Second); wait <= maxRetryAfter {
			p.retryAfter = wait
		}
	case e.Status >= http.StatusInternalServerError || errors.Is(err, token.ErrUnavailable):
		p.Status, p.Code = http.StatusServiceUnavailable, cmp.Or(e.Code, codeUnavailable)
	default:
		if _, ok := errors.AsType[*token.Error](err); ok {
			p.Description += " azimds: " + hint(err, "")
		}
	}
	return p
}
