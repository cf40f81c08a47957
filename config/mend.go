package config

import (
	"fmt"
	"slices"
)

// Mendable is an error with the command that mends it, ready to be pasted into a POSIX shell. The command is not in its text.
type Mendable struct {
	Err  error
	With string
}

// Error implements error.
func (m *Mendable) Error() string { return m.Err.Error() }

// Unwrap is the error without the command.
func (m *Mendable) Unwrap() error { return m.Err }

// Command is what mends it. For a flag it is "--help" alone: of the command that has the flag.
func (m *Mendable) Command() string { return m.With }

// edited is an error in a file, which an editor mends.
func edited(path string, err error) error {
	return &Mendable{fmt.Errorf("%q: %w", path, err), `"${EDITOR:-vi}" ` + quote(path)}
}

// unset is an error in an environment variable.
func unset(name string, err error) error { return &Mendable{err, "unset " + name} }

// Commands lists what mends an error and those that it wraps, in order and each once. Of an error within another, the inner
// one's command counts: it is about less.
func Commands(err error) []string {
	var inner []string
	switch e := err.(type) { //nolint:errorlint // each error of the tree is looked at
	case nil:
	case interface{ Unwrap() []error }:
		for _, one := range e.Unwrap() {
			inner = append(inner, Commands(one)...)
		}
	case interface{ Unwrap() error }:
		inner = Commands(e.Unwrap())
	}
	if m, ok := err.(interface{ Command() string }); ok && len(inner) == 0 {
		inner = append(inner, m.Command())
	}
	var once []string
	for _, command := range inner {
		if !slices.Contains(once, command) {
			once = append(once, command)
		}
	}
	return once
}
