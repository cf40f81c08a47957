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

	"azimds/config"
	"azimds/imds/control"
	"azimds/imds/token/azure"
	"azimds/netsetup"
)

func newDoctor() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what could stop azimds from working, and say what mends it",
		Long: `Doctor looks at this environment and this machine for what keeps programs from 169.254.169.254, or
azimds from answering there. It reads the configuration as azimds run would, asks a running agent, and
mends nothing itself. Your variables and your sign-in are seen without sudo, the firewall by root alone:
what could not be seen is said. It exits with 0 when nothing is found and with 3 when something is.`,
		Example: "  azimds doctor\n  sudo azimds doctor",
		Args:    cobra.NoArgs,
	}
	addSettings(cmd)
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		d := diagnose(cmd.Context(), thisMachine(cmd))
		var err error
		if *asJSON {
			err = printJSON(cmd.OutOrStdout(), d)
		} else {
			err = d.print(cmd.OutOrStdout(), coloured(cmd.OutOrStdout(), os.Getenv))
		}
		if err == nil && len(d.Findings) > 0 {
			return exitError(exitFound)
		}
		return err
	}
	return cmd
}

// patient is the machine that doctor looks at, as this process sees it.
type patient struct {
	root    string   // the folder that is taken for /
	environ []string // the environment of this process
	owner   string   // whose programs are to be served
	theirs  bool     // the environment and the home are not the owner's: sudo has started this process
	asRoot  bool     // the firewall can be read

	config   config.Config
	mistake  error // why there is no configuration
	findAz   func() (string, error)
	signedIn func() error // whether az has somebody to ask as
	agent    func(context.Context) (control.Status, error)
	residue  func(context.Context) ([]string, error) // what a dead agent left; also beside an error
	choose   func(context.Context) error             // why the interception cannot be made
	start    func() (int, error)                     // the first port that anybody may listen on
	onHost   func() (bool, error)                    // whether this is the host's network namespace
}

// thisMachine is the machine on which this process runs. What is wrong with the configuration is for doctor to say.
func thisMachine(cmd *cobra.Command) patient {
	p := patient{
		root: "/", environ: os.Environ(), asRoot: os.Geteuid() == 0,
		findAz: func() (string, error) { return azure.FindAz(os.Getenv) },
		agent:  askStatus, residue: leftBehind, start: netsetup.UnprivilegedPortStart, onHost: netsetup.OnHost,
	}
	p.config, p.mistake = settings(cmd, false)
	owner, err := ownerFor(p.config.User)
	if err != nil && p.mistake == nil {
		p.mistake = err
	}
	p.owner, p.theirs = owner.String(), err == nil && owner.UID != uint32(os.Getuid())
	p.signedIn = func() error {
		az, err := newCLI(p.config)
		if err == nil {
			_, err = az.account()
		}
		return err
	}
	p.choose = func(ctx context.Context) error {
		want, err := wanted(p.config)
		if err == nil {
			_, _, err = netsetup.Choose(ctx, want)
		}
		return err
	}
	return p
}

// askStatus asks the agent of this network namespace.
func askStatus(ctx context.Context) (control.Status, error) {
	client, err := agentClient()
	if err != nil {
		return control.Status{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	return client.Status(ctx)
}

// leftBehind is what a dead agent left, each as the command that removes it.
func leftBehind(ctx context.Context) ([]string, error) {
	report, err := netsetup.NewHost(netsetup.Options{}).Check(ctx, netsetup.Plan{})
	return report.Residue, err
}

// diagnosis is what doctor found, and what it could not see.
type diagnosis struct {
	Findings []finding `json:"findings"`
	Unseen   []unseen  `json:"unseen"`
}

// finding is something that could stop azimds from working.
type finding struct {
	ID       string   `json:"id"`
	Severity string   `json:"severity"` // problem or notice
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

// diagnose makes every check. Problems come before notices.
func diagnose(ctx context.Context, p patient) diagnosis {
	d := diagnosis{Findings: []finding{}, Unseen: []unseen{}}
	p.checkConfiguration(&d)
	p.checkVariables(&d)
	p.checkArc(&d)
	p.checkAgent(ctx, &d)
	p.checkMachine(&d)
	slices.SortStableFunc(d.Findings, func(a, b finding) int { return strings.Compare(b.Severity, a.Severity) })
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
		colour := "\x1b[33m"
		if f.Severity == problem {
			colour = "\x1b[31m"
		}
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
