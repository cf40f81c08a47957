package holder

import (
	"maps"
	"slices"
	"time"
)

// When and how often what is missing is put back.
const (
	// lookEvery is how often the kernel is compared with the plan when it tells of no change. Of those by iptables-legacy it
	// tells nothing.
	lookEvery = time.Minute
	// quiet is how long nothing must change before the kernel is looked at: a reload of firewalld makes hundreds of changes
	// within moments, and what it takes away it often puts back itself.
	quiet = 250 * time.Millisecond
	// noisy is how long changes are waited for that do not end.
	noisy = 2 * time.Second
	// maxRepairs is how many times the same thing is put back at once. A start of the machine, with Docker, firewalld and a
	// network manager started one after another, takes a few; more is not chance.
	maxRepairs = 5
	// forgiven is how long ago the last repair of a thing is when it is no longer counted. It is longer than maxPause: who
	// waits until we try again is not forgiven.
	forgiven = 2 * maxPause
	// firstPause and maxPause are between tries, the first doubled each time: soon enough when somebody has mended what was
	// wrong, and seldom enough to be no burden on a machine where nobody does.
	firstPause = 10 * time.Second
	maxPause   = 30 * time.Minute
)

// fights counts what has to be put back again and again. The zero value has counted nothing.
type fights struct {
	things map[string]thing // by the command that makes or removes it
	failed int              // tries that failed, one after another
}

// thing is something that had to be put back.
type thing struct {
	repairs int
	last    time.Time
}

// count counts a repair of things at a time, and returns those that have just come to be fought over, and how long to wait
// before any is put back once more.
func (f *fights) count(what []string, now time.Time) (begun []string, pause time.Duration) {
	f.failed = 0
	f.forgive(now)
	if f.things == nil {
		f.things = map[string]thing{}
	}
	for _, name := range what {
		t := thing{f.things[name].repairs + 1, now}
		f.things[name] = t
		if t.repairs == maxRepairs+1 {
			begun = append(begun, name)
		}
		pause = max(pause, pauseAfter(t.repairs-maxRepairs))
	}
	return begun, pause
}

// fail counts a try that failed, and returns how long to wait before the next: it is made at each look, while those are not
// nearer to one another than that.
func (f *fights) fail() time.Duration {
	f.failed++
	return min(pauseAfter(f.failed), lookEvery)
}

// over is what is fought over.
func (f *fights) over(now time.Time) []string {
	f.forgive(now)
	var names []string
	for name, t := range f.things {
		if t.repairs > maxRepairs {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (f *fights) forgive(now time.Time) {
	maps.DeleteFunc(f.things, func(_ string, t thing) bool { return now.Sub(t.last) >= forgiven })
}

// pauseAfter is the pause after a try, from 1; before there was one there is none.
func pauseAfter(try int) time.Duration {
	pause := time.Duration(0)
	for n := 0; n < try && pause < maxPause; n++ {
		pause = min(max(2*pause, firstPause), maxPause)
	}
	return pause
}
