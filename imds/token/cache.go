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
	Now           func() time.Time // default time.Now
	FlightTimeout time.Duration    // how long one question to the source may take; default 60 s
	MaxKeys       int              // how many combinations of identity, tenant and resource are kept; default 256
}

// Cache is a [Source] that keeps the tokens of another. It is safe for concurrent use.
//
// A stored token is given out while more than five minutes of it are left, or more than half of what was left when it came,
// if that is less: a token of eight minutes is given out for four, not asked for each time. Times are those of the wall
// clock: a laptop that wakes up does not give out what expired in its sleep.
//
// Otherwise the source is asked, once for all who wait for the same identity, tenant and resource. That question (a
// flight) belongs to none of them: each leaves when its own context ends, and the flight goes on, with the values of the
// context it began with. A failure answers for the source for two seconds. Where the failure is [ErrUnavailable], a
// stored token that is still valid goes before it. [Request].Fresh passes over stored tokens, but not over flights and
// failures.
//
// Nobody gets a token that is empty or past: a source that yields one counts as [ErrUnavailable].
type Cache struct {
	source  Source
	now     func() time.Time
	timeout time.Duration
	maxKeys int

	flying sync.WaitGroup

	mu     sync.Mutex
	slots  map[key]*slot
	aloft  map[*flight]struct{} // all flights that are not done, also those whose slot was dropped
	closed bool
}

// Entry is a stored token, without the token.
type Entry struct {
	Identity  Selector
	Tenant    string
	Resource  string
	ExpiresOn time.Time // zero where no token is stored, which only [Cache.Drop] comes upon
}

// key is what two requests must agree on to share a token.
type key struct {
	identity         Selector
	tenant, resource string
}

// slot is what is kept under one key.
type slot struct {
	token   Token     // zero when there is none
	renewAt time.Time // from then on the source is asked
	flight  *flight   // in the air, or failed and remembered; otherwise nil
}

// Cached puts a cache in front of src. Who starts using it calls [Cache.Close] in the end.
func Cached(src Source, o CacheOptions) *Cache {
	c := &Cache{
		source:  src,
		now:     o.Now,
		timeout: cmp.Or(max(o.FlightTimeout, 0), defaultFlightTimeout),
		maxKeys: cmp.Or(max(o.MaxKeys, 0), defaultMaxKeys),
		slots:   map[key]*slot{},
		aloft:   map[*flight]struct{}{},
	}
	if c.now == nil {
		c.now = time.Now
	}
	return c
}

// Token implements [Source]. Its errors are those of the source, [ErrUnavailable] for a source that did not answer in time
// or answered with nothing usable, and that of ctx.
func (c *Cache) Token(ctx context.Context, r Request) (Token, error) {
	k, now := keyOf(r), c.wall()
	c.mu.Lock()
	s := c.slots[k]
	if s != nil && !r.Fresh && now.Before(s.renewAt) {
		t := s.token
		c.mu.Unlock()
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
	now = c.wall()
	if f.err != nil && !r.Fresh && errors.Is(f.err, ErrUnavailable) {
		if t, ok := c.spare(k, now); ok {
			return t, nil
		}
	}
	if f.err != nil {
		return Token{}, f.err
	}
	if err := usable(f.token, now); err != nil { // it may have been a long way from the flight's end to here
		return Token{}, err
	}
	return f.token, nil
}

// Snapshot lists the stored tokens that are valid, in order of resource, identity and tenant.
func (c *Cache) Snapshot() []Entry {
	now := c.wall()
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
	now := c.wall()
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
		delete(c.slots, k)
	}
	return dropped
}

// Close ends all flights, waits for them and begins no more.
func (c *Cache) Close() {
	c.mu.Lock()
	c.closed = true
	for f := range c.aloft {
		f.cancel()
	}
	c.mu.Unlock()
	c.flying.Wait()
}

// spare is the stored token if it is still valid, however little of it is left.
func (c *Cache) spare(k key, now time.Time) (Token, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.slots[k]; s != nil && s.valid(now) {
		return s.token, true
	}
	return Token{}, false
}

// wall is the time without its monotonic reading, which stands still while a laptop sleeps.
func (c *Cache) wall() time.Time { return c.now().Round(0) }

func keyOf(r Request) key {
	k := key{identity: r.Identity, tenant: r.Tenant, resource: r.Resource}
	if k.identity.Kind == ResourceID {
		k.identity.Value = strings.ToLower(k.identity.Value)
	}
	return k
}

func (s *slot) entry(k key) Entry {
	return Entry{Identity: k.identity, Tenant: k.tenant, Resource: k.resource, ExpiresOn: s.token.ExpiresOn}
}

func (s *slot) valid(now time.Time) bool { return now.Before(s.token.ExpiresOn) }

// store keeps a usable token.
func (s *slot) store(t Token, now time.Time) {
	s.token = t
	s.renewAt = t.ExpiresOn.Add(-min(margin, t.ExpiresOn.Sub(now)/2))
}

// usable is nil for a token that may be given out.
func usable(t Token, now time.Time) error {
	switch {
	case t.Value.Empty():
		return &Error{Kind: ErrUnavailable, Message: "the credential gave an empty token"}
	case !now.Before(t.ExpiresOn):
		return &Error{
			Kind:    ErrUnavailable,
			Message: "the credential gave a token that expired on " + t.ExpiresOn.UTC().Format(time.RFC3339) + "; is the clock right?",
		}
	}
	return nil
}
