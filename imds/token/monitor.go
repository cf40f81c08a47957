package token

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// While a source yields nothing it is asked again after firstRecheck, and then after twice as long each time up to
// lastRecheck, so that programs that were told to go elsewhere find it open soon after the network is back.
const (
	firstRecheck = time.Second
	lastRecheck  = 30 * time.Second
)

// patientTime is how long a source that has answered before, and cannot be reached now, is worth trying again. A status that
// SDKs retry holds Go for 95 s and Java for 25 s when it lasts (docs/signed-out.md), so after this the answer is one that
// they do not retry.
const patientTime = 5 * time.Second

// Monitor is a [Source] that knows whether it can yield tokens at all: whether somebody is signed in and can be reached. A
// refusal of one resource says nothing about that.
type Monitor struct {
	src   Source
	check func(context.Context) error
	now   func() time.Time
	fell  func(error)
	rose  func()
	down  atomic.Bool
	gave  atomic.Bool   // a token, ever
	kick  chan struct{} // holds one: look again now

	mu    sync.Mutex
	since time.Time // when it went down
	cause error     // why no token can be had; the latest reason
	last  *Request  // the last that it went down on
}

// MonitorOptions adjust [Monitored]; all may be nil.
type MonitorOptions struct {
	// Check says, within seconds and without asking for a token, whether one can be had; nil cannot say.
	Check func(context.Context) error
	Now   func() time.Time

	// Fell is told once an episode that from now on no token can be had, and why; Rose, that the episode is over. Both are
	// called by whoever finds out, one at a time, and must not use the monitor nor wait for anything.
	Fell func(error)
	Rose func()
}

// Monitored is a monitor in front of src. Until something is asked it takes src to be able to yield tokens.
func Monitored(src Source, o MonitorOptions) *Monitor {
	m := &Monitor{src: src, check: o.Check, now: o.Now, fell: o.Fell, rose: o.Rose, kick: make(chan struct{}, 1)}
	if m.check == nil {
		m.check = func(context.Context) error { return nil }
	}
	if m.now == nil {
		m.now = time.Now
	}
	if m.fell == nil {
		m.fell = func(error) {}
	}
	if m.rose == nil {
		m.rose = func() {}
	}
	return m
}

// Available tells whether a request would now be answered with a token, as far as is known. It takes no lock.
func (m *Monitor) Available() bool { return !m.down.Load() }

// Down says since when no token can be had and the latest reason; the error is nil while one can.
func (m *Monitor) Down() (since time.Time, cause error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.down.Load() {
		return time.Time{}, nil
	}
	return m.since, m.cause
}

// Recheck has [Monitor.Run] look at once: somebody has signed in or out.
func (m *Monitor) Recheck() {
	select {
	case m.kick <- struct{}{}:
	default: // it will look already
	}
}

// Token asks the source. The error of one that has been out of reach for a while, or has never answered, is
// [ErrUnreachable] and no longer [ErrUnavailable].
func (m *Monitor) Token(ctx context.Context, r Request) (Token, error) {
	t, err := m.src.Token(ctx, r)
	if err == nil {
		m.gave.Store(true)
		m.up()
		return t, nil
	}
	if !hopeless(err) {
		return t, err
	}
	lasted := m.lose(&r, err)
	if (lasted > patientTime || !m.gave.Load()) && errors.Is(err, ErrUnavailable) {
		return t, final(err)
	}
	return t, err
}

// Run looks at the source while it yields nothing, and when [Monitor.Recheck] says so, until ctx ends.
func (m *Monitor) Run(ctx context.Context) {
	m.look(ctx)
	wait := firstRecheck
	for {
		var due <-chan time.Time
		if m.down.Load() {
			due = time.After(wait)
			wait = min(2*wait, lastRecheck)
		} else {
			wait = firstRecheck
		}
		select {
		case <-ctx.Done():
			return
		case <-m.kick:
			wait = firstRecheck
		case <-due:
		}
		m.look(ctx)
	}
}

// look asks what can be asked without a client: the check, and where that finds nothing wrong, the request that failed last.
func (m *Monitor) look(ctx context.Context) {
	if err := m.check(ctx); err != nil {
		m.lose(nil, err)
		return
	}
	m.mu.Lock()
	last := m.last
	m.mu.Unlock()
	if last == nil {
		m.up()
		return
	}
	if _, err := m.src.Token(ctx, *last); err == nil || !hopeless(err) {
		m.up()
	}
}

// hopeless tells whether an error is about the source and not about one request: nobody is signed in, or nobody can be
// reached. Entra's refusal is about a request.
func hopeless(err error) bool {
	if errors.Is(err, ErrUnavailable) {
		return true
	}
	_, refused := errors.AsType[*EntraError](err)
	return errors.Is(err, ErrSignInRequired) && !refused
}

// final is err as one that nobody need retry.
func final(err error) error {
	if e, ok := errors.AsType[*Error](err); ok {
		return &Error{Kind: ErrUnreachable, Message: e.Message, Command: e.Command}
	}
	return &Error{Kind: ErrUnreachable, Message: err.Error()}
}

func (m *Monitor) up() {
	if !m.down.Load() {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.down.Load() { // somebody else was quicker
		return
	}
	m.last, m.cause = nil, nil
	m.down.Store(false)
	m.rose()
}

// lose notes that there is no token to be had and why, and says for how long that has been so.
func (m *Monitor) lose(r *Request, cause error) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	m.cause = cause
	if !m.down.Load() {
		m.since = now
		m.down.Store(true)
		m.fell(cause)
		m.Recheck() // Run now waits for its time
	}
	if r != nil {
		m.last = r
	}
	return now.Sub(m.since)
}
