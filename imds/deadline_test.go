package imds

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// What net/http asks for on a kept connection moves the timer twice a request, not six times.
func TestDeadlineMovesLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		moves := 0
		d := deadline{set: func(time.Time) error { moves++; return nil }}
		in := func(seconds int) time.Time { return time.Now().Add(time.Duration(seconds) * time.Second) }
		long, none := time.Unix(1, 0), time.Time{}
		request := func() {
			for _, want := range []time.Time{in(5), in(10), none, long, none, in(120)} {
				if err := d.move(want); err != nil {
					t.Fatal(err)
				}
			}
			<-time.After(time.Millisecond)
		}
		request()
		moves = 0
		for range 100 {
			request()
		}
		if moves != 200 {
			t.Errorf("%d moves in 100 requests", moves)
		}
	})
}

// However it is moved, a deadline never rings later than is wanted, and whom it wakes too early is not woken twice.
func TestDeadlineIsNeverLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var kept time.Time
		d := deadline{set: func(t time.Time) error { kept = t; return nil }}
		random := rand.New(rand.NewPCG(1, 2))
		for range 10_000 {
			<-time.After(time.Duration(random.IntN(3)) * time.Second)
			var want time.Time
			switch random.IntN(4) {
			case 0:
			case 1:
				want = time.Unix(1, 0)
			default:
				want = time.Now().Add(time.Duration(random.IntN(10)-1) * time.Second)
			}
			if err := d.move(want); err != nil {
				t.Fatal(err)
			}
			if !want.IsZero() && (kept.IsZero() || kept.After(want)) {
				t.Fatalf("rings at %v, wanted at %v", kept, want)
			}
			if random.IntN(3) > 0 || kept.IsZero() || kept.After(time.Now()) {
				continue
			}
			early, err := d.early()
			if due := !want.IsZero() && !want.After(time.Now()); early == due || err != nil {
				t.Fatalf("early is %v, %v; wanted at %v, now %v", early, err, want, time.Now())
			}
			if early && !kept.Equal(want) {
				t.Fatalf("rings again at %v, wanted at %v", kept, want)
			}
		}
	})
}
