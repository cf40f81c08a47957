package holder

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestFightsPauses(t *testing.T) {
	var f fights
	now := time.Unix(0, 0)
	var pauses []time.Duration
	for n := 1; n <= maxRepairs+11; n++ {
		begun, pause := f.count([]string{"rule"}, now)
		pauses = append(pauses, pause)
		if named := len(begun) > 0; named != (n == maxRepairs+1) {
			t.Errorf("repair %d is named: %v", n, named)
		}
		now = now.Add(max(pause, time.Second))
	}
	want := []time.Duration{0, 0, 0, 0, 0}
	for _, s := range []int{10, 20, 40, 80, 160, 320, 640, 1280, 1800, 1800, 1800} {
		want = append(want, time.Duration(s)*time.Second)
	}
	if diff := cmp.Diff(want, pauses); diff != "" {
		t.Errorf("pauses (-want +got):\n%s", diff)
	}
}

// What is repaired seldom is no fight, each thing is counted alone, and a fight that is long over is forgiven.
func TestFightsAreForgiven(t *testing.T) {
	var f fights
	now := time.Unix(0, 0)
	for range 20 {
		if begun, pause := f.count([]string{"seldom"}, now); pause != 0 || begun != nil {
			t.Fatalf("paused for %s", pause)
		}
		now = now.Add(forgiven)
	}
	for n := range maxRepairs + 1 {
		f.count([]string{"often", string(rune('a' + n))}, now)
	}
	if over := f.over(now); !slices.Equal(over, []string{"often"}) {
		t.Errorf("fought over: %q", over)
	}
	if _, pause := f.count([]string{"a"}, now); pause != 0 {
		t.Errorf("another thing waits %s", pause)
	}
	if over := f.over(now.Add(forgiven - 1)); len(over) != 1 {
		t.Errorf("soon after: %q", over)
	}
	if over := f.over(now.Add(forgiven)); len(over) != 0 || len(f.things) != 0 {
		t.Errorf("long after: %q, %d things kept", over, len(f.things))
	}
	if begun, pause := f.count([]string{"often"}, now.Add(forgiven)); len(begun) != 0 || pause != 0 {
		t.Errorf("again: %q, %s", begun, pause)
	}
}

func TestFightsFail(t *testing.T) {
	var f fights
	for _, want := range []time.Duration{10 * time.Second, 20 * time.Second, 40 * time.Second, time.Minute, time.Minute} {
		if pause := f.fail(); pause != want {
			t.Errorf("paused for %s, want %s", pause, want)
		}
	}
	f.count([]string{"rule"}, time.Unix(0, 0))
	if pause := f.fail(); pause != firstPause {
		t.Errorf("after a repair paused for %s", pause)
	}
}
