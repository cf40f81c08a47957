package main

import (
	"io"
	"log/slog"
	"os"

	"azimds/config"
	"azimds/systemd"
)

// logs is where a process's log goes: to journald as entries with fields where standard error leads there, else to standard
// error as lines. Neither makes a writer wait.
type logs struct {
	*logWriter
	journal *systemd.Journal // nil where standard error leads elsewhere
}

// openLogs starts writing to stderr, or to journald; [logs.Close] ends it.
func openLogs(stderr io.Writer) *logs {
	l := &logs{logWriter: newLogWriter(stderr)}
	if stderr == os.Stderr && systemd.StderrIsJournal() {
		l.journal = systemd.OpenJournal()
	}
	return l
}

// Close has what waits written, for a moment.
func (l *logs) Close() {
	if l.journal != nil {
		l.journal.Close()
	}
	l.logWriter.Close()
}

// logger logs at a level and above. The format is that of lines: an entry of journald's has fields instead.
func (l *logs) logger(format config.Format, level slog.Leveler) *slog.Logger {
	if l.journal != nil {
		return slog.New(l.journal.Handler(level))
	}
	options := &slog.HandlerOptions{Level: level}
	if format == config.FormatJSON {
		return slog.New(slog.NewJSONHandler(l, options))
	}
	return slog.New(slog.NewTextHandler(l, options))
}
