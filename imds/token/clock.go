package token

import (
	"math"
	"time"
)

// moment is one point in time as two clocks have it. Linux stops CLOCK_MONOTONIC, Go's monotonic reading, while the machine
// is suspended (clock_gettime(2)); the wall clock goes on, but is set forward and back. A clock that is set back by as much as
// the machine slept, before anybody looks, deceives both; CLOCK_BOOTTIME would not be, but costs a system call each time.
type moment struct {
	wall time.Time     // without a monotonic reading, so that comparisons go by the wall clock
	mono time.Duration // since the cache was made
}

// moment is now.
func (c *Cache) moment() moment {
	t := c.now()
	if c.elapsed != nil {
		return moment{wall: t.Round(0), mono: c.elapsed()}
	}
	return moment{wall: t.Round(0), mono: t.Sub(c.epoch)}
}

func (m moment) add(d time.Duration) moment {
	return moment{wall: m.wall.Add(d), mono: m.mono + d}
}

// reached reports whether now is m or later by either clock. The zero moment always is.
func (m moment) reached(now moment) bool {
	return now.mono >= m.mono || !now.wall.Before(m.wall)
}

// slack is how far the wall clock may fall behind the monotonic one before it counts as set back. A clock that NTP slews
// drifts by 1.8 s an hour (adjtimex(2): 500 ppm).
const slack = time.Minute

// held is a token and its times. The zero held is valid at no time.
type held struct {
	token Token
	came  moment
	ends  moment
}

// hold keeps t, which came now.
func hold(t Token, now moment) held {
	left := t.ExpiresOn.Sub(now.wall)
	return held{token: t, came: now, ends: moment{wall: t.ExpiresOn, mono: now.mono + min(left, math.MaxInt64-max(now.mono, 0))}}
}

func (h *held) valid(now moment) bool { return !h.ends.reached(now) }

// left is how long the token is valid yet.
func (h *held) left(now moment) time.Duration {
	return min(h.ends.mono-now.mono, h.ends.wall.Sub(now.wall))
}

// given is the token as it is given out. A wall clock that was set back since it came would promise its reader more than is
// left, so its end is told as that clock will then have it.
func (h *held) given(now moment) Token {
	t := h.token
	if back := now.mono - h.came.mono - now.wall.Sub(h.came.wall); back > slack {
		t.ExpiresOn = t.ExpiresOn.Add(-back)
	}
	return t
}

// usable is nil for a token that may be given out.
func usable(t Token, now time.Time) error {
	switch {
	case t.Value.Empty():
		return &Error{Kind: ErrUnavailable, Message: "the credential gave an empty token"}
	case !now.Before(t.ExpiresOn):
		return past(t)
	}
	return nil
}

// past is the error for a token that came too late.
func past(t Token) error {
	return &Error{
		Kind:    ErrUnavailable,
		Message: "the credential gave a token that expired on " + t.ExpiresOn.UTC().Format(time.RFC3339) + "; is the clock right?",
	}
}
