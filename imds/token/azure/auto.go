package azure

import (
	"context"
	"errors"
	"strings"
	"sync"

	"azimds/imds/token"
)

// Candidate is a source that [Auto] may choose; all of this package are.
type Candidate interface {
	token.Source
	// Describe names the source in a few words for people, beginning with its kind.
	Describe() string
}

// Auto is the source "auto": the first of several that somebody is signed in to. It looks when it is asked, and stays with the one
// that answered until that one says that nobody is signed in there any more.
//
// No other failure leads on to the next: who is refused by Entra, does not reach it or has a key file that cannot be read, is
// signed in, and a token of somebody else's in its place would be a surprise. While none has answered yet, a sign-in that has expired as a whole is passed over
// too.
type Auto struct {
	candidates []Candidate

	mu     sync.Mutex
	chosen Candidate // nil until one has answered
}

// NewAuto returns a source that tries the candidates in order; it asks none yet. There must be at least one.
func NewAuto(candidates ...Candidate) (*Auto, error) {
	if len(candidates) == 0 {
		return nil, errors.New("choosing a credential: there are no candidates")
	}
	return &Auto{candidates: candidates}, nil
}

// Describe names the source and, once there is one, the candidate that it stays with.
func (a *Auto) Describe() string {
	if c := a.Chosen(); c != nil {
		return KindAuto + ": " + c.Describe()
	}
	kinds := make([]string, len(a.candidates))
	for i, c := range a.candidates {
		kinds[i] = kindOf(c)
	}
	return KindAuto + " (" + strings.Join(kinds, ", ") + ")"
}

// Chosen is the candidate that answered and is stayed with; nil when there is none.
func (a *Auto) Chosen() Candidate {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.chosen
}

// Token asks the chosen candidate, or each in turn. Where nobody is signed in to any, the error is one [token.Error] of kind
// [token.ErrSignInRequired] that says of each why not.
func (a *Auto) Token(ctx context.Context, r token.Request) (token.Token, error) {
	chosen := a.Chosen()
	if chosen != nil {
		t, err := chosen.Token(ctx, r)
		if err == nil || !signedOut(err, false) {
			return t, err
		}
		a.choose(chosen, nil)
	}
	var reasons []reason
	for _, c := range a.candidates {
		t, err := c.Token(ctx, r)
		switch {
		case err == nil:
			a.choose(nil, c)
			return t, nil
		case !signedOut(err, true):
			return token.Token{}, err
		}
		reasons = append(reasons, reason{kindOf(c), err})
	}
	return token.Token{}, nobody(reasons)
}

// choose replaces one choice by another, unless somebody was quicker.
func (a *Auto) choose(from, to Candidate) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.chosen == from {
		a.chosen = to
	}
}

// signedOut reports whether err says that nobody is signed in; with expired, also that whoever was has to sign in anew.
func signedOut(err error, expired bool) bool {
	if !errors.Is(err, token.ErrSignInRequired) || errors.Is(err, errUnusable) {
		return false
	}
	refusal, refused := errors.AsType[*token.EntraError](err)
	return !refused || expired && ended(refusal)
}

// reason is why a candidate gave no token.
type reason struct {
	kind string
	err  error
}

// nobody joins the reasons into one sentence. Its command is that of the credential that lacks least: one whose program is
// there and wants a sign-in goes before one that is not installed, and that before one that nobody has set up. Before all goes
// what a CI job lacks, which has nobody who could sign in.
func nobody(reasons []reason) error {
	told := &token.Error{Kind: token.ErrSignInRequired}
	said := make([]string, len(reasons))
	best := 0
	for i, r := range reasons {
		message, command := r.err.Error(), ""
		if e, ok := errors.AsType[*token.Error](r.err); ok {
			message, command = e.Message, e.Command
		}
		rank := 3
		switch {
		case errors.Is(r.err, errNotConfigured):
			rank, message = 1, strings.TrimSuffix(message, ", which the credential "+r.kind+" needs")
			if r.kind == KindGitHubActions || r.kind == KindAzurePipelines {
				rank = 4
			}
		case errors.Is(r.err, errNotInstalled):
			rank, message = 2, "it is not installed"
		}
		if rank > best {
			best, told.Command = rank, command
		}
		said[i] = r.kind + " (" + message + ")"
	}
	told.Message = "no credential is signed in: " + strings.Join(said, ", ")
	return told
}

// kindOf is the first word of a candidate's description.
func kindOf(c Candidate) string {
	kind, _, _ := strings.Cut(c.Describe(), " ")
	return kind
}
