package systemd

import (
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
)

const (
	// waitingBytes is how much may wait for a journald that does not take it: one that is stopped, or that limits our rate.
	waitingBytes = 256 << 10
	// farewellTime is how long the last entries may take when the process ends.
	farewellTime = 500 * time.Millisecond
)

// StderrIsJournal reports whether standard error leads to journald, and journald takes entries with fields as well.
// JOURNAL_STREAM alone says nothing, since programs inherit it: its device and inode must be those of standard error
// (systemd.exec(5)).
func StderrIsJournal() bool {
	stream, err := journal.StderrIsJournalStream()
	return err == nil && stream && journal.Enabled()
}

// Journal sends entries to journald from a goroutine of its own: neither a request nor a take-down of the network waits for
// journald. When too much waits, entries are dropped, and how many is said as soon as journald takes entries again. A process
// that is killed loses the entries of its last moment.
type Journal struct {
	send func(message string, p journal.Priority, fields map[string]string) error

	mu      sync.Mutex
	waiting []entry
	size    int // of waiting, in bytes
	dropped int
	closed  bool

	wake chan struct{} // holds one: something waits, or closed is set
	done chan struct{} // closed when everything is sent
}

// entry is one entry for journald.
type entry struct {
	message  string
	priority journal.Priority
	fields   map[string]string
}

// size is about how many bytes the entry takes.
func (e entry) size() int {
	n := len(e.message)
	for name, value := range e.fields {
		n += len(name) + len(value)
	}
	return n
}

// OpenJournal starts sending to journald; [Journal.Close] ends it.
func OpenJournal() *Journal { return open(journal.Send) }

func open(send func(string, journal.Priority, map[string]string) error) *Journal {
	j := &Journal{send: send, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go j.run()
	return j
}

// Handler returns a handler that sends records of a level and above.
func (j *Journal) Handler(level slog.Leveler) slog.Handler { return &handler{journal: j, level: level} }

// Close has what waits sent, for as long as half a second. Records that come later are dropped.
func (j *Journal) Close() {
	j.mu.Lock()
	j.closed = true
	j.signal()
	j.mu.Unlock()
	select {
	case <-j.done:
	case <-time.After(farewellTime):
	}
}

// put takes an entry. It never blocks.
func (j *Journal) put(e entry) {
	size := e.size()
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed || j.size+size > waitingBytes {
		j.dropped++
		return
	}
	j.waiting, j.size = append(j.waiting, e), j.size+size
	j.signal()
}

func (j *Journal) signal() {
	select {
	case j.wake <- struct{}{}:
	default: // it is awake already
	}
}

// run sends until the journal is closed and nothing waits.
func (j *Journal) run() {
	defer close(j.done)
	for range j.wake {
		entries, dropped, closed := j.take()
		for _, e := range entries {
			if j.send(e.message, e.priority, e.fields) != nil {
				dropped++
			}
		}
		if dropped > 0 && j.sayDropped(dropped) != nil {
			j.mu.Lock()
			j.dropped += dropped // to be said with the next entry
			j.mu.Unlock()
		}
		if closed {
			return
		}
	}
}

// take takes everything that waits, and how many entries were dropped since the last time.
func (j *Journal) take() (entries []entry, dropped int, closed bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	entries, dropped = j.waiting, j.dropped
	j.waiting, j.size, j.dropped = nil, 0, 0
	return entries, dropped, j.closed
}

func (j *Journal) sayDropped(n int) error {
	return j.send(fmt.Sprintf("%d log entries were dropped: journald did not take them in time", n), journal.PriWarning,
		map[string]string{"SYSLOG_IDENTIFIER": identifier, "AZIMDS_DROPPED": strconv.Itoa(n)})
}
