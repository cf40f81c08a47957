package main

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	// lingerTime is how long a log line may wait for others, to be written together with them.
	lingerTime = 5 * time.Millisecond
	// waitingBytes is how much may wait for an output that does not take it: a terminal that is held, a pager, a full pipe.
	waitingBytes = 256 << 10
	// farewellTime is how long the last lines may take when the process ends.
	farewellTime = 500 * time.Millisecond
)

// logWriter writes log lines from a goroutine of its own: neither a request nor a take-down of the network waits for who
// reads the log. Lines that come within a few milliseconds are written together. When too much waits, lines are dropped, and
// how many is said as soon as somebody reads again. A process that is killed loses the lines of its last moment.
type logWriter struct {
	out io.Writer

	mu      sync.Mutex
	waiting bytes.Buffer
	dropped int
	closed  bool

	wake chan struct{} // holds one: something waits, or closed is set
	done chan struct{} // closed when everything is written
}

// newLogWriter starts writing to out; [logWriter.Close] ends it.
func newLogWriter(out io.Writer) *logWriter {
	w := &logWriter{out: out, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go w.run()
	return w
}

// Write takes a whole line. It never blocks and never fails.
func (w *logWriter) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.waiting.Len()+len(line) > waitingBytes {
		w.dropped++
		return len(line), nil
	}
	w.waiting.Write(line)
	w.signal()
	return len(line), nil
}

// Close has what waits written, for as long as [farewellTime]. Lines that come later are dropped.
func (w *logWriter) Close() {
	w.mu.Lock()
	w.closed = true
	w.signal()
	w.mu.Unlock()
	select {
	case <-w.done:
	case <-time.After(farewellTime):
	}
}

func (w *logWriter) signal() {
	select {
	case w.wake <- struct{}{}:
	default: // it is awake already
	}
}

// run writes until the writer is closed and nothing waits. What cannot be written can be told to nobody.
func (w *logWriter) run() {
	defer close(w.done)
	for range w.wake {
		chunk, closed := w.take()
		if len(chunk) > 0 {
			_, _ = w.out.Write(chunk)
		}
		if closed {
			return
		}
	}
}

// take takes everything that waits, after a moment for more to come.
func (w *logWriter) take() (chunk []byte, closed bool) {
	w.mu.Lock()
	closed = w.closed
	w.mu.Unlock()
	if !closed {
		<-time.After(lingerTime)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	chunk = bytes.Clone(w.waiting.Bytes())
	w.waiting.Reset()
	if w.dropped > 0 {
		chunk = fmt.Appendf(chunk, "azimds: %d log lines were dropped: nobody read them in time\n", w.dropped)
		w.dropped = 0
	}
	return chunk, w.closed
}
