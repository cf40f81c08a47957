package imds

import (
	"sync"
	"time"
)

// deadline is a deadline that is moved with every request, mostly to somewhat later or to none, as those that net/http sets
// for a connection. What keeps it, a timer of the runtime's, is moved only when it would ring too late. One that rings too
// early does no harm: whom it wakes asks [deadline.early], and goes on.
type deadline struct {
	set func(time.Time) error // moves what keeps it

	mu   sync.Mutex
	want time.Time // zero is none
	kept time.Time // what set was told last
	next time.Time // kept before it was moved to long ago, worth having again
}

// move wants the deadline at t; zero is none.
func (d *deadline) move(t time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.want = t
	switch {
	case longAgo(t):
		if !longAgo(d.kept) {
			d.next = d.kept
		}
	case longAgo(d.kept):
		if t.IsZero() || !d.next.IsZero() && d.next.Before(t) {
			t = d.next
		}
	case t.IsZero(), !d.kept.IsZero() && !t.Before(d.kept):
		return nil
	}
	return d.keep(t)
}

// early reports whether the deadline that rang is not the one that is wanted, which it then is moved to.
func (d *deadline) early() (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.want.IsZero() && !d.want.After(time.Now()) {
		return false, nil
	}
	return true, d.keep(d.want)
}

// end wants no deadline any more, and sees to it that nothing rings.
func (d *deadline) end() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.want = time.Time{}
	return d.keep(d.want)
}

func (d *deadline) keep(t time.Time) error {
	d.kept = t
	return d.set(t)
}

// longAgo reports whether a deadline is one that net/http uses to end a read which is under way, the first second of 1970.
func longAgo(t time.Time) bool { return !t.IsZero() && t.Unix() <= 1 }
