package imds

import (
	"log/slog"
	"testing"
	"time"
)

func TestQuota(t *testing.T) {
	var q quota
	now := time.Unix(1_700_000_000, 0)
	want := func(level slog.Level, lowered int) {
		t.Helper()
		if got, n := q.level(slog.LevelWarn, now); got != level || n != lowered {
			t.Errorf("%s with %d lowered, want %s with %d", got, n, level, lowered)
		}
	}
	for range quotaLines {
		want(slog.LevelWarn, 0)
	}
	want(slog.LevelDebug, 0)
	want(slog.LevelDebug, 0)
	if got, n := q.level(slog.LevelInfo, now); got != slog.LevelInfo || n != 0 {
		t.Errorf("Info became %s", got)
	}
	now = now.Add(quotaWindow)
	want(slog.LevelWarn, 2)
	want(slog.LevelWarn, 0)
	now = now.Add(-time.Hour) // the clock was set back
	for range quotaLines {
		want(slog.LevelWarn, 0)
	}
	want(slog.LevelDebug, 0)
}
