package token

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"
)

// flight is one question to the source and its answer, which may be read once done is closed.
type flight struct {
	done       chan struct{}
	cancel     context.CancelFunc
	background bool // nobody waited for it when it began
	held            // the answer
	err        error

	// The rest is under the cache's lock.
	fresh    bool // a fresh token was asked for
	landed   bool
	landedAt moment
	memory   time.Duration // how long a failure is remembered
}

// board is the flight to wait for: the one in the air, the one whose failure is remembered, or a new one. The caller holds
// the lock; s is the slot of k, nil when there is none.
func (c *Cache) board(ctx context.Context, s *slot, k key, r Request, now moment) (*flight, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("asking for a token for %q: %w", r.Resource, err)
	}
	if s != nil && s.flight != nil && s.flight.answers(now) {
		s.used = true
		s.flight.fresh = s.flight.fresh || r.Fresh
		return s.flight, nil
	}
	if c.closed {
		return nil, &Error{Kind: ErrUnavailable, Message: "azimds is stopping"}
	}
	if s == nil {
		if !c.makeRoom(now) {
			return nil, &Error{Kind: ErrUnavailable, Message: "too many different tokens are being asked for at once"}
		}
		s = &slot{request: r}
		s.request.Fresh = false
		c.slots[k] = s
	}
	s.used = true
	return c.launch(ctx, k, s, r, false), nil
}

// launch begins a flight, with the values of ctx. The caller holds the lock and has seen that the cache is not closed.
func (c *Cache) launch(ctx context.Context, k key, s *slot, r Request, background bool) *flight {
	flightCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.timeout)
	f := &flight{done: make(chan struct{}), cancel: cancel, background: background, fresh: r.Fresh}
	s.flight = f
	c.aloft[f] = struct{}{}
	c.flying.Go(func() {
		defer cancel()
		c.fly(flightCtx, f, k, s, r)
	})
	return f
}

// answers reports whether the flight stands for the source: until it lands, and after a failure for as long as that is
// remembered. A clock that was set back does not lengthen that, nor does a laptop's sleep.
func (f *flight) answers(now moment) bool {
	if !f.landed {
		return true
	}
	return f.err != nil && now.mono >= f.landedAt.mono && !f.landedAt.add(f.memory).reached(now)
}

// fly asks the source and shares what it said. A slot that was dropped meanwhile is out of everybody's reach.
func (c *Cache) fly(ctx context.Context, f *flight, k key, s *slot, r Request) {
	f.err = errors.New("asking the source: it ended without an answer") // stays if it calls runtime.Goexit
	defer func() {
		if e, stale := c.land(f, k, s); stale && c.stale != nil {
			c.stale(e)
		}
	}()
	f.token, f.err = c.fetch(ctx, r)
}

// land shares a flight's answer. It reports, with the token that is stored, whether a fresh one was asked for in vain.
func (c *Cache) land(f *flight, k key, s *slot) (e Entry, stale bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.moment()
	f.landed, f.landedAt, f.memory = true, now, memory
	repeated := false
	if f.err == nil {
		if repeated, f.err = s.take(f.token, now); f.err != nil {
			f.memory = pause
		}
	}
	s.err = f.err
	if f.err == nil {
		f.held, s.flight, s.failures = s.held, nil, 0
	} else {
		f.held = held{}
		s.postpone(f, now)
	}
	delete(c.aloft, f)
	close(f.done)
	if c.slots[k] != s {
		return Entry{}, false
	}
	c.arm(k, s, now)
	return s.entry(k), repeated && f.err == nil && f.fresh
}

// fetch asks the source. It fails where the source did not keep to its contract.
func (c *Cache) fetch(ctx context.Context, r Request) (t Token, err error) {
	defer func() {
		if v := recover(); v != nil {
			t, err = Token{}, panicked(v)
		}
	}()
	t, err = c.source.Token(ctx, r)
	t.ExpiresOn, t.RefreshOn = t.ExpiresOn.Round(0), t.RefreshOn.Round(0) // to be compared by the wall clock
	if err == nil {
		err = usable(t, c.moment().wall)
	}
	if err == nil {
		return t, nil
	}
	if ended := ctx.Err(); ended != nil && errors.Is(err, ended) && !errors.Is(err, ErrUnavailable) {
		message := "azimds is stopping"
		if errors.Is(ended, context.DeadlineExceeded) {
			message = "the credential did not answer within " + c.timeout.String()
		}
		err = &Error{Kind: ErrUnavailable, Message: message, Err: err}
	}
	return Token{}, err
}

// panicked is the error for a panic of the source: where it was, and what it was if that cannot hold a token. The function
// that recovers calls it.
func panicked(v any) error {
	what := fmt.Sprintf("%T", v)
	if e, ok := v.(runtime.Error); ok {
		what = e.Error()
	}
	var calls [32]uintptr
	frames := runtime.CallersFrames(calls[:runtime.Callers(1, calls[:])])
	// The stack, from here up: this function, the one that recovers, runtime.gopanic, perhaps more of the runtime, the culprit.
	var frame runtime.Frame
	for more, seen := true, false; more; {
		frame, more = frames.Next()
		inRuntime := strings.HasPrefix(frame.Function, "runtime.")
		if seen = seen || inRuntime; seen && !inRuntime {
			return fmt.Errorf("asking the source: panic in %s, line %d: %s", frame.Function, frame.Line, what)
		}
	}
	return fmt.Errorf("asking the source: panic: %s", what)
}

// makeRoom makes sure that one more slot may be kept. What is worth nothing any more goes first, all of it; else the one
// slot without a flight whose token ends soonest. It reports false when all of them have one. The caller holds the lock.
func (c *Cache) makeRoom(now moment) bool {
	if len(c.slots) < c.maxKeys {
		return true
	}
	var (
		victim key
		soon   *slot
	)
	for k, s := range c.slots {
		switch {
		case s.flight != nil && !s.flight.landed:
		case !s.valid(now) && (s.flight == nil || !s.flight.answers(now)):
			c.discard(k, s)
		case soon == nil || s.token.ExpiresOn.Before(soon.token.ExpiresOn):
			victim, soon = k, s
		}
	}
	if len(c.slots) >= c.maxKeys && soon != nil {
		c.discard(victim, soon)
	}
	return len(c.slots) < c.maxKeys
}
