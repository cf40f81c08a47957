package config

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Class says which sources of a key are believed.
type Class int

const (
	// Ordinary keys may come from every source.
	Ordinary Class = iota
	// Privileged keys decide who is intercepted or served. They may come from a flag, from the environment of the
	// invoking process, and from a file that root alone can write.
	Privileged
)

// Key describes one configuration key.
type Key struct {
	Name    string // as in a file, sections parted by dots: "log.level"
	Flag    string // command-line flag without its dashes, empty for none
	Class   Class
	Doc     string // what it means, one sentence in Markdown
	Example string // an allowed value other than the default, as a person writes it

	private bool // the value may be a secret pasted by mistake: never shown in an error
	value   binding
}

// Env returns the environment variable that sets the key: AZIMDS_ and the name in capitals, with every other character as
// an underscore.
func (k Key) Env() string { return envPrefix + envName.Replace(strings.ToUpper(k.Name)) }

// Default returns the default as a person would write it; empty when there is none.
func (k Key) Default() string { return k.Text(Default()) }

// Text returns the key's value in c as a person would write it.
func (k Key) Text(c Config) string { return k.value.text(&c) }

// Summary returns Doc as plain text, for the help of a flag: pflag takes a back-quoted word for the name of the value.
func (k Key) Summary() string { return strings.ReplaceAll(k.Doc, "`", "") }

// Allowed says which values the key may have; it reads on after "must be".
func (k Key) Allowed() string { return k.value.allowed() }

// List tells whether the value is a list. In a flag or variable its entries are parted by commas, or it is YAML in flow style.
func (k Key) List() bool { return k.value.several() }

// Words lists the values that the key may have; nil where they are too many to list. The caller must not change it.
func (k Key) Words() []string { return k.value.words() }

const envPrefix = "AZIMDS_"

var envName = strings.NewReplacer(".", "_", "-", "_")

// set stores raw, a value of YAML or the text of a variable or flag, in c. The error names the key, the value and what is
// allowed; of a list there may be several, for [each].
func (k Key) set(c *Config, raw any) error { return k.value.set(c, k, raw) }

// check tells whether the value that c has is allowed, with the same errors as set.
func (k Key) check(c *Config) error { return k.value.check(c, k) }

// refuse words the one sentence about a value that is not allowed.
func (k Key) refuse(raw any) error {
	value := shown(raw)
	if k.private {
		value = "[redacted]"
	}
	return fmt.Errorf("%s is %s, must be %s", k.Name, value, k.value.allowed())
}

// maxShown bounds, in runes, how much of a refused value an error repeats.
const maxShown = 80

// shown writes a refused value on one line. What a mapping holds is not for an error: it may be anybody's.
func shown(raw any) string {
	switch v := raw.(type) {
	case string:
		if u, err := url.Parse(v); err == nil && u.User != nil {
			v = u.Redacted()
		}
		return strconv.Quote(clip(v))
	case map[string]any, map[any]any:
		return "a section"
	case []any:
		return "a list"
	case nil:
		return "empty"
	default:
		return clip(strings.Map(printable, fmt.Sprint(v)))
	}
}

func printable(r rune) rune {
	if unicode.IsPrint(r) {
		return r
	}
	return '?'
}

// clip shortens s to maxShown runes.
func clip(s string) string {
	if utf8.RuneCountInString(s) <= maxShown {
		return s
	}
	return string([]rune(s)[:maxShown]) + "…"
}
