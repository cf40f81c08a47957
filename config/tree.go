package config

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// maxEntries bounds each list. More is a mistake, and rules are compared with one another.
const maxEntries = 1000

// item reads, checks and writes one entry of a list. Each finding names its place, such as "policy[2].users[0]".
type item[T any] interface {
	read(f *findings, at string, raw any) T
	check(f *findings, at string, v T)
	text(v T) string // YAML flow text, for read
}

// findings collects what is wrong within one value.
type findings struct{ all []error }

func (f *findings) add(format string, operands ...any) {
	f.all = append(f.all, fmt.Errorf(format, operands...))
}

func (f *findings) refuse(at string, raw any, want string) {
	f.add("%s is %s, must be %s", at, shown(raw), want)
}

// err is all that was found, joined: [each] takes it apart again.
func (f *findings) err() error { return errors.Join(f.all...) }

// each lists the errors that were joined to err.
func each(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	if err == nil {
		return nil
	}
	return []error{err}
}

// form is an item that is a text.
type form struct {
	accept func(string) bool
	want   string
	number bool // in YAML it may be a whole number, too
}

func (w form) read(f *findings, at string, raw any) string {
	s, ok := raw.(string)
	if n, whole := raw.(int); whole && w.number {
		s, ok = strconv.Itoa(n), true
	}
	if !ok || !w.accept(s) {
		f.refuse(at, raw, w.want)
	}
	return s
}

func (w form) check(f *findings, at, s string) {
	if !w.accept(s) {
		f.refuse(at, s, w.want)
	}
}

func (w form) text(s string) string {
	if w.number && digits.MatchString(s) {
		return s
	}
	return scalar(s)
}

// A scalar that is plain in YAML's flow style and that no reader takes for anything but a text.
var (
	plainForm = regexp.MustCompile(`^[A-Za-z_/]([0-9A-Za-z_./:*@-]*[0-9A-Za-z_./*@-])?$`)
	yamlWords = regexp.MustCompile(`(?i)^(true|false|null|yes|no|on|off|y|n)$`)
)

// scalar writes a text. Where it has to be quoted, Go's escapes are those of YAML's double quotes (YAML 1.2, section 5.7) for
// all that is valid UTF-8.
func scalar(s string) string {
	if guidForm.MatchString(s) || plainForm.MatchString(s) && !yamlWords.MatchString(s) {
		return s
	}
	return strconv.Quote(s)
}

// readList reads the entries of a list.
func readList[T any](f *findings, at string, raw any, of item[T]) []T {
	entries, ok := raw.([]any)
	if !ok {
		f.refuse(at, raw, "a list")
		return nil
	}
	if len(entries) > maxEntries {
		f.add("%s has %d entries, must have at most %d", at, len(entries), maxEntries)
		return nil
	}
	var list []T
	for i, entry := range entries {
		list = append(list, of.read(f, index(at, i), entry))
	}
	return list
}

func checkList[T any](f *findings, at string, list []T, of item[T]) {
	if len(list) > maxEntries {
		f.add("%s has %d entries, must have at most %d", at, len(list), maxEntries)
		return
	}
	for i, entry := range list {
		of.check(f, index(at, i), entry)
	}
}

func listText[T any](list []T, of item[T]) string {
	texts := make([]string, len(list))
	for i, entry := range list {
		texts[i] = of.text(entry)
	}
	return "[" + strings.Join(texts, ", ") + "]"
}

func index(at string, i int) string { return fmt.Sprintf("%s[%d]", at, i) }

// record is an item that is a mapping, such as a rule.
type record[T any] struct {
	want  string
	parts []part[T]
	whole func(f *findings, at string, v T) // looks at parts that have to go together; nil for nothing
}

// part is one key of a record.
type part[T any] struct {
	name  string
	read  func(f *findings, at string, raw any, into *T)
	check func(f *findings, at string, v T)
	text  func(v T) string // empty where it is not set
}

func (m record[T]) read(f *findings, at string, raw any) T {
	var v T
	before := len(f.all)
	tree, ok := mapping(raw)
	if !ok {
		f.refuse(at, raw, m.want)
		return v
	}
	for _, name := range slices.Sorted(maps.Keys(tree)) {
		i := slices.IndexFunc(m.parts, func(p part[T]) bool { return p.name == name })
		switch place := at + "." + name; {
		case i < 0:
			f.add("unknown key %q%s", clip(place), m.instead(at, name))
		case empty(tree[name]):
			// Elsewhere a key without a value counts as not set. Here that would be about everybody, or allow everything.
			f.add("%s is empty, must have a value or be left out", place)
		default:
			m.parts[i].read(f, place, tree[name], &v)
		}
	}
	if len(f.all) == before && m.whole != nil {
		m.whole(f, at, v)
	}
	return v
}

func (m record[T]) check(f *findings, at string, v T) {
	before := len(f.all)
	for _, p := range m.parts {
		p.check(f, at+"."+p.name, v)
	}
	if len(f.all) == before && m.whole != nil {
		m.whole(f, at, v)
	}
}

func (m record[T]) text(v T) string {
	var texts []string
	for _, p := range m.parts {
		if text := p.text(v); text != "" {
			texts = append(texts, p.name+": "+text)
		}
	}
	return "{" + strings.Join(texts, ", ") + "}"
}

// instead ends the sentence about an unknown key: with those that it most likely meant, each with its place, else with all.
func (m record[T]) instead(at, name string) string {
	var names []string
	for _, p := range m.parts {
		names = append(names, p.name)
	}
	near := nearest(name, names)
	if len(near) == 0 {
		return "; there are " + enumerate(names, " and ")
	}
	for i := range near {
		near[i] = at + "." + near[i]
	}
	return didYouMean(near)
}

// mapping is raw as a mapping; keys that are no texts are known to nobody.
func mapping(raw any) (map[string]any, bool) {
	switch m := raw.(type) {
	case map[string]any:
		return m, true
	case map[any]any:
		texts := make(map[string]any, len(m))
		for key, value := range m {
			texts[clip(strings.Map(printable, fmt.Sprint(key)))] = value
		}
		return texts, true
	}
	return nil, false
}

// empty tells that nothing stands behind a key.
func empty(raw any) bool {
	switch v := raw.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	return false
}

// one is a part that is a text.
func one[T any](name string, at func(*T) *string, of form) part[T] {
	return part[T]{
		name: name,
		read: func(f *findings, place string, raw any, into *T) { *at(into) = of.read(f, place, raw) },
		check: func(f *findings, place string, v T) {
			if s := *at(&v); s != "" {
				of.check(f, place, s)
			}
		},
		text: func(v T) string {
			if s := *at(&v); s != "" {
				return of.text(s)
			}
			return ""
		},
	}
}

// many is a part that is a list.
func many[T any](name string, at func(*T) *[]string, of form) part[T] {
	return part[T]{
		name:  name,
		read:  func(f *findings, place string, raw any, into *T) { *at(into) = readList(f, place, raw, of) },
		check: func(f *findings, place string, v T) { checkList(f, place, *at(&v), of) },
		text: func(v T) string {
			if list := *at(&v); len(list) > 0 {
				return listText(list, of)
			}
			return ""
		},
	}
}
