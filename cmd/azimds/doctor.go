package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

func newDoctor() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what could stop azimds from working, and say what mends it",
		Long: `Doctor looks at this environment and this machine for what keeps programs from 169.254.169.254, or
azimds from answering there. It reads the configuration as azimds run would, asks a running agent, and
mends nothing itself. Your variables and your sign-in are seen without sudo, the firewall by root alone:
what could not be seen is said. It exits with 3 when there is a problem, and with 0 when there is none.`,
		Example: "  azimds doctor\n  sudo azimds doctor",
		Args:    cobra.NoArgs,
	}
	addSettings(cmd)
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	offline := cmd.Flags().Bool("offline", false, "ask nothing on other machines: leave out the clock")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		p := thisMachine(cmd)
		p.offline = *offline
		d := diagnose(cmd.Context(), p)
		var err error
		if *asJSON {
			err = printJSON(cmd.OutOrStdout(), d)
		} else {
			err = d.print(cmd.OutOrStdout(), coloured(cmd.OutOrStdout(), os.Getenv))
		}
		if err == nil && slices.ContainsFunc(d.Findings, func(f finding) bool { return f.Severity == problem }) {
			return exitError(exitFound)
		}
		return err
	}
	return cmd
}

// diagnosis is what doctor found, and what it could not see.
type diagnosis struct {
	Findings []finding `json:"findings"`
	Unseen   []unseen  `json:"unseen"`
}

// finding is something that could stop azimds from working.
type finding struct {
	ID       string   `json:"id"`
	Severity string   `json:"severity"` // one of severities
	What     string   `json:"what"`
	Why      string   `json:"why"`
	Mend     []string `json:"mend"` // commands
}

// unseen is something that this process may not read, or cannot.
type unseen struct {
	What    string `json:"what"`
	Why     string `json:"why"`
	Command string `json:"command,omitempty"` // which sees it
}

// found adds a finding. Mend is commands, a line each.
func (d *diagnosis) found(k kind, mend, format string, args ...any) {
	f := finding{ID: k.id, Severity: k.severity, What: fmt.Sprintf(format, args...), Why: k.why, Mend: []string{}}
	if mend != "" {
		f.Mend = strings.Split(mend, "\n")
	}
	d.Findings = append(d.Findings, f)
}

func (d *diagnosis) missed(what, why, command string) {
	d.Unseen = append(d.Unseen, unseen{what, why, command})
}

// diagnose makes every check. Problems come first.
func diagnose(ctx context.Context, p patient) diagnosis {
	d := diagnosis{Findings: []finding{}, Unseen: []unseen{}}
	p.checkConfiguration(&d)
	p.checkVariables(&d)
	p.checkArc(&d)
	p.checkAgent(ctx, &d)
	p.checkClock(ctx, &d)
	if !alone(p.config) {
		p.checkRoutes(&d)
		p.checkBackends(ctx, &d)
	}
	p.checkMachine(&d)
	p.checkEngines(&d)
	slices.SortStableFunc(d.Findings, func(a, b finding) int {
		return slices.Index(severities, a.Severity) - slices.Index(severities, b.Severity)
	})
	return d
}

// width is of a terminal that everybody has.
const width = 80

// print writes a diagnosis for a person. Commands are for pasting, and are not folded.
func (d diagnosis) print(w io.Writer, colours bool) error {
	var b strings.Builder
	entry := func(word, colour, title, what, why string, commands []string) {
		label := fmt.Sprintf("%-8s", word)
		if colours {
			label = colour + word + "\x1b[0m" + label[len(word):]
		}
		fmt.Fprintln(&b, strings.TrimSpace(label+title))
		for _, text := range []string{what, why} {
			fold(&b, "  ", printable(text))
		}
		for _, command := range commands {
			fmt.Fprintf(&b, "    %s\n", printable(command))
		}
		b.WriteByte('\n')
	}
	counts := map[string]int{}
	for _, f := range d.Findings {
		counts[f.Severity]++
		colour := map[string]string{problem: "\x1b[31m", notice: "\x1b[33m", information: "\x1b[32m"}[f.Severity]
		entry(f.Severity, colour, f.ID, f.What, f.Why, f.Mend)
	}
	for _, u := range d.Unseen {
		var commands []string
		if u.Command != "" {
			commands = []string{u.Command}
		}
		entry("unseen", "\x1b[36m", "", u.What, u.Why, commands)
	}
	fmt.Fprintf(&b, "%d %s, %d %s, %d not seen\n", counts[problem], plural(counts[problem], problem),
		counts[notice], plural(counts[notice], notice), len(d.Unseen))
	_, err := io.WriteString(w, b.String())
	return err
}

func plural(n int, word string) string {
	if n == 1 {
		return word
	}
	return word + "s"
}

// fold writes a text in lines that fit a terminal.
func fold(b *strings.Builder, indent, text string) {
	line := indent
	for word := range strings.FieldsSeq(text) {
		if line != indent && len([]rune(line))+1+len([]rune(word)) > width {
			fmt.Fprintln(b, line)
			line = indent
		}
		if line != indent {
			line += " "
		}
		line += word
	}
	fmt.Fprintln(b, line)
}

// coloured tells whether w is a terminal of somebody who has not set NO_COLOR (no-color.org).
func coloured(w io.Writer, getenv func(string) string) bool {
	f, ok := w.(*os.File)
	if !ok || getenv("NO_COLOR") != "" {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
