package config

import (
	"fmt"
	"strings"
)

// list binds a list. In the text of a variable or flag its entries are parted by commas, or it is YAML in flow style.
type list[T any] struct {
	at     func(*Config) *[]T
	item   item[T]
	among  func(f *findings, at string, all []T) // looks at entries that have to go together; nil for nothing
	want   string
	commas bool // an entry can be a text
}

// texts binds a list of texts.
func texts(at func(*Config) *[]string, of form) binding {
	return list[string]{at: at, item: of, commas: true, want: "a list, each " + of.want}
}

func (l list[T]) set(c *Config, k Key, raw any) error {
	if text, ok := raw.(string); ok {
		entries, err := l.split(text)
		if err != nil {
			return fmt.Errorf("%s is not YAML: %w", k.Name, err)
		}
		raw = entries
	}
	if _, ok := raw.([]any); !ok {
		return k.refuse(raw)
	}
	var f findings
	all := readList(&f, k.Name, raw, l.item)
	if len(f.all) == 0 && l.among != nil {
		l.among(&f, k.Name, all)
	}
	if len(f.all) > 0 {
		return f.err()
	}
	*l.at(c) = all
	return nil
}

// split takes a text apart.
func (l list[T]) split(text string) (any, error) {
	switch {
	case strings.TrimSpace(text) == "":
		return []any{}, nil
	case strings.HasPrefix(strings.TrimSpace(text), "["):
		return decodeFlow(text)
	case !l.commas:
		return text, nil
	}
	var entries []any
	for entry := range strings.SplitSeq(text, ",") {
		entries = append(entries, strings.TrimSpace(entry))
	}
	return entries, nil
}

func (l list[T]) check(c *Config, k Key) error {
	var f findings
	checkList(&f, k.Name, *l.at(c), l.item)
	if len(f.all) == 0 && l.among != nil {
		l.among(&f, k.Name, *l.at(c))
	}
	return f.err()
}

func (l list[T]) text(c *Config) string {
	if all := *l.at(c); len(all) > 0 {
		return listText(all, l.item)
	}
	return ""
}

func (l list[T]) allowed() string { return l.want }
func (l list[T]) words() []string { return nil }
func (l list[T]) several() bool   { return true }
