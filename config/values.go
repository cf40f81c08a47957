package config

import (
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// binding ties a key to its field of Config.
type binding interface {
	set(c *Config, k Key, raw any) error // what is not allowed about raw: c is then as before
	check(c *Config, k Key) error        // what is not allowed about the value of c
	text(c *Config) string
	allowed() string
	words() []string // all of the allowed values, or nil where they are too many
	several() bool   // the value is a list
}

// field binds a key to a field of type T.
type field[T any] struct {
	at     func(*Config) *T
	parse  func(raw any) (T, bool) // reads a YAML scalar or a text
	accept func(T) bool            // which values of T are allowed
	format func(T) string          // inverse of parse
	want   string
	list   []string
}

func (f field[T]) set(c *Config, k Key, raw any) error {
	v, ok := f.parse(raw)
	if !ok || !f.accept(v) {
		return k.refuse(raw)
	}
	*f.at(c) = v
	return nil
}

func (f field[T]) check(c *Config, k Key) error {
	if v := *f.at(c); !f.accept(v) {
		return k.refuse(f.format(v))
	}
	return nil
}

func (f field[T]) text(c *Config) string { return f.format(*f.at(c)) }
func (f field[T]) allowed() string       { return f.want }
func (f field[T]) words() []string       { return f.list }
func (f field[T]) several() bool         { return false }

// text binds a string that accept allows.
func text(at func(*Config) *string, accept func(string) bool, want string) binding {
	return field[string]{
		at: at, accept: accept, want: want,
		parse: func(raw any) (string, bool) {
			s, ok := raw.(string)
			return s, ok
		},
		format: func(s string) string { return s },
	}
}

// choice binds one of a few words.
func choice[T ~string](at func(*Config) *T, words ...T) binding {
	var names, wants []string
	for _, w := range words {
		if w == "" {
			wants = append(wants, "empty")
			continue
		}
		names, wants = append(names, string(w)), append(wants, string(w))
	}
	return field[T]{
		at: at,
		parse: func(raw any) (T, bool) {
			s, ok := raw.(string)
			return T(s), ok
		},
		accept: func(v T) bool { return slices.Contains(words, v) },
		format: func(v T) string { return string(v) },
		want:   either(wants),
		list:   names,
	}
}

// level binds one of slog's named levels. Its own parser also takes "INFO+1" and any capitals.
func level(at func(*Config) *slog.Level) binding {
	levels := []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError}
	format := func(l slog.Level) string { return strings.ToLower(l.String()) }
	names := make([]string, len(levels))
	for i, l := range levels {
		names[i] = format(l)
	}
	return field[slog.Level]{
		at: at,
		parse: func(raw any) (slog.Level, bool) {
			s, _ := raw.(string)
			i := slices.Index(names, s)
			if i < 0 {
				return 0, false
			}
			return levels[i], true
		},
		accept: func(l slog.Level) bool { return slices.Contains(levels, l) },
		format: format,
		want:   either(names),
		list:   names,
	}
}

// boolean binds true or false; a text may also be 1, 0 and the other spellings of [strconv.ParseBool].
func boolean(at func(*Config) *bool) binding {
	return field[bool]{
		at: at,
		parse: func(raw any) (bool, bool) {
			if s, ok := raw.(string); ok {
				v, err := strconv.ParseBool(s)
				return v, err == nil
			}
			v, ok := raw.(bool)
			return v, ok
		},
		accept: func(bool) bool { return true },
		format: strconv.FormatBool,
		want:   "true or false",
		list:   []string{"true", "false"},
	}
}

// number binds a whole number from lowest to highest.
func number(at func(*Config) *int, lowest, highest int) binding {
	return field[int]{
		at: at,
		parse: func(raw any) (int, bool) {
			if s, ok := raw.(string); ok {
				v, err := strconv.Atoi(s)
				return v, err == nil
			}
			v, ok := raw.(int)
			return v, ok
		},
		accept: func(v int) bool { return lowest <= v && v <= highest },
		format: strconv.Itoa,
		want:   wholeNumber(lowest, highest),
	}
}

func wholeNumber(lowest, highest int) string {
	return fmt.Sprintf("a whole number from %d to %d", lowest, highest)
}

// period binds a duration from shortest to longest. It is a text with a unit: a bare number is refused, for it would
// read as nanoseconds where a person meant seconds.
func period(at func(*Config) *time.Duration, shortest, longest time.Duration) binding {
	return field[time.Duration]{
		at: at,
		parse: func(raw any) (time.Duration, bool) {
			s, _ := raw.(string)
			v, err := time.ParseDuration(s)
			return v, err == nil
		},
		accept: func(v time.Duration) bool { return shortest <= v && v <= longest },
		format: short,
		want:   fmt.Sprintf("a duration from %s to %s with its unit, such as 90s", short(shortest), short(longest)),
	}
}

// short writes a duration without the zero units that its String appends: "5m", not "5m0s".
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// either writes a choice as "a, b or c".
func either(words []string) string { return enumerate(words, " or ") }

// enumerate writes a list of one or more words with conjunction before the last.
func enumerate(words []string, conjunction string) string {
	last := len(words) - 1
	if last == 0 {
		return words[0]
	}
	return strings.Join(words[:last], ", ") + conjunction + words[last]
}

var (
	guidForm = regexp.MustCompile(`^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`)
	// Two labels at least: a single word ("common", "organizations") names no tenant.
	domainForm = regexp.MustCompile(`^[0-9A-Za-z]([0-9A-Za-z-]*[0-9A-Za-z])?(\.[0-9A-Za-z]([0-9A-Za-z-]*[0-9A-Za-z])?)+$`)
	// azidentity refuses any other character in a subscription (azure_cli_credential.go, v1.15.0), and az would read one
	// that begins with a dash as an option.
	subscriptionForm = regexp.MustCompile(`^([0-9A-Za-z_.][0-9A-Za-z_. -]*)?$`)
	// The portable form of a variable's name (POSIX.1-2024, XBD 8.1). A secret pasted by mistake hardly ever has it.
	variableForm = regexp.MustCompile(`^[A-Z_][A-Z0-9_]*$`)
	// One sign with something on either side: Entra allows more kinds of names than are worth telling apart here.
	principalForm = regexp.MustCompile(`^([^@\s\pC]+@[^@\s\pC]+)?$`)
	// An account as tools name it: a principal's name, or an id.
	signInForm = regexp.MustCompile(`^[^\s\pC]*$`)
	// Beside portable names also those of directories: DOMAIN\name, name@domain, machine$.
	accountForm = regexp.MustCompile(`^[0-9A-Za-z_][0-9A-Za-z_.@$\\-]*$`)
)

func guid(s string) bool         { return s == "" || guidForm.MatchString(s) }
func tenant(s string) bool       { return guid(s) || domainForm.MatchString(s) }
func subscription(s string) bool { return subscriptionForm.MatchString(s) }
func principal(s string) bool    { return principalForm.MatchString(s) }
func signInName(s string) bool   { return signInForm.MatchString(s) }
func variable(s string) bool     { return s == "" || variableForm.MatchString(s) }
func account(s string) bool      { return s == "" || accountForm.MatchString(s) }
func command(s string) bool      { return !strings.ContainsAny(s, "\x00\n\r") }
func path(s string) bool         { return s == "" || filepath.IsAbs(s) && !strings.ContainsRune(s, 0) }

func resourceID(s string) bool {
	const root = "/subscriptions/"
	return s == "" || len(s) > len(root) && strings.EqualFold(s[:len(root)], root)
}

// authorityHost binds an https URL without a path. Some SDKs' constants end in a slash; it is dropped.
func authorityHost(at func(*Config) *string) binding {
	return field[string]{
		at: at,
		parse: func(raw any) (string, bool) {
			s, ok := raw.(string)
			return strings.TrimSuffix(s, "/"), ok
		},
		accept: func(s string) bool {
			if s == "" {
				return true
			}
			u, err := url.Parse(s)
			// Anything but scheme and host (a path, a query, a user and password) would not come back in this form.
			return err == nil && u.Scheme == "https" && u.Hostname() != "" && s == "https://"+u.Host
		},
		format: func(s string) string { return s },
		want:   "empty or an https URL without a path, such as https://login.microsoftonline.us",
	}
}
