package token

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// diary makes the source write down when it is asked, counted from now.
func (f *fakeSource) diary() func() []time.Duration {
	var (
		begin  = time.Now()
		answer = f.answer
		mu     sync.Mutex
		times  []time.Duration
	)
	f.says(func(ctx context.Context, r Request) (Token, error) {
		mu.Lock()
		times = append(times, time.Since(begin))
		mu.Unlock()
		return answer(ctx, r)
	})
	return func() []time.Duration {
		mu.Lock()
		defer mu.Unlock()
		return times
	}
}

// every asks at once and then at that interval, for so long, as many requests as fit.
func every(interval, long time.Duration, request func(at time.Duration)) {
	for begin := time.Now(); time.Since(begin) < long; pass(interval) {
		request(time.Since(begin))
	}
}

// unused has it that nobody asked for the token since it came.
func unused(c *Cache, resource string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.slots[keyOf(Request{Resource: resource})].used = false
}

func TestRefreshComesAtEightyPercent(t *testing.T) {
	for _, test := range []struct{ life, from, to time.Duration }{
		{24 * time.Hour, 19*time.Hour + 12*time.Minute, 20*time.Hour + 24*time.Minute},
		{time.Hour, 48 * time.Minute, 51 * time.Minute},
		{8 * time.Minute, 216 * time.Second, 228 * time.Second}, // given out for four minutes
		{100 * time.Second, 45 * time.Second, 50 * time.Second},
		{50 * time.Second, pause, pause}, // not sooner
	} {
		t.Run(test.life.String(), func(t *testing.T) {
			f := lasting(test.life)
			seen := map[time.Duration]bool{}
			for range 5 {
				bubble(t, f, CacheOptions{}, func(t *testing.T, c *Cache) {
					times := f.diary()
					first := ask(t, c, Request{Resource: vault, Identity: Selector{ResourceID, "/A"}})
					pass(test.to)
					synctest.Wait()
					if n := len(times()); n != 2 {
						t.Fatalf("asked %d times by %v, want 2", n, test.to)
					}
					at := times()[1]
					if seen[at] = true; at < test.from || at > test.to {
						t.Errorf("refreshed after %v, want %v to %v", at, test.from, test.to)
					}
					if got := ask(t, c, Request{Resource: vault, Identity: Selector{ResourceID, "/a"}}); got == first {
						t.Error("got the old token")
					}
					if diff := cmp.Diff(f.asked[0], f.asked[1]); diff != "" {
						t.Errorf("the refresh asked for something else (-first +refresh):\n%s", diff)
					}
				})
				f = lasting(test.life)
			}
			if test.from != test.to && len(seen) == 1 {
				t.Errorf("always refreshed after %v: no jitter", seen)
			}
		})
	}
}

func TestRefreshLeavesAnUnusedTokenToExpire(t *testing.T) {
	f := lasting(time.Hour)
	bubble(t, f, CacheOptions{}, func(t *testing.T, c *Cache) {
		ask(t, c, Request{Resource: vault})
		pass(52 * time.Minute)
		starts(t, f, 2) // in use: it was asked for
		if all := c.Snapshot(); len(all) != 1 || !all[0].NextRefresh.IsZero() {
			t.Errorf("the refreshed token, not yet asked for: %+v, want one entry without next refresh", all)
		}
		pass(55 * time.Minute)
		starts(t, f, 2)
		if all := c.Snapshot(); len(all) != 1 {
			t.Fatalf("stored: %+v, want the token that was refreshed", all)
		}
		pass(24 * time.Hour)
		starts(t, f, 2)
		if all := c.Snapshot(); len(all) != 0 {
			t.Errorf("still stored: %+v", all)
		}
		ask(t, c, Request{Resource: vault})
		starts(t, f, 3)
	})
}

func TestRefreshBeginsWhenALongUnusedTokenIsAskedFor(t *testing.T) {
	f := lasting(24 * time.Hour)
	bubble(t, f, CacheOptions{}, func(t *testing.T, c *Cache) {
		ask(t, c, Request{Resource: vault})
		pass(21 * time.Hour)
		second := ask(t, c, Request{Resource: vault})
		starts(t, f, 2)
		unused(c, vault)
		pass(21 * time.Hour)
		starts(t, f, 2)
		if got := ask(t, c, Request{Resource: vault}); got != second {
			t.Error("waited for a refresh although the stored token is good for three hours")
		}
		synctest.Wait()
		starts(t, f, 3)
		if got := ask(t, c, Request{Resource: vault}); got == second {
			t.Error("the refresh brought nothing")
		}
	})
}

// TestRefreshKeepsALoneClientFromWaiting has an SDK that asks five minutes before its token ends.
func TestRefreshKeepsALoneClientFromWaiting(t *testing.T) {
	f := lasting(time.Hour).slow(10 * time.Second)
	bubble(t, f, CacheOptions{}, func(t *testing.T, c *Cache) {
		ask(t, c, Request{Resource: vault})
		for range 20 {
			got, err := c.Token(t.Context(), Request{Resource: vault})
			if err != nil {
				t.Fatal(err)
			}
			pass(time.Until(got.ExpiresOn) - margin)
			begin := time.Now()
			ask(t, c, Request{Resource: vault})
			if waited := time.Since(begin); waited != 0 {
				t.Fatalf("waited %v", waited)
			}
		}
	})
}

// az says when it will have another token: from then on it is asked, and nobody waits for it either.
func TestRefreshKeepsClientsFromWaitingForAz(t *testing.T) {
	onLaptop(t, time.Hour, true, func(t *testing.T, c *Cache, f *fakeSource, a *az) {
		ask(t, c, Request{Resource: vault})
		every(10*time.Second, 5*time.Hour, func(at time.Duration) {
			begin := time.Now()
			ask(t, c, Request{Resource: vault})
			if waited := time.Since(begin); waited != 0 {
				t.Fatalf("after %v: waited %v", at, waited)
			}
		})
	})
}

func TestRefreshThatFailsLeavesTheTokenAndBacksOff(t *testing.T) {
	for name, failure := range map[string]error{
		"offline":    ErrUnavailable,
		"signed out": &Error{Kind: ErrSignInRequired, Message: "nobody is signed in"},
		"refused":    &EntraError{Code: "invalid_grant"},
	} {
		t.Run(name, func(t *testing.T) {
			f := lasting(24 * time.Hour)
			bubble(t, f, CacheOptions{}, func(t *testing.T, c *Cache) {
				first, works := ask(t, c, Request{Resource: vault}), f.answer
				f.says(func(context.Context, Request) (Token, error) { return Token{}, failure })
				times := f.diary()
				every(10*time.Second, 24*time.Hour-margin, func(at time.Duration) {
					if got := ask(t, c, Request{Resource: vault}); got != first {
						t.Fatalf("after %v: got another token", at)
					}
				})
				got := []time.Duration{}
				for i := range times()[1:] {
					got = append(got, (times()[i+1] - times()[i]).Round(10*time.Second))
				}
				want := []time.Duration{pause, 2 * pause, 4 * pause, 8 * pause, 16 * pause, maxBackoff, maxBackoff}
				if diff := cmp.Diff(want, got[:len(want)]); diff != "" {
					t.Errorf("waits between tries (-want +got):\n%s", diff)
				}
				if n := len(times()); n > 32 {
					t.Errorf("%d tries", n)
				}
				if got := c.Snapshot()[0].LastError; got != failure.Error() {
					t.Errorf("last error %q, want %q", got, failure)
				}
				f.says(works)
				pass(pause)
				ask(t, c, Request{Resource: vault}) // may be the old one still, and has the source asked
				synctest.Wait()
				if got := ask(t, c, Request{Resource: vault}); got == first {
					t.Error("got the old token when the source worked again")
				}
				if got := c.Snapshot()[0]; got.LastError != "" || got.NextRefresh.Sub(got.RefreshedAt) < 19*time.Hour {
					t.Errorf("afterwards: %+v, want no error and a next refresh in 19 hours", got)
				}
			})
		})
	}
}

func TestRefreshWaitsAsLongAsEntraSays(t *testing.T) {
	f := lasting(24 * time.Hour)
	bubble(t, f, CacheOptions{}, func(t *testing.T, c *Cache) {
		ask(t, c, Request{Resource: vault})
		f.says(func(context.Context, Request) (Token, error) {
			return Token{}, &EntraError{Status: 429, Code: "throttled", RetryAfter: time.Hour}
		})
		times := f.diary()
		pass(23 * time.Hour)
		for i := range times()[1:] {
			if wait := times()[i+1] - times()[i]; wait != time.Hour {
				t.Errorf("asked again after %v, want an hour", wait)
			}
		}
		if len(times()) < 3 {
			t.Errorf("asked at %v only", times())
		}
	})
}

func TestRefreshStopsWithItsToken(t *testing.T) {
	r := Request{Resource: vault}
	for name, end := range map[string]func(t *testing.T, c *Cache){
		"dropped": func(_ *testing.T, c *Cache) { c.Drop(func(Entry) bool { return true }) },
		"closed":  func(_ *testing.T, c *Cache) { c.Close() },
		"evicted": func(t *testing.T, c *Cache) {
			ask(t, c, Request{Resource: "other"})
			unused(c, "other")
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := lasting(time.Hour)
			bubble(t, f, CacheOptions{MaxKeys: 1}, func(t *testing.T, c *Cache) {
				ask(t, c, r)
				end(t, c)
				before := f.starts()
				pass(2 * time.Hour)
				starts(t, f, before)
			})
		})
	}
}

func TestRefreshInTheAirIsDisownedByDrop(t *testing.T) {
	f := lasting(time.Hour)
	bubble(t, f, CacheOptions{}, func(t *testing.T, c *Cache) {
		ask(t, c, Request{Resource: vault})
		answer, aloft, held := f.answer, make(chan struct{}), make(chan struct{})
		f.says(func(ctx context.Context, r Request) (Token, error) {
			close(aloft)
			<-held
			return answer(ctx, r)
		})
		<-aloft
		c.Drop(func(Entry) bool { return true })
		close(held)
		pass(24 * time.Hour)
		if all := c.Snapshot(); len(all) != 0 {
			t.Errorf("kept: %+v", all)
		}
		starts(t, f, 2)
	})
}

func TestCloseEndsARefresh(t *testing.T) {
	f := lasting(time.Hour)
	bubble(t, f, CacheOptions{}, func(t *testing.T, c *Cache) {
		first := ask(t, c, Request{Resource: vault})
		aloft := make(chan struct{})
		f.says(func(ctx context.Context, _ Request) (Token, error) {
			close(aloft)
			<-ctx.Done()
			return Token{}, ctx.Err()
		})
		<-aloft
		begin := time.Now()
		c.Close()
		if took := time.Since(begin); took != 0 {
			t.Errorf("Close took %v", took)
		}
		if got := ask(t, c, Request{Resource: vault}); got != first {
			t.Error("after Close: got another token")
		}
		starts(t, f, 2)
	})
}

func TestFreshIsToldWhenTheSourceHasNoOther(t *testing.T) {
	var told []Entry
	f := &fakeSource{answer: func(_ context.Context, r Request) (Token, error) {
		return Token{Value: NewSecret(r.Resource), ExpiresOn: time.Date(2000, 1, 1, 1, 0, 0, 0, time.UTC)}, nil
	}}
	bubble(t, f, CacheOptions{Stale: func(e Entry) { told = append(told, e) }}, func(t *testing.T, c *Cache) {
		ask(t, c, Request{Resource: vault, Fresh: true}) // nothing was stored to compare with
		ask(t, c, Request{Resource: vault})
		synctest.Wait()
		if len(told) != 0 {
			t.Errorf("told of %+v before there was anything to tell", told)
		}
		ask(t, c, Request{Resource: vault, Fresh: true})
		synctest.Wait()
		if diff := cmp.Diff(c.Snapshot(), told); diff != "" {
			t.Errorf("(-stored +told):\n%s", diff)
		}
		f.says(lasting(time.Hour).answer)
		ask(t, c, Request{Resource: vault, Fresh: true})
		synctest.Wait()
		if len(told) != 1 {
			t.Errorf("told of a token that was fresh: %+v", told)
		}
	})
}

// TestASourceThatOnlyRepeatsItselfIsNotAskedInALoop has one that never has another token.
func TestASourceThatOnlyRepeatsItselfIsNotAskedInALoop(t *testing.T) {
	end := time.Date(2000, 1, 1, 1, 0, 0, 0, time.UTC)
	f := &fakeSource{answer: func(context.Context, Request) (Token, error) {
		return Token{Value: NewSecret("x"), ExpiresOn: end}, nil
	}}
	bubble(t, f, CacheOptions{}, func(t *testing.T, c *Cache) {
		times := f.diary()
		every(time.Second, time.Hour, func(time.Duration) { ask(t, c, Request{Resource: vault}) })
		for i := range times()[1:] {
			if wait := times()[i+1] - times()[i]; wait < pause {
				t.Errorf("asked at %v and again %v later, want at least %v", times()[i], wait, pause)
			}
		}
		if n := len(times()); n > 13 { // the first, one at 80 %, and the last five minutes
			t.Errorf("asked %d times: %v", n, times())
		}
		if _, err := c.Token(t.Context(), Request{Resource: vault}); !errors.Is(err, ErrUnavailable) {
			t.Errorf("after its end: error %v, want ErrUnavailable", err)
		}
	})
}

func TestCacheIsUsedByManyAtOnce(t *testing.T) {
	f := lasting(7 * time.Minute).slow(time.Second)
	works := f.answer
	f.says(func(ctx context.Context, r Request) (Token, error) {
		if rand.N(5) == 0 {
			return Token{}, ErrUnavailable
		}
		return works(ctx, r)
	})
	var stale Entry
	bubble(t, f, CacheOptions{MaxKeys: 6, Stale: func(e Entry) { stale = e }}, func(t *testing.T, c *Cache) {
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() {
				every(time.Duration(1+i)*time.Second, time.Hour, func(time.Duration) {
					r := Request{Resource: fmt.Sprint(rand.N(8)), Fresh: rand.N(50) == 0}
					got, err := c.Token(t.Context(), r)
					if err == nil && (got.Value.Empty() || !time.Now().Before(got.ExpiresOn)) || err != nil && !errors.Is(err, ErrUnavailable) {
						t.Errorf("token until %v, error %v", got.ExpiresOn, err)
					}
				})
			})
		}
		wg.Go(func() {
			every(time.Minute, time.Hour, func(time.Duration) {
				c.Snapshot()
				c.Drop(func(e Entry) bool { return e.Resource == fmt.Sprint(rand.N(8)) })
			})
		})
		pass(50 * time.Minute)
		c.Close()
		wg.Wait()
	})
	if stale != (Entry{}) {
		t.Errorf("told of %+v, which the source did not repeat", stale)
	}
}
