package main

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// output keeps what each Write brought. While it is held, a Write waits.
type output struct {
	mu     sync.Mutex
	held   chan struct{}
	writes []string
}

func (o *output) Write(b []byte) (int, error) {
	if o.held != nil {
		<-o.held
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.writes = append(o.writes, string(bytes.Clone(b)))
	return len(b), nil
}

func (o *output) text() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Join(o.writes, "|")
}

func say(t *testing.T, w *logWriter, line string) {
	t.Helper()
	if n, err := w.Write([]byte(line)); n != len(line) || err != nil {
		t.Errorf("Write = %d, %v", n, err)
	}
}

func TestLogWriterGathersLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out output
		w := newLogWriter(&out)
		say(t, w, "a\n")
		say(t, w, "b\n")
		<-time.After(2 * lingerTime)
		say(t, w, "c\n")
		w.Close()
		if diff := cmp.Diff("a\nb\n|c\n", out.text()); diff != "" {
			t.Errorf("writes (-want +got):\n%s", diff)
		}
	})
}

// TestLogWriterDoesNotWait holds the output: writers go on, what is too much is counted, and the count is said.
func TestLogWriterDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := output{held: make(chan struct{})}
		w := newLogWriter(&out)
		say(t, w, "first\n")
		<-time.After(2 * lingerTime) // it is being written, and waits
		line := strings.Repeat("x", 1023) + "\n"
		for range waitingBytes/len(line) + 7 {
			say(t, w, line)
		}
		close(out.held)
		w.Close()
		if got := out.text(); !strings.HasSuffix(got, "azimds: 7 log lines were dropped: nobody read them in time\n") ||
			strings.Count(got, line) != waitingBytes/len(line) {
			t.Errorf("%d bytes were written, ending with %q", len(got), got[max(0, len(got)-100):])
		}
	})
}

// TestLogWriterEndsAnyway wants the end of a process not to wait for an output that takes nothing.
func TestLogWriterEndsAnyway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := output{held: make(chan struct{})}
		w := newLogWriter(&out)
		say(t, w, "first\n")
		w.Close()
		if got := out.text(); got != "" {
			t.Errorf("%q was written", got)
		}
		close(out.held) // for the writer to end with the test
		<-w.done
	})
}
