package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// measure is one line of the table: what was seen of azimds and of what it is compared with, the bare server or itself before a
// flood, a value a round, and the goal.
type measure struct {
	name    string
	unit    unit
	goal    float64 // a bound of the ratio, or of azimds alone when bare is empty; 0 is none
	atLeast bool    // the goal is a lower bound

	azimds, bare []float64
	apart        bool // the rounds of the one are not those of the other
}

// unit is how a value is written.
type unit struct {
	format string
	scale  float64
}

var (
	microseconds = unit{"%.1f µs", 1e6}
	milliseconds = unit{"%.1f ms", 1e3}
	perSecond    = unit{"%.1f k", 1e-3}
	megabytes    = unit{"%.1f MB", 1e-6}
	plain        = unit{"%.1f", 1}
)

func (u unit) text(value float64) string { return fmt.Sprintf(u.format, value*u.scale) }

// ratio is the median of the rounds' ratios: times drift with the machine, from one round to the next for both alike.
func (m *measure) ratio() float64 {
	if m.apart {
		return median(slices.Clone(m.azimds)) / median(slices.Clone(m.bare))
	}
	ratios := make([]float64, len(m.azimds))
	for i := range ratios {
		ratios[i] = m.azimds[i] / m.bare[i]
	}
	return median(ratios)
}

// printTable writes the table below the names of its columns, 78 characters wide.
func printTable(out io.Writer, columns []string, measures []*measure) {
	row := func(columns ...any) {
		line := fmt.Sprintf("%-32s %9s %9s %6s  %-10s %s", columns...)
		fmt.Fprintln(out, strings.TrimRight(line, " "))
	}
	row(columns[0], columns[1], columns[2], columns[3], columns[4], "")
	for _, m := range measures {
		bare, ratio, value, goal := "", "", m.unit.text(m.goal), ""
		judged := median(slices.Clone(m.azimds))
		azimds := m.unit.text(judged)
		if len(m.bare) > 0 {
			judged = m.ratio()
			bare, ratio, value = m.unit.text(median(slices.Clone(m.bare))), fmt.Sprintf("%.2f", judged), fmt.Sprint(m.goal)
		}
		verdict := ""
		switch {
		case m.goal == 0:
		case m.atLeast:
			goal, verdict = ">= "+value, word(judged >= m.goal)
		default:
			goal, verdict = "<= "+value, word(judged <= m.goal)
		}
		row(m.name, azimds, bare, ratio, goal, verdict)
	}
}

func word(met bool) string {
	if met {
		return "ok"
	}
	return "miss"
}
