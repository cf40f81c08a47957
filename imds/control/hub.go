package control

import (
	"context"
	"errors"
	"sync"
)

const (
	// maxWatchers is how many may watch at once: each holds a goroutine and what waits for it.
	maxWatchers = 16
	// maxWaiting is how many activities wait for a watcher that does not read: about 100 KB.
	maxWaiting = 256
)

// errTooManyWatchers refuses one watcher more.
var errTooManyWatchers = errors.New("too many watch already")

// Hub hands each activity to everybody who watches. Its zero value is ready.
type Hub struct {
	mu       sync.Mutex
	watchers map[*Watcher]struct{}
}

// Watcher is one who watches. Nobody waits for it: what comes when [maxWaiting] activities wait already is counted only.
type Watcher struct {
	hub  *Hub
	wake chan struct{} // holds one: something waits

	// Under hub.mu. What was missed came after what waits: nothing is put in line again before all that waits is taken.
	waiting []Activity
	missed  uint64
}

// Publish hands an activity to everybody who watches. It never blocks.
func (h *Hub) Publish(a Activity) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.watchers {
		if w.missed > 0 || len(w.waiting) == maxWaiting {
			w.missed++
		} else {
			w.waiting = append(w.waiting, a)
		}
		select {
		case w.wake <- struct{}{}:
		default: // it is awake already
		}
	}
}

// Watch has a watcher get each activity from now on, until it is closed.
func (h *Hub) Watch() (*Watcher, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.watchers) >= maxWatchers {
		return nil, errTooManyWatchers
	}
	if h.watchers == nil {
		h.watchers = map[*Watcher]struct{}{}
	}
	w := &Watcher{hub: h, wake: make(chan struct{}, 1)}
	h.watchers[w] = struct{}{}
	return w, nil
}

// Next waits for activities and returns those that wait, and how many came after them and were missed. The error is the
// context's.
func (w *Watcher) Next(ctx context.Context) (all []Activity, missed uint64, err error) {
	select {
	case <-w.wake:
	case <-ctx.Done():
		return nil, 0, context.Cause(ctx)
	}
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	all, missed = w.waiting, w.missed
	w.waiting, w.missed = nil, 0
	return all, missed, nil
}

// Close ends the watching.
func (w *Watcher) Close() {
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	delete(w.hub.watchers, w)
}
