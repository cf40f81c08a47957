package holder

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"azimds/netsetup"

	"github.com/google/go-cmp/cmp"
)

// fakePatient is a host in which pieces go missing.
type fakePatient struct {
	mu      sync.Mutex
	missing []string
	err     error       // of each try to put something back
	again   bool        // what is put back is gone at once
	looked  []time.Time // when it was
}

func (p *fakePatient) Mend(_ context.Context, plan netsetup.Plan, _ syscall.Conn, _ func(*net.TCPListener) error) (netsetup.Mended, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.looked = append(p.looked, time.Now())
	found := netsetup.Mended{Plan: plan, Missing: p.missing}
	if p.err != nil {
		return found, p.err
	}
	if !p.again {
		p.missing = nil
	}
	return found, nil
}

// lose has a piece missing from now on.
func (p *fakePatient) lose(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.missing = []string{what}
}

// looks is how often it was looked at since it was last asked.
func (p *fakePatient) looks() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.looked)
	p.looked = nil
	return n
}

// ward is a healer at work in a bubble.
type ward struct {
	*healer
	host    *fakePatient
	log     *bytes.Buffer
	changed chan struct{}
}

// heals runs a test with a healer, whose clock is synctest's.
func heals(t *testing.T, test func(t *testing.T, w ward)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := ward{host: &fakePatient{}, log: new(bytes.Buffer), changed: make(chan struct{}, 1)}
		h := &Holder{options: Options{Explain: func(err error) Failure { return Failure{Message: err.Error()} }, Log: slog.New(slog.NewTextHandler(w.log, nil))}}
		w.healer = &h.healer
		w.healer.host, w.holder, w.proof = w.host, h, make(chan struct{}, 1)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			w.run(ctx, w.changed)
		}()
		test(t, w)
		cancel()
		<-ended
	})
}

// change tells of a change.
func (w ward) change() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
	synctest.Wait()
}

// pass lets time pass, in which nobody sleeps but in the bubble.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// said is how often the log says something.
func (w ward) said(what string) int { return strings.Count(w.log.String(), what) }

func TestHealerLooks(t *testing.T) {
	heals(t, func(t *testing.T, w ward) {
		pass(10*lookEvery + time.Second)
		if n := w.host.looks(); n != 10 {
			t.Errorf("in ten minutes without a change it looked %d times", n)
		}
		w.change()
		if n := w.host.looks(); n != 0 {
			t.Error("it looked at once")
		}
		pass(quiet)
		if n := w.host.looks(); n != 1 {
			t.Errorf("after a change it looked %d times", n)
		}
		for range 500 { // of a firewall that is loaded anew
			w.change()
			pass(time.Millisecond)
		}
		pass(quiet)
		if n := w.host.looks(); n != 1 {
			t.Errorf("after many changes in half a second it looked %d times", n)
		}
		for range 1000 { // without an end
			w.change()
			pass(10 * time.Millisecond)
		}
		if n := w.host.looks(); n < 4 || n > 5 {
			t.Errorf("in ten seconds of changes it looked %d times", n)
		}
		if w.log.Len() > 0 || w.told() != nil {
			t.Errorf("nothing was missing, and it says %q, %+v", w.log, w.told())
		}
	})
}

func TestHealerRepairs(t *testing.T) {
	heals(t, func(t *testing.T, w ward) {
		w.host.lose("ip rule add")
		w.change()
		pass(quiet)
		if w.said(`level=WARN msg="repaired the interception" missing="ip rule add"`) != 1 || strings.Count(w.log.String(), "\n") != 1 {
			t.Errorf("it says:\n%s", w.log)
		}
		want := &Repairs{Count: 1, Last: time.Now(), Missing: []string{"ip rule add"}}
		if diff := cmp.Diff(want, w.told()); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
		select {
		case <-w.proof:
		default:
			t.Error("no proof is asked for")
		}
		w.change() // its own
		pass(quiet)
		pass(lookEvery)
		if w.said("repaired") != 1 {
			t.Errorf("it says:\n%s", w.log)
		}
		w.host.lose("ip addr add") // of which nothing is told
		pass(lookEvery)
		if w.said(`missing="ip addr add"`) != 1 || w.told().Count != 2 {
			t.Errorf("it says:\n%s", w.log)
		}
	})
}

// What is taken away again and again is named once, and put back more and more seldom, however often something changes; it is
// forgotten when it has stayed.
func TestHealerIsNoFighter(t *testing.T) {
	heals(t, func(t *testing.T, w ward) {
		w.host.lose("iptables -I")
		w.host.again = true
		const fight = 24 * time.Hour
		for range int(fight / time.Second) { // each repair, and each thing that undoes it, is a change
			w.change()
			pass(time.Second)
		}
		tries := w.host.looks()
		if most := maxRepairs + 8 + int(fight/maxPause); tries > most || tries < maxRepairs+8 {
			t.Errorf("tried %d times in a day, at most %d are wanted", tries, most)
		}
		if w.said("level=ERROR") != 1 || w.said(`msg="something removes again and again what the interception needs" missing="iptables -I"`) != 1 {
			t.Errorf("it says:\n%s", w.log)
		}
		told := w.told()
		if !cmp.Equal(told.Over, []string{"iptables -I"}) || time.Until(told.Next) <= 0 || time.Until(told.Next) > maxPause {
			t.Errorf("told %+v", told)
		}
		w.host.mu.Lock()
		w.host.again = false
		w.host.mu.Unlock()
		pass(forgiven + maxPause + lookEvery)
		if told := w.told(); len(told.Over) > 0 || !told.Next.IsZero() {
			t.Errorf("long after it ended: %+v", told)
		}
		w.log.Reset()
		w.host.lose("iptables -I")
		w.change()
		pass(quiet)
		if w.said("repaired") != 1 || w.said("ERROR") != 0 {
			t.Errorf("then it says:\n%s", w.log)
		}
	})
}

// A repair that fails is said once for each reason, and tried again, but not at each change.
func TestHealerFails(t *testing.T) {
	heals(t, func(t *testing.T, w ward) {
		w.host.lose("ip addr add")
		w.host.err = errors.New("the loopback device is down")
		for range 600 {
			w.change()
			pass(time.Second)
		}
		if tries := w.host.looks(); tries < 10 || tries > 13 {
			t.Errorf("tried %d times in ten minutes", tries)
		}
		if w.said(`level=WARN msg="cannot repair the interception" missing="ip addr add" error="the loopback device is down" next=10s`) != 1 ||
			strings.Count(w.log.String(), "\n") != 1 {
			t.Errorf("it says:\n%s", w.log)
		}
		if told := w.told(); told.Error != "the loopback device is down" || told.Count != 0 || told.Next.IsZero() {
			t.Errorf("told %+v", told)
		}
		w.host.mu.Lock()
		w.host.err = nil
		w.host.mu.Unlock()
		pass(lookEvery)
		if told := w.told(); w.said("repaired the interception") != 1 || told.Error != "" || told.Count != 1 {
			t.Errorf("then it says:\n%s\n%+v", w.log, told)
		}
	})
}

// The end does not wait for things to settle.
func TestHealerEnds(t *testing.T) {
	heals(t, func(t *testing.T, w ward) {
		w.change()
		began := time.Now()
		t.Cleanup(func() {
			if n := w.host.looks(); n != 0 || time.Since(began) != 0 {
				t.Errorf("it ended after %s and looked %d times", time.Since(began), n)
			}
		})
	})
}
