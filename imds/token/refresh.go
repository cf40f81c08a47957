package token

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

const (
	// refreshShare of a token's life goes by before it is refreshed in the background; a part of refreshSpread more, chosen
	// by chance, keeps tokens that came together from being asked for together.
	refreshShare  = 0.80
	refreshSpread = 0.05

	// keptShare goes on top, as a share of the time that a token is given out unasked. It decides for short tokens, of
	// which 80 % last longer than that: what lives for eight minutes is given out for four and refreshed after 3.6.
	keptShare = 0.10

	// reuse is how much of a token is left when az, azd and MSAL stop giving it again ("if expires_in < 5*60", msal 1.3x,
	// application.py, in whole seconds). To ask a source of that kind earlier is in vain.
	reuse = 5*time.Minute - time.Second

	// pause is the least time between an answer and the next question in the background, and between the same token given
	// twice and the next question at all, also when it came too late the second time: az takes a second of a processor.
	pause = 30 * time.Second

	// handover is for how long a token is given out beyond the moment from which its source has another.
	handover = time.Minute

	// maxBackoff bounds the waits between refreshes that fail, which begin with pause and double. A token of a day is then
	// tried for some thirty times before it ends.
	maxBackoff = 10 * time.Minute
)

// take stores a token, and reports whether it is the one that was stored. A token that is given again has the end it had:
// else a source that goes by a wall clock that was set back would prolong it.
func (s *slot) take(t Token, now moment) (repeated bool, err error) {
	// az adds up the end each time, in whole seconds.
	repeated = s.token.Value.Equal(t.Value) && t.ExpiresOn.Before(s.token.ExpiresOn.Add(slack))
	if repeated {
		if !s.valid(now) {
			return true, &Error{
				Kind: ErrUnavailable,
				Message: fmt.Sprintf("the credential gave again a token that ended when it was %s old; was the clock set back?",
					(s.ends.mono - s.came.mono).Round(time.Second)),
			}
		}
		s.repeats, s.used = true, true // it is in use as long as it was
		s.token.RefreshOn = t.RefreshOn
	} else {
		s.held = hold(t, now)
	}
	s.plan(repeated, now)
	return repeated, nil
}

// plan decides how long the stored token is given out and when it is refreshed.
func (s *slot) plan(repeated bool, now moment) {
	left := s.left(now)
	var same time.Duration // for which the source has no other token
	switch {
	case !s.token.RefreshOn.IsZero():
		same = s.token.RefreshOn.Sub(now.wall)
	case s.repeats:
		same = left - reuse
	}
	if same >= left {
		same = 0 // it would never be renewed
	}
	refresh := max(same, pause)
	if repeated {
		s.renew = later(s.renew, now.add(min(refresh, left)))
	} else {
		kept := left - min(margin, left/2)
		if same > kept { // nobody waits for the source as soon as it has another token: it is asked in the background first
			kept = same + min(handover, (left-same)/2)
		}
		share := refreshShare + refreshSpread*rand.Float64() //nolint:gosec // it spreads load, and guards nothing
		early := min(share*float64(left), (share+keptShare)*float64(kept))
		refresh = max(refresh, time.Duration(early))
		s.renew = now.add(kept)
	}
	s.refresh = now.add(min(refresh, left))
}

// later is each clock's later one.
func later(a, b moment) moment {
	if b.wall.After(a.wall) {
		a.wall = b.wall
	}
	return moment{wall: a.wall, mono: max(a.mono, b.mono)}
}

// postpone puts the next refresh off after a flight that failed. What was in use still is.
func (s *slot) postpone(f *flight, now moment) {
	if f.background {
		s.failures++
		s.used = true
	}
	wait := pause
	for range s.failures - 1 {
		if wait = min(2*wait, maxBackoff); wait == maxBackoff {
			break
		}
	}
	if e, ok := errors.AsType[*EntraError](f.err); ok {
		wait = max(wait, e.RetryAfter)
	}
	s.refresh = later(s.refresh, now.add(wait))
}

// arm sets the timer for the next refresh, unless the token ends before. The caller holds the lock.
func (c *Cache) arm(k key, s *slot, now moment) {
	c.disarm(s)
	if c.closed || !s.valid(now) || s.ends.mono <= s.refresh.mono {
		return
	}
	c.flying.Add(1)
	var timer *time.Timer
	timer = time.AfterFunc(s.refresh.mono-now.mono, func() {
		defer c.flying.Done()
		c.mu.Lock()
		defer c.mu.Unlock()
		if s.timer != timer { // set anew, or discarded, when it had already gone off
			return
		}
		s.timer = nil
		if now := c.moment(); s.used && s.valid(now) {
			c.refreshBehind(k, s)
		}
	})
	s.timer = timer
}

// disarm takes the timer back. The caller holds the lock.
func (c *Cache) disarm(s *slot) {
	if s.timer != nil && s.timer.Stop() {
		c.flying.Done()
	}
	s.timer = nil
}

// refreshBehind asks the source with nobody waiting, unless somebody does already. The caller holds the lock.
func (c *Cache) refreshBehind(k key, s *slot) {
	if c.closed || s.flight != nil && !s.flight.landed {
		return
	}
	c.disarm(s)
	s.used = false // the token that comes is not in use yet
	c.launch(context.Background(), k, s, s.request, true)
}
