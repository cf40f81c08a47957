package imds

import (
	"cmp"
	"errors"
	"net/http"
	"time"

	"azimds/imds/policy"
	"azimds/imds/token"
)

// chainTime is how soon after an answered probe a token request counts as a chain's. Java's SDK needs a second, on a busy
// machine several. The probe may be another program's: then one that asks alone is told at once what it would have been told
// after its retries.
const chainTime = 10 * time.Second

// chainWait is how long a chain is kept waiting while there is no token to be had, as far as is known: it has a second in all.
const chainWait = 500 * time.Millisecond

// nobodyThere begins the answer that says that there is no token to be had here: both words are meant for SDKs.
// "unreachable" in a 403, which Docker Desktop's proxy says, sends Go's chain on, also with a client id set (azidentity
// v1.15.0, managed_identity_client.go), and Python's and JavaScript's (azure-identity 1.27.0, imds.py; @azure/identity
// 4.13.1, managedIdentityCredential/index.js). "Authentication unavailable" in MSAL's message sends Java's on
// (azure-identity 1.19.0, IdentityClient.java) and .NET's.
const nobodyThere = "Authentication unavailable: the managed identity is unreachable. "

// elsewhere is the answer that no SDK retries, that lets every credential chain go on to its next member, and that every
// SDK shows to who asks alone.
func elsewhere(description string, cause error) *Problem {
	return &Problem{Status: http.StatusForbidden, Code: codeUnavailable, Description: nobodyThere + description, cause: cause}
}

// forChain is what a credential chain is told in the place of a problem that a program which asks alone had better retry: a
// chain has somebody else to ask. What policy says is the same for both: a chain that went on would ask elsewhere for what is not
// for it here, and is told so.
func forChain(p *Problem) *Problem {
	if p.denied || p.Status != http.StatusServiceUnavailable && p.Status != http.StatusTooManyRequests {
		return p
	}
	return elsewhere(p.Description, p.cause)
}

// problemOf is the HTTP face of what a [token.Source] failed with. What tells a 400 or 403 from a 5xx is whether asking
// again may help: the former end at once in every SDK, while 404, 410, 429 and 5xx are retried for up to a minute.
//
// Only a [token.Error] and a [token.EntraError] were written for clients; the text of any other error stays in the log.
func problemOf(err error) *Problem {
	if denial, ok := errors.AsType[*policy.Denial](err); ok {
		return denialProblem(denial)
	}
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
	case errors.Is(err, token.ErrSignInRequired) || errors.Is(err, token.ErrUnreachable):
		return elsewhere("azimds: "+hint(err, "nobody is signed in"), err)
	case actionable:
		// The first sentence is the real service's and what SDKs look for to say that there is no identity here.
		p := invalid("Identity not found. azimds: " + hint(err, "nobody is signed in"))
		p.cause = err
		return p
	}
	return internal(err)
}

// throttled is what the real service says to who asks too often.
const throttled = "Temporarily throttled, too many requests"

// denialProblem tells a caller what policy says. The first sentence is the real service's, which no SDK asks again after.
func denialProblem(d *policy.Denial) *Problem {
	p := invalid("Identity not found. azimds: " + d.Error())
	if d.Wait > 0 {
		p = &Problem{Status: http.StatusTooManyRequests, Code: codeInvalidRequest, Description: throttled}
		p.retryAfter = min(d.Wait+time.Second-1, maxRetryAfter).Truncate(time.Second)
	}
	p.cause, p.denied = d, true
	return p
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
		p.Description = throttled
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
