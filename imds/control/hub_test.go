package control

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
)

// numbered publishes activities from first to last, the number for the resource.
func numbered(h *Hub, first, last int) {
	for i := first; i <= last; i++ {
		h.Publish(Activity{Resource: strconv.Itoa(i)})
	}
}

// next is what a watcher gets next, as first..last and the number missed.
func next(t *testing.T, w *Watcher) string {
	t.Helper()
	all, missed, err := w.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text := ""
	if len(all) > 0 {
		text = all[0].Resource + ".." + all[len(all)-1].Resource
	}
	return text + " missed " + strconv.FormatUint(missed, 10)
}

// watch fails the test when one cannot watch.
func watch(t *testing.T, h *Hub) *Watcher {
	t.Helper()
	w, err := h.Watch()
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestHub(t *testing.T) {
	var h Hub
	numbered(&h, 1, 2) // nobody watches
	a := watch(t, &h)
	numbered(&h, 3, 4)
	b := watch(t, &h)
	numbered(&h, 5, 5)
	got := []string{next(t, a), next(t, b)}
	a.Close()
	numbered(&h, 6, 7)
	got = append(got, next(t, b))
	if diff := cmp.Diff([]string{"3..5 missed 0", "5..5 missed 0", "6..7 missed 0"}, got); diff != "" {
		t.Errorf("activities (-want +got):\n%s", diff)
	}
	b.Close()
	b.Close()
	if len(h.watchers) != 0 {
		t.Errorf("%d watchers are left", len(h.watchers))
	}
}

// TestHubCountsWhatIsMissed: a watcher that does not read holds up nobody, and learns how many it missed, in their place.
func TestHubCountsWhatIsMissed(t *testing.T) {
	var h Hub
	slow, quick := watch(t, &h), watch(t, &h)
	numbered(&h, 1, maxWaiting)
	got := []string{next(t, quick)}
	numbered(&h, maxWaiting+1, maxWaiting+3)
	got = append(got, next(t, quick), next(t, slow))
	numbered(&h, 1000, 1001)
	got = append(got, next(t, slow))
	want := []string{"1..256 missed 0", "257..259 missed 0", "1..256 missed 3", "1000..1001 missed 0"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("activities (-want +got):\n%s", diff)
	}
}

func TestHubIsBounded(t *testing.T) {
	var h Hub
	var all []*Watcher
	for range maxWatchers {
		all = append(all, watch(t, &h))
	}
	if _, err := h.Watch(); !errors.Is(err, errTooManyWatchers) {
		t.Errorf("one more: %v, want %v", err, errTooManyWatchers)
	}
	all[3].Close()
	watch(t, &h)
}

func TestWatcherWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h Hub
		w := watch(t, &h)
		ctx, cancel := context.WithCancel(t.Context())
		got, failed := make(chan []Activity, 1), make(chan error, 1)
		go func() {
			all, _, err := w.Next(ctx)
			got <- all
			_, _, err2 := w.Next(ctx)
			failed <- errors.Join(err, err2)
		}()
		synctest.Wait()
		numbered(&h, 1, 1)
		if all := <-got; len(all) != 1 || all[0].Resource != "1" {
			t.Errorf("the watcher got %v", all)
		}
		synctest.Wait()
		cancel()
		if err := <-failed; !errors.Is(err, context.Canceled) {
			t.Errorf("the watcher ended with %v", err)
		}
	})
}
