package token

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fakeSource answers as told and remembers what it was asked. It prints as that list.
type fakeSource struct {
	answer func(ctx context.Context, r Request) (Token, error)

	mu    sync.Mutex
	asked []Request
}

func (f *fakeSource) Token(ctx context.Context, r Request) (Token, error) {
	f.mu.Lock()
	f.asked = append(f.asked, r)
	answer := f.answer
	f.mu.Unlock()
	return answer(ctx, r)
}

// says changes what it answers from now on.
func (f *fakeSource) says(answer func(context.Context, Request) (Token, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = answer
}

func (f *fakeSource) starts() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.asked)
}

func (f *fakeSource) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return fmt.Sprintf("source asked %d times: %+v", len(f.asked), f.asked)
}

// lasting yields tokens that live that long, each with another text.
func lasting(life time.Duration) *fakeSource {
	var given atomic.Int64
	return &fakeSource{answer: func(_ context.Context, r Request) (Token, error) {
		return Token{Value: NewSecret(fmt.Sprintf("%s#%d", r.Resource, given.Add(1))), ExpiresOn: time.Now().Add(life)}, nil
	}}
}

// slow makes a source take its time, unless its context ends before.
func (f *fakeSource) slow(d time.Duration) *fakeSource {
	answer := f.answer
	f.says(func(ctx context.Context, r Request) (Token, error) {
		select {
		case <-time.After(d):
			return answer(ctx, r)
		case <-ctx.Done():
			return Token{}, ctx.Err()
		}
	})
	return f
}

const vault = "https://vault.azure.net"

// ask is one request that must succeed; it returns the token's text.
func ask(t *testing.T, s Source, r Request) string {
	t.Helper()
	got, err := s.Token(t.Context(), r)
	if err != nil {
		t.Fatalf("Token(%+v): %v", r, err)
	}
	return got.Value.Reveal()
}

// starts checks how often the source has been asked by now.
func starts(t *testing.T, f *fakeSource, want int) {
	t.Helper()
	if got := f.starts(); got != want {
		t.Errorf("%v, want %d times", f, want)
	}
}

// bubble runs a test on a fake clock with a cache that is closed at its end.
func bubble(t *testing.T, f *fakeSource, o CacheOptions, test func(t *testing.T, c *Cache)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := Cached(f, o)
		defer c.Close()
		test(t, c)
	})
}

// pass lets time go by on the bubble's clock.
func pass(d time.Duration) { <-time.After(d) }

func TestCacheKeepsATokenUntilItsMargin(t *testing.T) {
	for _, test := range []struct {
		life, kept time.Duration
	}{
		{24 * time.Hour, 24*time.Hour - 5*time.Minute},
		{time.Hour, 55 * time.Minute},
		{10 * time.Minute, 5 * time.Minute},
		{8 * time.Minute, 4 * time.Minute},
		{5 * time.Minute, 150 * time.Second},
		{time.Minute, 30 * time.Second},
		{2 * time.Second, time.Second},
	} {
		t.Run(test.life.String(), func(t *testing.T) {
			f := lasting(test.life)
			bubble(t, f, CacheOptions{}, func(t *testing.T, c *Cache) {
				first := ask(t, c, Request{Resource: vault})
				answer, held := f.answer, make(chan struct{}) // the refresh in the background comes too late
				f.says(func(ctx context.Context, r Request) (Token, error) {
					<-held
					return answer(ctx, r)
				})
				pass(test.kept - time.Nanosecond)
				if got := ask(t, c, Request{Resource: vault}); got != first {
					t.Errorf("just before the margin: got another token")
				}
				pass(time.Nanosecond)
				var (
					wg   sync.WaitGroup
					late string
				)
				wg.Go(func() { late = ask(t, c, Request{Resource: vault}) })
				synctest.Wait()
				close(held)
				wg.Wait()
				if late == first {
					t.Errorf("at the margin: got the old token")
				}
				starts(t, f, 2)
			})
		})
	}
}

func TestCacheKeysTokensByIdentityTenantAndResource(t *testing.T) {
	id := "/subscriptions/s/resourcegroups/g/providers/x/y/Z"
	requests := []Request{
		{Resource: vault},
		{Resource: vault + "/"},
		{Resource: strings.ToUpper(vault)},
		{Resource: vault, Tenant: "contoso.com"},
		{Resource: vault, Identity: Selector{ClientID, "a"}},
		{Resource: vault, Identity: Selector{ObjectID, "a"}},
		{Resource: vault, Identity: Selector{ResourceID, id}},
	}
	f := lasting(time.Hour)
	bubble(t, f, CacheOptions{}, func(t *testing.T, c *Cache) {
		seen := map[string]bool{}
		for range 2 {
			for _, r := range requests {
				seen[ask(t, c, r)] = true
			}
		}
		ask(t, c, Request{Resource: vault, Identity: Selector{ResourceID, strings.ToUpper(id)}})
		starts(t, f, len(requests))
		if len(seen) != len(requests) {
			t.Errorf("%d different tokens, want %d", len(seen), len(requests))
		}
		if diff := cmp.Diff(requests, f.asked); diff != "" {
			t.Errorf("the source saw other requests than were made (-made +seen):\n%s", diff)
		}
	})
}

func TestCacheRefusesATokenThatIsEmptyOrPast(t *testing.T) {
	for name, token := range map[string]func() Token{
		"empty":       func() Token { return Token{ExpiresOn: time.Now().Add(time.Hour)} },
		"past":        func() Token { return Token{Value: NewSecret("x"), ExpiresOn: time.Now().Add(-time.Second)} },
		"ending now":  func() Token { return Token{Value: NewSecret("x"), ExpiresOn: time.Now()} },
		"without end": func() Token { return Token{Value: NewSecret("x")} },
		"zero":        func() Token { return Token{} },
	} {
		t.Run(name, func(t *testing.T) {
			f := &fakeSource{answer: func(context.Context, Request) (Token, error) { return token(), nil }}
			bubble(t, f, CacheOptions{}, func(t *testing.T, c *Cache) {
				got, err := c.Token(t.Context(), Request{Resource: vault})
				if !errors.Is(err, ErrUnavailable) {
					t.Errorf("error %v, want ErrUnavailable", err)
				}
				if diff := cmp.Diff(Token{}, got); diff != "" {
					t.Errorf("a token beside the error:\n%s", diff)
				}
				if all := c.Snapshot(); len(all) != 0 {
					t.Errorf("kept: %+v", all)
				}
			})
		})
	}
}

func TestCacheRemembersAFailureForTwoSeconds(t *testing.T) {
	for _, fresh := range []bool{false, true} {
		t.Run(fmt.Sprintf("fresh=%t", fresh), func(t *testing.T) {
			f := &fakeSource{answer: func(context.Context, Request) (Token, error) {
				return Token{}, &Error{Kind: ErrSignInRequired, Message: "nobody is signed in", Command: "az login"}
			}}
			bubble(t, f, CacheOptions{}, func(t *testing.T, c *Cache) {
				fails := func(resource string) {
					t.Helper()
					_, err := c.Token(t.Context(), Request{Resource: resource, Fresh: fresh})
					if e, ok := errors.AsType[*Error](err); !ok || e.Command != "az login" || !errors.Is(err, ErrSignInRequired) {
						t.Errorf("error %v, want the source's own", err)
					}
				}
				fails(vault)
				pass(2*time.Second - time.Nanosecond)
				fails(vault)
				starts(t, f, 1)
				fails("https://graph.microsoft.com")
				starts(t, f, 2)
				pass(time.Nanosecond)
				fails(vault)
				starts(t, f, 3)
			})
		})
	}
}

func TestCacheForgetsAFailureWhenTheClockIsSetBack(t *testing.T) {
	now := time.Now()
	f := &fakeSource{answer: func(context.Context, Request) (Token, error) { return Token{}, ErrUnavailable }}
	c := Cached(f, CacheOptions{Now: func() time.Time { return now }})
	defer c.Close()
	for range 2 {
		if _, err := c.Token(t.Context(), Request{Resource: vault}); !errors.Is(err, ErrUnavailable) {
			t.Errorf("error %v, want ErrUnavailable", err)
		}
		now = now.Add(-time.Hour)
	}
	starts(t, f, 2)
}

func TestCacheGivesAStoredTokenWhenTheSourceIsUnavailable(t *testing.T) {
	f := lasting(time.Hour)
	works := f.answer
	bubble(t, f, CacheOptions{}, func(t *testing.T, c *Cache) {
		first := ask(t, c, Request{Resource: vault})
		f.says(func(context.Context, Request) (Token, error) {
			return Token{}, fmt.Errorf("no route: %w", ErrUnavailable)
		})
		pass(56 * time.Minute)
		before := -1 // with refreshes in the background, the last of which is a while ago
		for before != f.starts() {
			before = f.starts()
			pass(pause)
		}
		begin := time.Now()
		for range 3 { // the first has the source asked, and none waits for it
			if got := ask(t, c, Request{Resource: vault}); got != first {
				t.Errorf("got %q, want the stored token", got)
			}
			synctest.Wait()
		}
		if waited := time.Since(begin); waited != 0 {
			t.Errorf("waited %v for a source that did not answer last time", waited)
		}
		starts(t, f, before+1)
		if _, err := c.Token(t.Context(), Request{Resource: vault, Fresh: true}); !errors.Is(err, ErrUnavailable) {
			t.Errorf("fresh: error %v, want ErrUnavailable", err)
		}
		pass(4 * time.Minute) // the stored one ends now
		if _, err := c.Token(t.Context(), Request{Resource: vault}); !errors.Is(err, ErrUnavailable) {
			t.Errorf("after its end: error %v, want ErrUnavailable", err)
		}
		f.says(works)
		pass(memory)
		if got := ask(t, c, Request{Resource: vault}); got == first {
			t.Errorf("got the expired token")
		}
	})
}

func TestCacheGivesNoStoredTokenWhenAPersonMustAct(t *testing.T) {
	f := lasting(time.Hour)
	bubble(t, f, CacheOptions{}, func(t *testing.T, c *Cache) {
		ask(t, c, Request{Resource: vault})
		f.says(func(context.Context, Request) (Token, error) { return Token{}, ErrSignInRequired })
		pass(56 * time.Minute)
		if _, err := c.Token(t.Context(), Request{Resource: vault}); !errors.Is(err, ErrSignInRequired) {
			t.Errorf("error %v, want ErrSignInRequired", err)
		}
	})
}

func TestCacheFreshPassesOverTheStoredToken(t *testing.T) {
	f := lasting(time.Hour)
	bubble(t, f, CacheOptions{}, func(t *testing.T, c *Cache) {
		first := ask(t, c, Request{Resource: vault})
		second := ask(t, c, Request{Resource: vault, Fresh: true})
		if first == second {
			t.Error("fresh: got the stored token")
		}
		if got := ask(t, c, Request{Resource: vault}); got != second {
			t.Errorf("afterwards: got %q, want the fresh token", got)
		}
		starts(t, f, 2)
		if !f.asked[1].Fresh {
			t.Error("the source was not told that it must be fresh")
		}
	})
}

func TestCacheSnapshotAndDrop(t *testing.T) {
	f := lasting(time.Hour)
	works := f.answer
	bubble(t, f, CacheOptions{}, func(t *testing.T, c *Cache) {
		for _, r := range []Request{
			{Resource: "b", Tenant: "t"},
			{Resource: "b", Identity: Selector{ObjectID, "o"}},
			{Resource: "b", Identity: Selector{ClientID, "c"}},
			{Resource: "b"},
			{Resource: "a"},
		} {
			ask(t, c, r)
		}
		f.says(func(context.Context, Request) (Token, error) { return Token{}, ErrSignInRequired })
		if _, err := c.Token(t.Context(), Request{Resource: "c"}); !errors.Is(err, ErrSignInRequired) {
			t.Errorf("error %v, want ErrSignInRequired", err)
		}
		f.says(works)

		begin := time.Now().Round(0)
		end := begin.Add(time.Hour)
		want := []Entry{
			{Resource: "a", ExpiresOn: end, RefreshedAt: begin},
			{Resource: "b", ExpiresOn: end, RefreshedAt: begin},
			{Resource: "b", Tenant: "t", ExpiresOn: end, RefreshedAt: begin},
			{Resource: "b", Identity: Selector{ClientID, "c"}, ExpiresOn: end, RefreshedAt: begin},
			{Resource: "b", Identity: Selector{ObjectID, "o"}, ExpiresOn: end, RefreshedAt: begin},
		}
		for i, e := range c.Snapshot() {
			if e.NextRefresh.Before(begin.Add(48*time.Minute)) || e.NextRefresh.After(begin.Add(51*time.Minute)) {
				t.Errorf("%+v: next refresh is not after 80 to 85 %% of the hour", e)
			}
			want[i].NextRefresh = e.NextRefresh
		}
		if diff := cmp.Diff(want, c.Snapshot()); diff != "" {
			t.Errorf("Snapshot (-want +got):\n%s", diff)
		}
		if got := c.Drop(func(e Entry) bool { return e.Resource != "a" }); got != 4 {
			t.Errorf("Drop = %d, want 4", got)
		}
		if diff := cmp.Diff(want[:1], c.Snapshot()); diff != "" {
			t.Errorf("Snapshot after Drop (-want +got):\n%s", diff)
		}
		ask(t, c, Request{Resource: "c"}) // its failure was forgotten too
		starts(t, f, 7)
		pass(2 * time.Hour) // they were in use, so they are refreshed once
		if got := c.Snapshot(); len(got) != 0 {
			t.Errorf("Snapshot when all have expired: %+v", got)
		}
	})
}

func TestCacheIsBounded(t *testing.T) {
	f := lasting(time.Hour)
	bubble(t, f, CacheOptions{MaxKeys: 3}, func(t *testing.T, c *Cache) {
		for _, r := range []string{"a", "b", "c"} {
			ask(t, c, Request{Resource: r})
			pass(time.Second)
		}
		ask(t, c, Request{Resource: "d"}) // in place of a, which ends first
		for _, r := range []string{"b", "c", "d"} {
			ask(t, c, Request{Resource: r})
		}
		starts(t, f, 4)
		for _, r := range []string{"b", "c", "d"} {
			unused(c, r)
		}
		pass(time.Hour - 2*time.Second) // b ends; c lives
		ask(t, c, Request{Resource: "e"})
		var left []string
		for _, e := range c.Snapshot() {
			left = append(left, e.Resource)
		}
		if diff := cmp.Diff([]string{"c", "d", "e"}, left); diff != "" {
			t.Errorf("kept (-want +got):\n%s", diff)
		}
	})
}

func TestCacheHitAllocatesNothing(t *testing.T) {
	c := Cached(lasting(time.Hour), CacheOptions{})
	defer c.Close()
	ctx := t.Context()
	for _, r := range []Request{
		{Resource: vault},
		{Resource: vault, Tenant: "contoso.com", Identity: Selector{ResourceID, "/subscriptions/s/resourcegroups/g"}},
	} {
		ask(t, c, r)
		got := testing.AllocsPerRun(1000, func() {
			tok, err := c.Token(ctx, r)
			runtime.KeepAlive(tok)
			if err != nil {
				t.Error(err)
			}
		})
		if got != 0 {
			t.Errorf("%+v: %v allocations, want none", r, got)
		}
	}
}

// BenchmarkCacheHit compares a hit with what it cannot do without, one lookup in a map under a lock, and prints the ratio.
func BenchmarkCacheHit(b *testing.B) {
	c := Cached(lasting(time.Hour), CacheOptions{})
	defer c.Close()
	r := Request{Resource: vault}
	if _, err := c.Token(b.Context(), r); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Token(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
	begin := time.Now()
	for range b.N {
		c.mu.Lock()
		s := c.slots[keyOf(r)]
		c.mu.Unlock()
		runtime.KeepAlive(s)
	}
	lookups := time.Since(begin)
	b.ReportMetric(float64(b.Elapsed())/float64(max(lookups, 1)), "hit/lookup")
}
