package manual

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"azimds/config"
)

var update = flag.Bool("update", false, "rewrite the recorded pages")

// tool is a command line that has everything that a page is made of.
func tool() *cobra.Command {
	root := &cobra.Command{Use: "tool", Short: "Do one thing well", Args: cobra.NoArgs, RunE: nothing}
	root.InitDefaultHelpCmd()
	dig := &cobra.Command{Use: "dig DEPTH", Short: "Dig a hole", RunE: nothing,
		Long: "Dig digs until --deep is reached; see tool(1) and azimds-config(5). It's .5 \\ deep,\n.and ends `a long - dash`.\n\n" +
			"    dig \\here\n    .dot 'quote'\n\nLast…",
		Example: "  tool dig 3\n  tool dig --deep 4 'x'"}
	dig.Flags().String("soil-kind", "clay", "what is dug in")
	dig.Flags().BoolP("deep", "d", false, "all the way down")
	dig.Flags().String("secret", "", "not for everybody")
	dig.Flags().Lookup("secret").Hidden = true
	mode := config.Keys()[0]
	dig.Flags().String(mode.Flag, mode.Default(), mode.Summary())
	shy := &cobra.Command{Use: "shy", Short: "Be there for the program alone", Hidden: true, RunE: nothing}
	root.AddCommand(dig, shy)
	return root
}

func nothing(*cobra.Command, []string) error { return nil }

func book() Book {
	return Book{Release: "tool 1.2", Date: time.Unix(1_700_000_000, 0), More: func(c *cobra.Command) []Section {
		if c.HasParent() {
			return nil
		}
		return []Section{{Title: "Exit status", Text: "As env(1):", Items: []Item{{"0", "Done."}, {"1", "Not."}}}}
	}}
}

func TestPages(t *testing.T) {
	pages := book().Pages(tool())
	var names []string
	for name, text := range pages {
		names = append(names, name)
		golden := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(golden, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), text); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if len(names) != 2 { // neither the hidden command nor help
		t.Errorf("pages %q, want those of tool and tool dig", names)
	}
}

// TestSettings: each key with its variable and flag.
func TestSettings(t *testing.T) {
	file, text := book().Settings()
	if file != "azimds-config.5" {
		t.Errorf("file %q", file)
	}
	for _, k := range config.Keys() {
		_, entry, found := strings.Cut(text, "\n.TP\n"+bold(k.Name)+"\n")
		entry, _, _ = strings.Cut(entry, "\n.TP\n")
		if !found || !strings.Contains(entry, bold(k.Env())) || k.Flag != "" && !strings.Contains(entry, bold("--"+k.Flag)) {
			t.Errorf("%s: its entry is %q", k.Name, entry)
		}
		if got := strings.Contains(entry, "Privileged."); got != (k.Class == config.Privileged) {
			t.Errorf("%s: privileged is %t", k.Name, got)
		}
	}
}

// TestText: a text is what a reader sees, whatever roff makes of its characters.
func TestText(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"backslash":             {`a\b`, `a\eb` + "\n"},
		"point at the start":    {".TH x", `\&.TH x` + "\n"},
		"apostrophe":            {"'tis", `\(aqtis` + "\n"},
		"not in ASCII":          {"é…", `\[u00E9]...` + "\n"},
		"flag":                  {"give --all-of (--it), x--y", `give \fB\-\-all\-of\fR (\fB\-\-it\fR), x\-\-y` + "\n"},
		"page":                  {"see azimds-run(1).", `see \%\fBazimds\-run\fR(1).` + "\n"},
		"quoted, with a space":  {"`a b` c", `\fBa b\fR c` + "\n"},
		"point after a quote":   {"`.x`", `\fB.x\fR` + "\n"},
		"broken between words":  {strings.Repeat("word ", 17), strings.TrimSpace(strings.Repeat("word ", 15)) + "\nword word\n"},
		"not broken in a quote": {strings.Repeat("w", 70) + " `a b c d e f g h`", strings.Repeat("w", 70) + ` \fBa b c d e f g h\fR` + "\n"},
	} {
		if got := filled(c.text); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
