package systemd

import (
	"context"
	"encoding"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/coreos/go-systemd/v22/journal"
)

const (
	// identifier is what journalctl -t selects, and writes before each entry.
	identifier = "azimds"
	// prefix keeps our fields apart from journald's own and everybody's: systemd.journal-fields(7).
	prefix = "AZIMDS_"
	// longestName is how long a field's name may be before journald ignores the field (journal_field_valid).
	longestName = 64
)

// handler turns each record into an entry: the message with all attributes behind it for who reads, and the message and each
// attribute once more in a field of its own for who selects.
type handler struct {
	journal *Journal
	level   slog.Leveler
	path    string // the groups that are open, each with a dot behind it
	attrs   []attribute
}

// attribute is one attribute as text, its key with the groups that it is in.
type attribute struct{ path, value string }

// Enabled reports whether records of the level are sent.
func (h *handler) Enabled(_ context.Context, level slog.Level) bool { return level >= h.level.Level() }

// WithAttrs returns a handler whose entries have these attributes, too.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := *h
	next.attrs = slices.Clone(h.attrs)
	for _, a := range attrs {
		next.attrs = flatten(next.attrs, h.path, a)
	}
	return &next
}

// WithGroup returns a handler that puts this name before the keys of what follows.
func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	next := *h
	next.path += name + "."
	return &next
}

// Handle sends a record. It never blocks and never fails.
func (h *handler) Handle(_ context.Context, r slog.Record) error {
	attrs := slices.Grow(slices.Clone(h.attrs), r.NumAttrs())
	r.Attrs(func(a slog.Attr) bool {
		attrs = flatten(attrs, h.path, a)
		return true
	})
	fields := make(map[string]string, len(attrs)+3)
	fields["SYSLOG_IDENTIFIER"] = identifier
	fields[prefix+"MESSAGE"] = r.Message
	if !r.Time.IsZero() { // journald's own time is that of the arrival
		fields[prefix+"TIME"] = r.Time.Format(time.RFC3339Nano)
	}
	line := []byte(r.Message)
	for _, a := range attrs {
		fields[fieldName(a.path)] = a.value
		line = append(append(append(append(line, ' '), a.path...), '='), quoted(a.value)...)
	}
	h.journal.put(entry{message: string(line), priority: priorityOf(r.Level), fields: fields})
	return nil
}

// flatten appends an attribute, or the attributes of a group, as [slog.Handler] has it: empty ones are left out, and a group
// without a name is no group.
func flatten(attrs []attribute, path string, a slog.Attr) []attribute {
	value := a.Value.Resolve()
	switch {
	case a.Equal(slog.Attr{}):
		return attrs
	case value.Kind() != slog.KindGroup:
		return append(attrs, attribute{path + a.Key, textOf(value)})
	case a.Key != "":
		path += a.Key + "."
	}
	for _, inner := range value.Group() {
		attrs = flatten(attrs, path, inner)
	}
	return attrs
}

// textOf is a value as slog's own text handler writes it, but for the quotes.
func textOf(v slog.Value) string {
	switch v.Kind() {
	case slog.KindTime:
		return v.Time().Format(time.RFC3339Nano)
	case slog.KindAny:
		switch known := v.Any().(type) {
		case encoding.TextMarshaler:
			if text, err := known.MarshalText(); err == nil {
				return string(text)
			}
		case []byte:
			return string(known)
		}
		return fmt.Sprintf("%+v", v.Any())
	default:
		return v.String()
	}
}

// fieldName is the name of an attribute's field: upper-case letters, digits and underscores, not too long.
func fieldName(path string) string {
	name := prefix + strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z':
			return r - 'a' + 'A'
		case 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
			return r
		default:
			return '_'
		}
	}, path)
	return name[:min(len(name), longestName)]
}

// quoted is a value on the line that people read: nothing in it can look like another attribute, or like another line.
func quoted(s string) string {
	odd := func(r rune) bool {
		return unicode.IsSpace(r) || r == '"' || r == '=' || !unicode.IsPrint(r) || r == utf8.RuneError
	}
	if s == "" || strings.IndexFunc(s, odd) >= 0 {
		return strconv.Quote(s)
	}
	return s
}

func priorityOf(level slog.Level) journal.Priority {
	switch {
	case level >= slog.LevelError:
		return journal.PriErr
	case level >= slog.LevelWarn:
		return journal.PriWarning
	case level >= slog.LevelInfo:
		return journal.PriInfo
	default:
		return journal.PriDebug
	}
}
