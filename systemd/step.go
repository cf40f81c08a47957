package systemd

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"strings"
)

// Step is one thing that an installation, or its end, does to a machine: [Write], [Keep], [Remove] or [Run]. Its text is for
// people.
type Step interface{ fmt.Stringer }

// Write makes or replaces a file, and the folder that it is in.
type Write struct {
	Path string
	Mode fs.FileMode
	Text string
}

// Keep puts a file aside that is not only ours.
type Keep struct {
	Path, As string
}

// Remove removes a file, or a folder that has nothing in it; one that has stays.
type Remove struct {
	Path string
}

// Run runs a command.
type Run struct {
	Args []string
	Undo []string // the command that takes it back; none where that needs no command
}

// String implements [Step].
func (w Write) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "write %s (mode %#o)\n", w.Path, w.Mode)
	for line := range strings.Lines(w.Text) {
		b.WriteString(strings.TrimRight("    "+line, " \n") + "\n")
	}
	return b.String()
}

// String implements [Step].
func (k Keep) String() string {
	return fmt.Sprintf("keep %s as %s: it was changed since azimds wrote it, or is not azimds's\n", k.Path, k.As)
}

// String implements [Step].
func (r Remove) String() string { return fmt.Sprintf("remove %s\n", r.Path) }

// String implements [Step].
func (r Run) String() string {
	words := make([]string, len(r.Args))
	for i, w := range r.Args {
		if words[i] = w; strings.Contains(w, " ") {
			words[i] = "'" + w + "'"
		}
	}
	return "run " + strings.Join(words, " ") + "\n"
}

// Plan is what is done, in this order. When a step fails, those before it are taken back, the last first, and then Recover is run.
type Plan struct {
	Steps   []Step
	Recover [][]string
}

// String is the plan for a person.
func (p Plan) String() string {
	var b strings.Builder
	for _, s := range p.Steps {
		b.WriteString(s.String())
	}
	return b.String()
}

// signature begins the first line of each file that is written, which ends with the digest of all that follows.
const signature = `# Written by "azimds install", removed by "azimds uninstall". Put changes in a file of your own. sha256:`

// signed is a file's text below a first line of our own.
func signed(text string) string {
	sum := sha256.Sum256([]byte(text))
	return signature + hex.EncodeToString(sum[:]) + "\n" + text
}

// intact tells whether a file is as it was written.
func intact(text string) bool {
	_, rest, _ := strings.Cut(text, "\n")
	return text == signed(rest)
}
