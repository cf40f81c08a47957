package imds

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// count takes n refused connections, and returns how many have been reset.
func (t *tarpit) count(n int, reset *atomic.Int64) int {
	for range n {
		t.take(func() { reset.Add(1) })
	}
	return int(reset.Load())
}

// Few are reset at once; of many, the others are when the pause ends, so that one who opens 64 at a time gets no more than so many a pause.
func TestTarpitHoldsMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reset, released atomic.Int64
		pit := tarpit{released: func() { released.Add(1) }}
		defer pit.end()
		if got := pit.count(tarpitPrompt, &reset); got != tarpitPrompt {
			t.Errorf("%d of %d reset at once", got, tarpitPrompt)
		}
		time.Sleep(tarpitPause / 4)
		if got := pit.count(48, &reset); got != tarpitPrompt {
			t.Errorf("%d reset at once, want %d", got, tarpitPrompt)
		}
		time.Sleep(tarpitPause/2 + 1) // a pause counts from the first
		synctest.Wait()
		if got := reset.Load(); got != tarpitPrompt {
			t.Errorf("%d reset before the pause has ended", got)
		}
		time.Sleep(tarpitPause / 4)
		synctest.Wait()
		if got, want := reset.Load(), int64(tarpitPrompt+48); got != want {
			t.Errorf("%d reset after the pause, want %d", got, want)
		}
		if n := released.Load(); n != 1 {
			t.Errorf("said to have been released %d times", n)
		}
		if got, want := pit.count(1, &reset), tarpitPrompt+48+1; got != want {
			t.Errorf("%d reset, want %d: the next one at once", got, want)
		}
	})
}

// However many come, no more are held than may be, and none longer than the server serves.
func TestTarpitIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var pit tarpit
		var reset atomic.Int64
		if got, want := pit.count(tarpitPrompt+tarpitHolds+7, &reset), tarpitPrompt+7; got != want {
			t.Errorf("%d reset at once, want %d", got, want)
		}
		pit.end()
		if got, want := reset.Load(), int64(tarpitPrompt+tarpitHolds+7); got != want {
			t.Errorf("%d reset when the server ends, want %d", got, want)
		}
		if got, want := pit.count(tarpitPrompt+5, &reset), 2*tarpitPrompt+tarpitHolds+7+5; got != want {
			t.Errorf("%d reset, want %d: all at once when it has ended", got, want)
		}
		pit.end()
	})
}
