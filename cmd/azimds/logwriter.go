package main

import (
	"bytes"
	"io"
	"sync"
	"time"
)

const (
	// lingerTime is how long a log line may wait for others, to be written together with them.
	lingerTime = 5 * time.Millisecond
	// lingerBytes is how much may wait; the line that goes beyond is written at once, and with it all that waits.
	lingerBytes = 32 << 10
)

// logWriter gathers what is written to it for a few milliseconds, so that a busy server does not make a system call for
// each line. Nothing is dropped: who writes faster than the output takes it, waits. Only what kills the process without a
// chance to close loses the lines of the last moment.
type logWriter struct {
	out io.Writer

	mu      sync.Mutex
	waiting bytes.Buffer
	timer   *time.Timer // runs while something waits; nil before the first line
	err     error       // the first that out gave and nobody was told
	closed  bool
}

func newLogWriter(out io.Writer) *logWriter { return &logWriter{out: out} }

// Write takes a whole line. Its error may be about an earlier one.
func (w *logWriter) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	first := w.waiting.Len() == 0
	w.waiting.Write(line)
	switch {
	case w.closed || w.waiting.Len() > lingerBytes:
		w.flush()
	case first && w.timer == nil:
		w.timer = time.AfterFunc(lingerTime, w.Flush)
	case first:
		w.timer.Reset(lingerTime)
	}
	return len(line), w.tell()
}

// Flush writes what waits.
func (w *logWriter) Flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flush()
}

// Close writes what waits. A line that comes later is written at once.
func (w *logWriter) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	if w.timer != nil {
		w.timer.Stop()
	}
	w.flush()
	return w.tell()
}

// flush is Flush for who holds the lock.
func (w *logWriter) flush() {
	if w.waiting.Len() == 0 {
		return
	}
	_, err := w.out.Write(w.waiting.Bytes())
	w.waiting.Reset()
	if w.err == nil {
		w.err = err
	}
}

// tell gives an error away.
func (w *logWriter) tell() error {
	err := w.err
	w.err = nil
	return err
}
