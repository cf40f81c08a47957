package token

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"
)

// laptop has the two clocks of one, which a bubble's clock alone does not. The bubble's is its monotonic clock.
type laptop struct {
	mu     sync.Mutex
	asleep time.Duration // so far
	wrong  time.Duration // how far its wall clock is ahead
}

// began is when a bubble begins.
var began = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func (l *laptop) elapsed() time.Duration { return time.Since(began) }

// outside is the time that Entra has.
func (l *laptop) outside() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Now().Round(0).Add(l.asleep)
}

func (l *laptop) wall() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Now().Round(0).Add(l.asleep + l.wrong)
}

func (l *laptop) suspend(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asleep += d
}

func (l *laptop) step(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wrong += d
}

// az is a source as az is: it gives its token until five minutes before the end, by its wall clock, and takes a second.
type az struct {
	*laptop
	life    time.Duration
	hinting bool // says when it will have another token

	mu    sync.Mutex
	held  Token
	given int
	dies  map[string]time.Time // outside time
}

func (a *az) token(context.Context, Request) (Token, error) {
	<-time.After(time.Second)
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.wall()
	if a.held.ExpiresOn.Unix()-now.Unix() < 300 {
		a.given++
		text := fmt.Sprint(a.given)
		a.held = Token{Value: NewSecret(text), ExpiresOn: now.Truncate(time.Second).Add(a.life)}
		if a.hinting {
			a.held.RefreshOn = a.held.ExpiresOn.Add(-reuse)
		}
		a.dies[text] = a.outside().Add(a.life)
	}
	return a.held, nil
}

func (a *az) dead(text string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !a.outside().Before(a.dies[text])
}

// onLaptop runs a test against az on a laptop.
func onLaptop(t *testing.T, life time.Duration, hinting bool, test func(t *testing.T, c *Cache, f *fakeSource, a *az)) {
	t.Helper()
	a := &az{laptop: &laptop{}, life: life, hinting: hinting, dies: map[string]time.Time{}}
	f := &fakeSource{answer: a.token}
	bubble(t, f, CacheOptions{Now: a.wall, Elapsed: a.elapsed}, func(t *testing.T, c *Cache) { test(t, c, f, a) })
}

func TestAzIsStartedOnceAToken(t *testing.T) {
	for _, test := range []struct {
		life, long time.Duration
		hinting    bool
		starts     int
	}{
		{60 * time.Minute, 90 * time.Minute, true, 2},
		{75 * time.Minute, 90 * time.Minute, true, 2},
		{90 * time.Minute, 90 * time.Minute, true, 2},
		{60 * time.Minute, 90 * time.Minute, false, 3}, // one to learn that it repeats itself
		{60 * time.Minute, 9*55*time.Minute + 30*time.Minute, true, 10},
		{60 * time.Minute, 9*55*time.Minute + 30*time.Minute, false, 11},
	} {
		t.Run(fmt.Sprintf("%v tokens for %v, hinting=%t", test.life, test.long, test.hinting), func(t *testing.T) {
			onLaptop(t, test.life, test.hinting, func(t *testing.T, c *Cache, f *fakeSource, a *az) {
				every(10*time.Second, test.long, func(at time.Duration) {
					if got := ask(t, c, Request{Resource: vault}); a.dead(got) {
						t.Fatalf("after %v: a dead token", at)
					}
				})
				starts(t, f, test.starts)
			})
		})
	}
}

// TestNoDeadTokenAndNoneLost has things happen to the laptop at each time of a token's life.
func TestNoDeadTokenAndNoneLost(t *testing.T) {
	for name, happens := range map[string]func(l *laptop){
		"two hours asleep":      func(l *laptop) { l.suspend(2 * time.Hour) },
		"fifty minutes asleep":  func(l *laptop) { l.suspend(50 * time.Minute) },
		"clock an hour forward": func(l *laptop) { l.step(time.Hour) },
		"clock an hour back":    func(l *laptop) { l.step(-time.Hour) },
	} {
		for _, after := range []time.Duration{0, 10 * time.Minute, 47 * time.Minute, 54*time.Minute + 58*time.Second, 57 * time.Minute, 100 * time.Minute} {
			t.Run(fmt.Sprintf("%s after %v", name, after), func(t *testing.T) {
				onLaptop(t, time.Hour, true, func(t *testing.T, c *Cache, f *fakeSource, a *az) {
					happened := false
					every(10*time.Second, 4*time.Hour, func(at time.Duration) {
						if !happened && at >= after {
							happens(a.laptop)
							happened = true
						}
						got, err := c.Token(t.Context(), Request{Resource: vault})
						switch {
						case err == nil && a.dead(got.Value.Reveal()):
							t.Fatalf("after %v: a dead token", at)
						case err == nil && got.ExpiresOn.Sub(a.wall()) > a.dies[got.Value.Reveal()].Sub(a.outside())+slack:
							t.Fatalf("after %v: it says that %v are left, %v are", at, got.ExpiresOn.Sub(a.wall()), a.dies[got.Value.Reveal()].Sub(a.outside()))
						case err != nil && (!errors.Is(err, ErrUnavailable) || !a.dead(a.held.Value.Reveal())):
							t.Fatalf("after %v: error %v although az has a token that lives", at, err)
						}
					})
				})
			})
		}
	}
}

// TestADeadTokenGivenAgainIsNotAskedForInALoop has az believe a clock that was set back.
func TestADeadTokenGivenAgainIsNotAskedForInALoop(t *testing.T) {
	onLaptop(t, time.Hour, true, func(t *testing.T, c *Cache, f *fakeSource, a *az) {
		ask(t, c, Request{Resource: vault})
		a.step(-time.Hour)
		pass(time.Hour)
		before := f.starts()
		every(time.Second, 10*time.Minute, func(time.Duration) {
			if _, err := c.Token(t.Context(), Request{Resource: vault}); !errors.Is(err, ErrUnavailable) {
				t.Errorf("error %v, want ErrUnavailable", err)
			}
		})
		if n := f.starts() - before; n > 20 {
			t.Errorf("asked %d times in ten minutes", n)
		}
		a.step(time.Hour)
		pass(pause)
		ask(t, c, Request{Resource: vault})
	})
}

// TestTwoClocksSurviveAFailingRefresh has the source fail from before the refresh until just before the token's end.
func TestTwoClocksSurviveAFailingRefresh(t *testing.T) {
	onLaptop(t, time.Hour, false, func(t *testing.T, c *Cache, f *fakeSource, a *az) {
		first := ask(t, c, Request{Resource: vault})
		f.says(func(context.Context, Request) (Token, error) { return Token{}, ErrUnavailable })
		every(10*time.Second, time.Hour-20*time.Second, func(at time.Duration) {
			if got := ask(t, c, Request{Resource: vault}); got != first {
				t.Fatalf("after %v: got another token", at)
			}
		})
		a.suspend(2 * time.Hour)
		if _, err := c.Token(t.Context(), Request{Resource: vault}); !errors.Is(err, ErrUnavailable) {
			t.Errorf("after its end: error %v, want ErrUnavailable", err)
		}
		f.says(a.token)
		pass(memory)
		if got := ask(t, c, Request{Resource: vault}); got == first {
			t.Error("got the dead token")
		}
	})
}

func TestMomentIsReachedByEitherClock(t *testing.T) {
	at := moment{wall: began, mono: time.Hour}
	for name, test := range map[string]struct {
		now  moment
		want bool
	}{
		"before":        {moment{began.Add(-1), time.Hour - 1}, false},
		"then":          {at, true},
		"by wall clock": {moment{began, 0}, true},
		"by monotonic":  {moment{began.Add(-time.Hour), time.Hour}, true},
	} {
		if got := at.reached(test.now); got != test.want {
			t.Errorf("%s: %t, want %t", name, got, test.want)
		}
	}
	if !(moment{}).reached(moment{}) {
		t.Error("the zero moment is not reached")
	}
}

// TestMomentSplitsTheClocks: a wall time that kept its monotonic reading would be compared by that.
func TestMomentSplitsTheClocks(t *testing.T) {
	c := Cached(lasting(time.Hour), CacheOptions{})
	defer c.Close()
	ask(t, c, Request{Resource: vault})
	s := c.slots[keyOf(Request{Resource: vault})]
	for name, at := range map[string]time.Time{
		"now": c.moment().wall, "came": s.came.wall, "ends": s.ends.wall, "renew": s.renew.wall, "refresh": s.refresh.wall,
		"token": s.token.ExpiresOn, "entry": c.Snapshot()[0].ExpiresOn,
	} {
		if at != at.Round(0) {
			t.Errorf("%s has a monotonic reading: %v", name, at)
		}
	}
}

func TestATokenForEverIsKept(t *testing.T) {
	f := &fakeSource{answer: func(context.Context, Request) (Token, error) {
		return Token{Value: NewSecret("x"), ExpiresOn: time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)}, nil
	}}
	bubble(t, f, CacheOptions{}, func(t *testing.T, c *Cache) {
		for range 3 {
			got, err := c.Token(t.Context(), Request{Resource: vault})
			if err != nil || got.ExpiresOn.Year() != 9999 {
				t.Errorf("token until %v, error %v", got.ExpiresOn, err)
			}
			pass(time.Hour)
		}
		starts(t, f, 1)
	})
}
