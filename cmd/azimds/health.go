package main

import (
	"io"
	"strings"
	"time"

	"azimds/imds/control"
)

// healthy tells whether there is nothing for a person to do.
func healthy(s control.Status) bool { return len(wrong(s, time.Time{})) == 0 }

// wrong is what a person has to do something about, each in a line that says what an agent that serves lacks.
func wrong(s control.Status, now time.Time) []string {
	var found []string
	add := func(what, more string) { found = append(found, what+": "+more) }
	for _, z := range s.Zones {
		if z.Problem != "" {
			add("not served", z.Name+": "+z.Problem)
		}
	}
	for _, what := range s.Residue {
		add("residue", what)
	}
	for _, what := range s.Delta {
		add("missing", what)
	}
	if s.Repairs != nil {
		for _, what := range s.Repairs.Fought {
			add("contested", what)
		}
		if s.Repairs.Error != "" {
			add("not mended", s.Repairs.Error)
		}
	}
	switch {
	case s.Account.Error != "":
		add("account", withHint(s.Account.Error, s.Account.Hint))
	case s.Down != nil:
		add("no tokens", withHint(s.Down.Reason, s.Down.Hint))
	}
	if s.Account.Drift != "" {
		add("drift", s.Account.Drift)
	}
	if !s.Paused.IsZero() {
		add("paused", "until "+clock(s.Paused, now))
	}
	return found
}

// printWrong writes a line for each thing that is wrong, and nothing where all is well.
func printWrong(w io.Writer, s control.Status, now time.Time) error {
	var b strings.Builder
	for _, line := range wrong(s, now) {
		b.WriteString(printable(line) + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}
