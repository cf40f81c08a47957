package token

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

// TestNinetyMinutesOfAz has five resources in constant use for 90 minutes, with az as the CLI source is, and what happens to a
// laptop meanwhile: at most two starts of az a resource as long as az answers, never a dead token, never a valid one lost.
func TestNinetyMinutesOfAz(t *testing.T) {
	const long = 90 * time.Minute
	type (
		answer func(context.Context, Request) (Token, error)
		event  struct {
			at time.Duration
			do func(l *laptop, f *fakeSource, works answer)
		}
	)
	offline := func(_ *laptop, f *fakeSource, _ answer) {
		f.says(func(context.Context, Request) (Token, error) { return Token{}, ErrUnavailable })
	}
	online := func(_ *laptop, f *fakeSource, works answer) { f.says(works) }
	asleep := func(d time.Duration) func(*laptop, *fakeSource, answer) {
		return func(l *laptop, _ *fakeSource, _ answer) { l.suspend(d) }
	}
	for _, test := range []struct {
		name   string
		events []event
		starts int // most for a resource; 0 is not counted
	}{
		{"nothing happens", nil, 2},
		{"two hours asleep", []event{{20 * time.Minute, asleep(2 * time.Hour)}}, 3}, // one more: the token died meanwhile
		{"half an hour asleep, offline at first", []event{
			{10 * time.Minute, asleep(30 * time.Minute)}, {10 * time.Minute, offline}, {15 * time.Minute, online},
		}, 3}, // two hours of token time
		{"offline when az has another token", []event{{54 * time.Minute, offline}, {59 * time.Minute, online}}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := &laptop{}
			azs := map[string]*az{}
			for i := range 5 {
				azs[fmt.Sprint("https://r", i)] = &az{laptop: l, life: time.Hour, hinting: true, dies: map[string]time.Time{}}
			}
			works := func(ctx context.Context, r Request) (Token, error) { return azs[r.Resource].token(ctx, r) }
			f := &fakeSource{answer: works}
			bubble(t, f, CacheOptions{Now: l.wall, Elapsed: l.elapsed}, func(t *testing.T, c *Cache) {
				events := test.events
				every(10*time.Second, long, func(at time.Duration) {
					for len(events) > 0 && at >= events[0].at {
						events[0].do(l, f, works)
						events = events[1:]
					}
					for resource, a := range azs {
						got, err := c.Token(t.Context(), Request{Resource: resource})
						switch {
						case err == nil && a.dead(got.Value.Reveal()):
							t.Fatalf("after %v: a dead token", at)
						case err != nil && (!errors.Is(err, ErrUnavailable) || !a.dead(a.held.Value.Reveal())):
							t.Fatalf("after %v: error %v although az has a token that lives", at, err)
						}
					}
				})
				starts := map[string]int{}
				for _, r := range f.asked {
					starts[r.Resource]++
				}
				for resource, n := range starts {
					if test.starts > 0 && n > test.starts {
						t.Errorf("%d starts for %s, want at most %d", n, resource, test.starts)
					}
				}
			})
		})
	}
}
