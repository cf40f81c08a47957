package holder

import (
	"context"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"azimds/netsetup"
)

// Repairs is what a holder had to put back since it started.
type Repairs struct {
	Count   int       `json:"count"`             // how many times there was something to put back
	Last    time.Time `json:"last,omitzero"`     // when it was, the last time
	Missing []string  `json:"missing,omitempty"` // and what: commands of ip and iptables
	Over    []string  `json:"over,omitempty"`    // what something takes away again and again
	Error   string    `json:"error,omitempty"`   // why it could not be put back; "" when it was
	Hint    string    `json:"hint,omitempty"`    // and a command that mends it, where there is one
	Next    time.Time `json:"next,omitzero"`     // when it is tried again, where that is not at once
}

// patient is a network namespace that is to match a plan: [netsetup.Interceptor].
type patient interface {
	Mend(context.Context, netsetup.Plan, syscall.Conn, func(*net.TCPListener) error) (netsetup.Mended, error)
}

// healer has the kernel match a holder's plan, after each change that the kernel tells of and every minute. The zero value does
// nothing.
type healer struct {
	host   patient
	holder *Holder
	end    context.CancelFunc
	ended  chan struct{} // closed when the goroutine that looks has ended
	lent   chan func()   // what is to be done in between
	proof  chan struct{} // has something in it when a repair was made that no connection has shown to work yet

	until  time.Time // nothing is put back before
	fights fights
	said   string // the last failure that was logged

	mu      sync.Mutex
	repairs Repairs
}

// start looks from now on, until stop, in the network namespace of the calling thread.
func (h *healer) start(ctx context.Context, holder *Holder, host patient) error {
	if without("heal") {
		return nil
	}
	log := holder.options.Log
	watch, err := netsetup.OpenWatch(log)
	if err != nil {
		return err
	}
	h.host, h.holder, h.ended, h.proof, h.lent = host, holder, make(chan struct{}), make(chan struct{}, 1), make(chan func(), maxLent)
	ctx, h.end = context.WithCancel(context.WithoutCancel(ctx)) // starting ends, looking goes on
	go func() {
		defer close(h.ended)
		if err := watch.Follow(func(changed <-chan struct{}) { h.run(ctx, changed) }); err != nil {
			log.Error("cannot look after the interception", "error", err)
		}
	}()
	return nil
}

// stop ends the looking and waits for that: nothing is put back any more. Stopping again is fine.
func (h *healer) stop() {
	if h.end != nil {
		h.end()
		<-h.ended
	}
}

// run looks after each change and, without one, every minute, or when it is time to try again.
func (h *healer) run(ctx context.Context, changed <-chan struct{}) {
	next := time.NewTimer(lookEvery)
	defer next.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-changed:
			settle(ctx, changed)
		case f := <-h.lent:
			f()
			continue
		case <-next.C:
		}
		if ctx.Err() == nil {
			next.Reset(h.look(ctx))
		}
	}
}

// maxLent is how much may wait to be done in between: it is for people who ask how things are.
const maxLent = 4

// lend has the goroutine that looks do something else, in the network namespace; false where it is not there, or has enough to do.
func (h *healer) lend(f func()) bool {
	select {
	case h.lent <- f: // a nil channel takes nothing
		return true
	default:
		return false
	}
}

// settle waits until nothing has changed for a while.
func settle(ctx context.Context, changed <-chan struct{}) {
	enough := time.After(noisy)
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-enough:
			return
		case <-time.After(quiet):
			return
		}
	}
}

// look puts back what is missing, unless that was tried too often lately, and returns when to look again.
func (h *healer) look(ctx context.Context) time.Duration {
	if wait := time.Until(h.until); wait > 0 {
		return wait
	}
	found, err := h.host.Mend(ctx, h.holder.Plan(), h.holder.listener(), h.holder.replace)
	if ctx.Err() != nil { // given up, and no failure
		return lookEvery
	}
	pause := time.Duration(0)
	switch {
	case err != nil:
		pause = h.failed(found.Missing, err)
	case len(found.Missing) > 0:
		h.holder.match(found.Plan)
		pause = h.repaired(found.Missing)
	default:
		h.fights.failed, h.said = 0, ""
	}
	h.until = time.Now().Add(pause)
	h.note(found.Missing, err)
	if pause == 0 {
		return lookEvery
	}
	return pause
}

// failed says why something cannot be put back, once, and returns how long to wait before the next try.
func (h *healer) failed(what []string, err error) time.Duration {
	pause := h.fights.fail()
	if h.said != err.Error() {
		h.said = err.Error()
		h.holder.options.Log.Warn("cannot repair the interception", "missing", strings.Join(what, "; "), "error", err, "next", pause)
	}
	return pause
}

// repaired says what was put back, and whether that is so again and again, and returns how long to wait before the next time.
func (h *healer) repaired(what []string) time.Duration {
	h.said = ""
	begun, pause := h.fights.count(what, time.Now())
	log := h.holder.options.Log
	log.Warn("repaired the interception", "missing", strings.Join(what, "; "))
	if len(begun) > 0 {
		log.Error("something removes again and again what the interception needs", "missing", strings.Join(begun, "; "), "repairs", maxRepairs+1, "next", pause)
	}
	select {
	case h.proof <- struct{}{}:
	default: // of one before it there is no proof yet, or no server to ask
	}
	return pause
}

// note remembers what became of a look, for who asks.
func (h *healer) note(what []string, err error) {
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	r := &h.repairs
	r.Over, r.Error, r.Hint, r.Next = h.fights.over(now), "", "", time.Time{}
	switch {
	case err != nil:
		failure := h.holder.options.Explain(err)
		r.Error, r.Hint = failure.Message, failure.Hint
	case len(what) > 0:
		r.Count, r.Last, r.Missing = r.Count+1, now, what
	}
	if h.until.After(now) {
		r.Next = h.until
	}
}

// told is what a status says of repairs; nil where there is nothing to say.
func (h *healer) told() *Repairs {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.repairs.Count == 0 && h.repairs.Error == "" {
		return nil
	}
	told := h.repairs
	return &told
}
