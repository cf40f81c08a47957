package token

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// margin is how much of its life a stored token must have left to be given out unasked. Every SDK refreshes five
	// minutes before the end; a token with less would be asked for again at once.
	margin = 5 * time.Minute

	// memory is how long a failure answers for the source: long enough that a burst of requests does not start az again
	// and again, too short for a person who has just signed in to notice.
	memory = 2 * time.Second

	// defaultFlightTimeout lets az on a cold disk finish. No SDK waits longer than 60 s for one try.
	defaultFlightTimeout = 60 * time.Second

	// defaultMaxKeys is far more than the resources that one person's programs ask for; at 4 KB a token it is 1 MB.
	defaultMaxKeys = 256
)

// CacheOptions are the settings of [Cached]; each zero value is the default named.
type CacheOptions struct {
	Now           func() time.Time     // the wall clock; default time.Now
	Elapsed       func() time.Duration // the monotonic clock, from any moment on; default the monotonic reading of Now
	FlightTimeout time.Duration        // how long one question to the source may take; default 60 s
	MaxKeys       int                  // how many combinations of identity, tenant and resource are kept; default 256

	// Stale, unless nil, hears of each request for a fresh token that the source answered with the stored one: it has no
	// other yet. It is called by a goroutine of the cache, which [Cache.Close] waits for.
	Stale func(Entry)
}

// Cache is a [Source] that keeps the tokens of another. It is safe for concurrent use.
//
// A stored token is given out while more than five minutes of it are left, or more than half of what was left when it came,
// if that is less: a token of eight minutes is given out for four, not asked for each time. It counts as past as soon as
// either clock says so: the wall clock, because the monotonic one stands still while a laptop sleeps, or the monotonic
// clock, because the wall clock can be set back. In the latter case what is given out says the earlier end.
//
// Otherwise the source is asked, once for all who wait for the same identity, tenant and resource. That question (a
// flight) belongs to none of them: each leaves when its own context ends, and the flight goes on, with the values of the
// context it began with. A failure answers for the source for two seconds, or for thirty where the source gave a token again
// that is past. Where the failure is [ErrUnavailable], a stored token that is still valid goes before it, and is given at once
// while the source is asked again in the background. [Request].Fresh passes over stored tokens, but not over flights and
// failures.
//
// A token that is in use, which is to say asked for since it came, is refreshed in the background from 80 % of its life on:
// see [Token].RefreshOn, and refresh.go for the numbers. A token that nobody asks for is left to expire. While the refresh
// fails, the stored token is given out as before.
//
// Nobody gets a token that is empty or past: a source that yields one counts as [ErrUnavailable].
type Cache struct {
	source  Source
	now     func() time.Time
	elapsed func() time.Duration // nil: the monotonic reading of now
	epoch   time.Time            // where that is counted from
	timeout time.Duration
	maxKeys int
	stale   func(Entry)

	flying sync.WaitGroup // flights, and timers that are set

	mu     sync.Mutex
	slots  map[key]*slot
	aloft  map[*flight]struct{} // all flights that are not done, also those whose slot was dropped
	closed bool
}

// Entry is a stored token, without the token. Where none is stored, which only [Cache.Drop] comes upon, its times are zero.
type Entry struct {
	Identity    Selector
	Tenant      string
	Resource    string
	ExpiresOn   time.Time
	RefreshedAt time.Time // when the token came
	NextRefresh time.Time // when the source is asked in the background; zero when it is being asked or the token is not in use
	LastError   string    // why the source was last asked in vain; "" when its last answer was a token
}

// key is what two requests must agree on to share a token.
type key struct {
	identity         Selector
	tenant, resource string
}

// slot is what is kept under one key.
type slot struct {
	held            // the zero held when there is no token
	request Request // what the source is asked in the background
	renew   moment  // from then on the token is not given out unasked
	flight  *flight // in the air, or failed and remembered; otherwise nil

	refresh  moment      // from then on the source is asked in the background
	timer    *time.Timer // set for then; nil when there is none
	used     bool        // asked for since the token came
	repeats  bool        // the source has been seen to give the stored token again
	failures int         // refreshes in the background that have failed in a row
	err      error       // of the last flight
}

// Cached puts a cache in front of src. Who starts using it calls [Cache.Close] in the end.
func Cached(src Source, o CacheOptions) *Cache {
	c := &Cache{
		source:  src,
		now:     o.Now,
		elapsed: o.Elapsed,
		timeout: cmp.Or(max(o.FlightTimeout, 0), defaultFlightTimeout),
		maxKeys: cmp.Or(max(o.MaxKeys, 0), defaultMaxKeys),
		stale:   o.Stale,
		slots:   map[key]*slot{},
		aloft:   map[*flight]struct{}{},
	}
	if c.now == nil {
		c.now = time.Now
	}
	c.epoch = c.now()
	return c
}

// Token implements [Source]. Its errors are those of the source, [ErrUnavailable] for a source that did not answer in time
// or answered with nothing usable, and that of ctx.
func (c *Cache) Token(ctx context.Context, r Request) (Token, error) {
	k, now := keyOf(r), c.moment()
	c.mu.Lock()
	s := c.slots[k]
	if s != nil && !r.Fresh && (!s.renew.reached(now) || s.stuck(now)) {
		if s.refresh.reached(now) || s.renew.reached(now) && s.rested(now) {
			c.refreshBehind(k, s)
		}
		s.used = true
		t := s.given(now)
		c.mu.Unlock()
		t.Stored = true
		return t, nil
	}
	f, err := c.board(ctx, s, k, r, now)
	c.mu.Unlock()
	if err != nil {
		return Token{}, err
	}
	select {
	case <-f.done:
	case <-ctx.Done():
		return Token{}, fmt.Errorf("waiting for a token for %q: %w", r.Resource, ctx.Err())
	}
	now = c.moment()
	if f.err != nil && !r.Fresh && errors.Is(f.err, ErrUnavailable) {
		if t, ok := c.spare(k, now); ok {
			return t, nil
		}
	}
	if f.err != nil {
		return Token{}, f.err
	}
	if !f.valid(now) { // it may have been a long way from the flight's end to here
		return Token{}, past(f.token)
	}
	return f.given(now), nil
}

// Snapshot lists the stored tokens that are valid, in order of resource, identity and tenant.
func (c *Cache) Snapshot() []Entry {
	now := c.moment()
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []Entry
	for k, s := range c.slots {
		if s.valid(now) {
			all = append(all, s.entry(k))
		}
	}
	slices.SortFunc(all, func(a, b Entry) int {
		return cmp.Or(
			cmp.Compare(a.Resource, b.Resource),
			cmp.Compare(a.Identity.Kind, b.Identity.Kind),
			cmp.Compare(a.Identity.Value, b.Identity.Value),
			cmp.Compare(a.Tenant, b.Tenant),
		)
	})
	return all
}

// Drop forgets what matches: stored tokens, whose number it returns, and remembered failures. A flight in the air still
// serves those who wait for it, and nobody else: what it brings is not kept. match must not use the cache.
func (c *Cache) Drop(match func(Entry) bool) int {
	now := c.moment()
	c.mu.Lock()
	defer c.mu.Unlock()
	dropped := 0
	for k, s := range c.slots {
		if !match(s.entry(k)) {
			continue
		}
		if s.valid(now) {
			dropped++
		}
		c.discard(k, s)
	}
	return dropped
}

// Close ends all flights and refreshes, waits for them and begins no more.
func (c *Cache) Close() {
	c.mu.Lock()
	c.closed = true
	for f := range c.aloft {
		f.cancel()
	}
	for _, s := range c.slots {
		c.disarm(s)
	}
	c.mu.Unlock()
	c.flying.Wait()
}

// stuck tells that the stored token is to be given although it should be renewed: it is valid, and the source could not be
// reached when it was asked last. It is asked again in the background.
func (s *slot) stuck(now moment) bool { return s.valid(now) && errors.Is(s.err, ErrUnavailable) }

// rested tells that the source may be asked again after it failed, by whoever wants a token.
func (s *slot) rested(now moment) bool {
	return s.flight == nil || s.flight.landed && s.flight.landedAt.add(pause).reached(now)
}

// spare is the stored token if it is still valid, however little of it is left.
func (c *Cache) spare(k key, now moment) (Token, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.slots[k]; s != nil && s.valid(now) {
		t := s.given(now)
		t.Stored = true
		return t, true
	}
	return Token{}, false
}

// discard forgets a slot. The caller holds the lock.
func (c *Cache) discard(k key, s *slot) {
	c.disarm(s)
	delete(c.slots, k)
}

func keyOf(r Request) key {
	k := key{identity: r.Identity, tenant: r.Tenant, resource: r.Resource}
	if k.identity.Kind == ResourceID {
		k.identity.Value = strings.ToLower(k.identity.Value)
	}
	return k
}

func (s *slot) entry(k key) Entry {
	e := Entry{
		Identity: k.identity, Tenant: k.tenant, Resource: k.resource, ExpiresOn: s.token.ExpiresOn, RefreshedAt: s.came.wall,
	}
	if s.used && s.timer != nil {
		e.NextRefresh = s.refresh.wall
	}
	if s.err != nil {
		e.LastError = s.err.Error()
	}
	return e
}
