package systemd

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/google/go-cmp/cmp"
)

// journald stands in for the real one, in this process. While it is held, an entry waits; while it is away, an entry fails.
type journald struct {
	held chan struct{}

	mu      sync.Mutex
	away    bool
	entries []entry
}

func (d *journald) send(message string, p journal.Priority, fields map[string]string) error {
	if d.held != nil {
		<-d.held
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.away {
		return errors.New("nobody listens")
	}
	d.entries = append(d.entries, entry{message, p, fields})
	return nil
}

func (d *journald) setAway(away bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.away = away
}

func (d *journald) messages() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []string
	for _, e := range d.entries {
		all = append(all, e.message)
	}
	return all
}

// opaque is a value that prints itself, as a token does.
type opaque struct{ inner string }

func (opaque) String() string { return "[redacted]" }

// loud is a value that says how it is to be logged.
type loud string

func (l loud) LogValue() slog.Value { return slog.StringValue(strings.ToUpper(string(l))) }

func TestHandlerMakesEntries(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	for _, tt := range []struct {
		name    string
		level   slog.Level
		with    func(slog.Handler) slog.Handler
		attrs   []slog.Attr
		message string
		pri     journal.Priority
		fields  map[string]string
	}{
		{
			name: "plain", level: slog.LevelInfo, message: "said", pri: journal.PriInfo, fields: map[string]string{},
		},
		{
			name: "values", level: slog.LevelWarn, pri: journal.PriWarning,
			attrs: []slog.Attr{
				slog.Int("uid", 1000), slog.Duration("duration", 1500*time.Microsecond), slog.Time("since", at), slog.Any("error", errors.New("no such luck")),
				slog.Any("raw", []byte("bytes")), slog.Any("secret", opaque{"x"}), slog.Any("shout", loud("hi")), {},
			},
			message: `said uid=1000 duration=1.5ms since=2026-01-02T03:04:05.000006Z error="no such luck" raw=bytes secret=[redacted] shout=HI`,
			fields: map[string]string{
				"AZIMDS_UID": "1000", "AZIMDS_DURATION": "1.5ms", "AZIMDS_SINCE": "2026-01-02T03:04:05.000006Z", "AZIMDS_ERROR": "no such luck",
				"AZIMDS_RAW": "bytes", "AZIMDS_SECRET": "[redacted]", "AZIMDS_SHOUT": "HI",
			},
		},
		{
			name: "names and groups", level: slog.LevelError, pri: journal.PriErr,
			with: func(h slog.Handler) slog.Handler {
				return h.WithAttrs([]slog.Attr{slog.String("a", "1")}).WithGroup("").WithGroup("outer").WithAttrs([]slog.Attr{slog.String("b", "2")})
			},
			attrs: []slog.Attr{
				slog.Group("in-ner", slog.String("c d", "3")), slog.Group("", slog.String("Ü", "4")), slog.Group("none"),
				slog.String(strings.Repeat("long", 20), "5"),
			},
			message: "said a=1 outer.b=2 outer.in-ner.c d=3 outer.Ü=4 outer." + strings.Repeat("long", 20) + "=5",
			fields: map[string]string{
				"AZIMDS_A": "1", "AZIMDS_OUTER_B": "2", "AZIMDS_OUTER_IN_NER_C_D": "3", "AZIMDS_OUTER__": "4",
				"AZIMDS_OUTER_" + strings.Repeat("LONG", 20)[:51]: "5",
			},
		},
		{
			name: "hostile values", level: slog.LevelDebug, pri: journal.PriDebug,
			attrs: []slog.Attr{
				slog.String("exe", "a\nMESSAGE=b"), slog.String("empty", ""), slog.String("pair", "x uid=0"), slog.String("esc", "\x1b[2J"),
				slog.String("broken", "\xff"),
			},
			message: `said exe="a\nMESSAGE=b" empty="" pair="x uid=0" esc="\x1b[2J" broken="\xff"`,
			fields: map[string]string{
				"AZIMDS_EXE": "a\nMESSAGE=b", "AZIMDS_EMPTY": "", "AZIMDS_PAIR": "x uid=0", "AZIMDS_ESC": "\x1b[2J", "AZIMDS_BROKEN": "\xff",
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var d journald
			j := open(d.send)
			h := j.Handler(slog.LevelDebug)
			if tt.with != nil {
				h = tt.with(h)
			}
			r := slog.NewRecord(at, tt.level, "said", 0)
			r.AddAttrs(tt.attrs...)
			if err := h.Handle(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			j.Close()
			if tt.message == "" {
				tt.message = "said"
			}
			tt.fields["SYSLOG_IDENTIFIER"], tt.fields["AZIMDS_MESSAGE"] = "azimds", "said"
			tt.fields["AZIMDS_TIME"] = "2026-01-02T03:04:05.000006Z"
			want := []entry{{tt.message, tt.pri, tt.fields}}
			if diff := cmp.Diff(want, d.entries, cmp.AllowUnexported(entry{})); diff != "" {
				t.Errorf("entries (-want +got):\n%s", diff)
			}
		})
	}
}

func TestHandlerKeepsToItsLevel(t *testing.T) {
	var d journald
	j := open(d.send)
	level := new(slog.LevelVar)
	log := slog.New(j.Handler(level))
	log.Debug("not yet")
	level.Set(slog.LevelDebug)
	log.Debug("now")
	j.Close()
	log.Error("too late")
	if diff := cmp.Diff([]string{"now"}, d.messages()); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
}

// TestJournalDoesNotWait holds journald: who logs goes on, what is too much is counted, and the count is said.
func TestJournalDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := journald{held: make(chan struct{})}
		j := open(d.send)
		log := slog.New(j.Handler(slog.LevelInfo))
		log.Info("first")
		synctest.Wait() // it is being sent, and waits
		long := entry{message: strings.Repeat("x", 1024)}
		for range waitingBytes/1024 + 7 {
			j.put(long)
		}
		close(d.held)
		j.Close()
		got := d.messages()
		if want := "7 log entries were dropped: journald did not take them in time"; got[len(got)-1] != want || len(got) != waitingBytes/1024+2 {
			t.Errorf("%d entries were sent, the last: %.100q", len(got), got[len(got)-1])
		}
	})
}

// TestJournalCountsWhatFails: what journald did not take is said with the first entry that it takes.
func TestJournalCountsWhatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := journald{away: true}
		j := open(d.send)
		log := slog.New(j.Handler(slog.LevelInfo))
		for i := range 3 {
			log.Info(fmt.Sprint(i))
			synctest.Wait()
		}
		d.setAway(false)
		log.Info("back")
		j.Close()
		want := []string{"back", "3 log entries were dropped: journald did not take them in time"}
		if diff := cmp.Diff(want, d.messages()); diff != "" {
			t.Errorf("messages (-want +got):\n%s", diff)
		}
	})
}

// TestJournalEndsAnyway wants the end of a process not to wait for a journald that takes nothing.
func TestJournalEndsAnyway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := journald{held: make(chan struct{})}
		j := open(d.send)
		j.put(entry{message: "first"})
		j.Close()
		if got := d.messages(); len(got) != 0 {
			t.Errorf("%q was sent", got)
		}
		close(d.held) // for the journal to end with the test
		<-j.done
	})
}
