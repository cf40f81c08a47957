package imds

import (
	"sync"
	"time"
)

const (
	// tarpitPause is how long a refused connection is held back, at most, when there are many: nothing beside the second that a
	// probe waits, and 20 times what a connection takes that is reset at once.
	tarpitPause = 20 * time.Millisecond
	// tarpitPrompt are reset at once in each pause: more than credential chains of several programs open.
	tarpitPrompt = 16
	// tarpitHolds is how many are held at once. Each is a file descriptor; beyond it they are reset at once.
	tarpitHolds = 256
)

// tarpit resets refused connections, and takes its time for it when there are many, so that whoever opens the next one when the last
// has been refused does not keep the server from serving. Its zero value is ready; end it.
type tarpit struct {
	released  func() // called when those that were held are reset; nil: nothing
	releasing sync.WaitGroup

	mu     sync.Mutex
	ended  bool
	began  time.Time // of the pause
	prompt int       // reset at once in it
	held   []func()
	timer  *time.Timer // ends the pause; set while some are held
}

// take calls reset, now or when the pause ends.
func (t *tarpit) take(reset func()) {
	if !t.hold(reset) {
		reset()
	}
}

// hold reports whether it has put reset off.
func (t *tarpit) hold(reset func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	left := tarpitPause - now.Sub(t.began)
	if left <= 0 {
		t.began, t.prompt, left = now, 0, tarpitPause
	}
	if t.prompt < tarpitPrompt {
		t.prompt++
		return false
	}
	if t.ended || len(t.held) >= tarpitHolds {
		return false
	}
	t.held = append(t.held, reset)
	if t.timer == nil {
		t.releasing.Add(1)
		t.timer = time.AfterFunc(left, t.release)
	}
	return true
}

// release resets all that are held.
func (t *tarpit) release() {
	defer t.releasing.Done()
	t.mu.Lock()
	held := t.held
	t.held, t.timer = nil, nil
	t.mu.Unlock()
	for _, reset := range held {
		reset()
	}
	if t.released != nil {
		t.released()
	}
}

// end resets what is held, and returns when that is done. Who is taken afterwards is reset at once.
func (t *tarpit) end() {
	t.mu.Lock()
	t.ended = true
	now := t.timer != nil && t.timer.Stop()
	t.mu.Unlock()
	if now {
		t.release()
	}
	t.releasing.Wait()
}
