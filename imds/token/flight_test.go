package token

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestFlightServesAllWhoWait(t *testing.T) {
	const waiters, leaving = 64, 3 // every third hangs up, the first of them among these
	f := lasting(time.Hour).slow(10 * time.Second)
	bubble(t, f, CacheOptions{}, func(t *testing.T, c *Cache) {
		var (
			wg     sync.WaitGroup
			errs   [waiters]error
			tokens [waiters]string
		)
		for i := range waiters {
			ctx, hangUp := context.WithCancel(t.Context())
			if i%leaving == 0 {
				time.AfterFunc(time.Second, hangUp)
			}
			wg.Go(func() {
				defer hangUp()
				got, err := c.Token(ctx, Request{Resource: vault, Fresh: i%2 == 1})
				tokens[i], errs[i] = got.Value.Reveal(), err
			})
			if i == 0 {
				synctest.Wait() // so that it is the first who begins the flight, and leaves
			}
		}
		wg.Wait()
		starts(t, f, 1)
		for i := range waiters {
			switch {
			case i%leaving == 0 && !errors.Is(errs[i], context.Canceled):
				t.Errorf("waiter %d, who left: error %v", i, errs[i])
			case i%leaving != 0 && (errs[i] != nil || tokens[i] == ""):
				t.Errorf("waiter %d, who stayed: token %q, error %v", i, tokens[i], errs[i])
			}
		}
		ask(t, c, Request{Resource: vault})
		starts(t, f, 1)
	})
}

func TestFlightGoesOnWhenAllHaveLeft(t *testing.T) {
	f := lasting(time.Hour).slow(10 * time.Second)
	bubble(t, f, CacheOptions{}, func(t *testing.T, c *Cache) {
		ctx, hangUp := context.WithTimeout(t.Context(), time.Second)
		defer hangUp()
		if _, err := c.Token(ctx, Request{Resource: vault}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want DeadlineExceeded", err)
		}
		pass(10 * time.Second)
		if len(c.Snapshot()) != 1 {
			t.Error("the flight's token was not kept")
		}
		starts(t, f, 1)
	})
}

func TestFlightIsNotBegunForWhoHasLeft(t *testing.T) {
	f := lasting(time.Hour)
	bubble(t, f, CacheOptions{}, func(t *testing.T, c *Cache) {
		ctx, hangUp := context.WithCancel(t.Context())
		hangUp()
		if _, err := c.Token(ctx, Request{Resource: vault}); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want Canceled", err)
		}
		starts(t, f, 0)
	})
}

func TestFlightCarriesTheValuesOfWhoBeganIt(t *testing.T) {
	type who struct{}
	f := lasting(time.Hour)
	answer := f.answer
	var saw any
	f.says(func(ctx context.Context, r Request) (Token, error) {
		saw = ctx.Value(who{})
		return answer(ctx, r)
	})
	bubble(t, f, CacheOptions{}, func(t *testing.T, c *Cache) {
		if _, err := c.Token(context.WithValue(t.Context(), who{}, 1000), Request{Resource: vault}); err != nil {
			t.Fatal(err)
		}
		if saw != 1000 {
			t.Errorf("the source saw %v, want 1000", saw)
		}
	})
}

func TestFlightsOfDifferentKeysDoNotWaitForEachOther(t *testing.T) {
	f := lasting(time.Hour)
	bubble(t, f, CacheOptions{}, func(t *testing.T, c *Cache) {
		answer, held := f.answer, make(chan struct{}) // made here: only then does the bubble know who waits for it
		f.says(func(ctx context.Context, r Request) (Token, error) {
			if r.Resource == "held" {
				<-held
			}
			return answer(ctx, r)
		})
		var wg sync.WaitGroup
		wg.Go(func() { ask(t, c, Request{Resource: "held"}) })
		synctest.Wait()
		ask(t, c, Request{Resource: vault})
		close(held)
		wg.Wait()
	})
}

func TestFlightTimesOut(t *testing.T) {
	f := lasting(time.Hour).slow(time.Hour)
	bubble(t, f, CacheOptions{FlightTimeout: 7 * time.Second}, func(t *testing.T, c *Cache) {
		begin := time.Now()
		_, err := c.Token(t.Context(), Request{Resource: vault})
		if took := time.Since(begin); took != 7*time.Second {
			t.Errorf("took %v, want 7s", took)
		}
		if e, ok := errors.AsType[*Error](err); !ok || !errors.Is(err, ErrUnavailable) || !strings.Contains(e.Message, "within 7s") {
			t.Errorf("error %v, want ErrUnavailable that says 7s", err)
		}
	})
}

func TestFlightSurvivesItsSource(t *testing.T) {
	for _, test := range []struct {
		name string
		do   func()
		want string
	}{
		{"nil pointer", func() { var p *Token; p.ClientID = "x" }, "TestFlightSurvivesItsSource"},
		{"division", func() { zero := 0; runtime.KeepAlive(1 / zero) }, "integer divide by zero"},
		{"value", func() { panic("eyJhbGciOi.secret") }, "panic in azimds/imds/token.TestFlightSurvivesItsSource"},
		{"nil value", func() { panic(nil) }, "panic"},
		{"end of goroutine", runtime.Goexit, "without an answer"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := &fakeSource{answer: func(context.Context, Request) (Token, error) {
				test.do()
				return Token{}, nil
			}}
			bubble(t, f, CacheOptions{}, func(t *testing.T, c *Cache) {
				var wg sync.WaitGroup
				for range 3 {
					wg.Go(func() {
						_, err := c.Token(t.Context(), Request{Resource: vault})
						if err == nil || !strings.Contains(err.Error(), test.want) {
							t.Errorf("error %v, want one that says %q", err, test.want)
						}
						if err != nil && strings.Contains(err.Error(), "secret") {
							t.Errorf("error %v repeats what the source panicked with", err)
						}
					})
				}
				wg.Wait()
				starts(t, f, 1)
			})
		})
	}
}

func TestDropDisownsTheFlightInTheAir(t *testing.T) {
	f := lasting(time.Hour).slow(10 * time.Second)
	bubble(t, f, CacheOptions{}, func(t *testing.T, c *Cache) {
		var (
			wg    sync.WaitGroup
			early string
		)
		wg.Go(func() { early = ask(t, c, Request{Resource: vault}) })
		pass(time.Second)
		if got := c.Drop(func(Entry) bool { return true }); got != 0 {
			t.Errorf("Drop = %d, want 0: there was no token yet", got)
		}
		late := ask(t, c, Request{Resource: vault}) // of somebody else, who has signed in since
		wg.Wait()
		if early == "" || early == late {
			t.Errorf("before the drop %q, after it %q: want two tokens", early, late)
		}
		if got := ask(t, c, Request{Resource: vault}); got != late {
			t.Errorf("kept %q, want the token asked for after the drop", got)
		}
	})
}

func TestCacheRefusesMoreFlightsThanKeys(t *testing.T) {
	f := lasting(time.Hour).slow(10 * time.Second)
	bubble(t, f, CacheOptions{MaxKeys: 2}, func(t *testing.T, c *Cache) {
		var wg sync.WaitGroup
		for _, r := range []string{"a", "b"} {
			wg.Go(func() { ask(t, c, Request{Resource: r}) })
		}
		synctest.Wait()
		if _, err := c.Token(t.Context(), Request{Resource: "c"}); !errors.Is(err, ErrUnavailable) {
			t.Errorf("error %v, want ErrUnavailable", err)
		}
		wg.Wait()
		ask(t, c, Request{Resource: "c"})
	})
}

func TestCloseEndsFlights(t *testing.T) {
	f := lasting(time.Hour).slow(time.Hour)
	bubble(t, f, CacheOptions{}, func(t *testing.T, c *Cache) {
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := c.Token(t.Context(), Request{Resource: vault}); !errors.Is(err, ErrUnavailable) {
				t.Errorf("error %v, want ErrUnavailable", err)
			}
		})
		synctest.Wait()
		begin := time.Now()
		c.Close()
		wg.Wait()
		if took := time.Since(begin); took != 0 {
			t.Errorf("Close took %v", took)
		}
		if _, err := c.Token(t.Context(), Request{Resource: "b"}); !errors.Is(err, ErrUnavailable) {
			t.Errorf("afterwards: error %v, want ErrUnavailable", err)
		}
		starts(t, f, 1)
	})
}
