package imds

import (
	"log/slog"
	"sync"
	"time"
)

const (
	quotaLines  = 20          // enough to see who is meant
	quotaWindow = time.Minute // little enough for no log to fill up
)

// quota keeps lines that clients can provoke from filling a log: in each window so many are said as loudly as they should
// be, the others at Debug. Its zero value is ready.
type quota struct {
	mu    sync.Mutex
	began time.Time // of the window
	loud  int       // lines in it
	quiet int       // lines lowered since one was said loudly
}

// level is the level at which to say a line meant for level, and how many were lowered since the last loud one.
func (q *quota) level(level slog.Level, now time.Time) (slog.Level, int) {
	if level < slog.LevelWarn {
		return level, 0
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if age := now.Sub(q.began); age >= quotaWindow || age < 0 {
		q.began, q.loud = now, 0
	}
	if q.loud >= quotaLines {
		q.quiet++
		return slog.LevelDebug, 0
	}
	q.loud++
	lowered := q.quiet
	q.quiet = 0
	return level, lowered
}
