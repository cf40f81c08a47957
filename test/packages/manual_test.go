package packages

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// belowHelp is a command in another's help.
var belowHelp = regexp.MustCompile(`(?m)^  ([a-z]+) +\S.*$`)

// visible are the pages that commands should have: the program's own, and that of each command which its help lists, at any depth.
func visible(t *testing.T, program string, path ...string) []string {
	t.Helper()
	pages := []string{strings.Join(append([]string{"azimds"}, path...), "-") + ".1.gz"}
	_, list, found := strings.Cut(printed(t, program, append([]string{"help"}, path...)...), "\nAvailable Commands:\n")
	if !found {
		return pages
	}
	list, _, _ = strings.Cut(list, "\n\n")
	for _, m := range belowHelp.FindAllStringSubmatch(list, -1) {
		if m[1] != "help" {
			pages = append(pages, visible(t, program, append(slices.Clone(path), m[1])...)...)
		}
	}
	return pages
}

// TestManual: each visible command has a page, nobody else has, and man shows it without a complaint, with and without Unicode.
func TestManual(t *testing.T) {
	b := need(t, "dpkg-deb", "man", "lexgrog")
	root := unpacked(t, filepath.Join(b.first, debAMD64))
	want := visible(t, filepath.Join(root, "usr/bin/azimds"))
	entries, err := os.ReadDir(filepath.Join(root, "usr/share/man/man1"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" || len(want) < 20 {
		t.Errorf("pages (-commands +package):\n%s", diff)
	}
	pages := []string{filepath.Join(root, "usr/share/man/man5/azimds-config.5.gz")}
	for _, name := range got {
		pages = append(pages, filepath.Join(root, "usr/share/man/man1", name))
	}
	for _, page := range pages {
		name, _, _ := strings.Cut(filepath.Base(page), ".")
		if text := printed(t, "lexgrog", page); !strings.Contains(text, `"`+name+" - ") {
			t.Errorf("%s: whatis reads %q", name, text)
		}
		for _, locale := range []string{"C", "C.UTF-8"} {
			text, complaints := rendered(t, page, locale)
			if complaints != "" {
				t.Errorf("%s in %s: %s", name, locale, complaints)
			}
			for _, heading := range []string{"\nNAME\n", "\nSYNOPSIS\n", "\nDESCRIPTION\n", "\nSEE ALSO\n", "2023-11-14"} {
				if !strings.Contains(text, heading) {
					t.Errorf("%s in %s: no %q in\n%s", name, locale, heading, text)
				}
			}
		}
	}
	if _, complaints := rendered(t, "testdata/faulty.1", "C"); complaints == "" {
		t.Error("man does not complain of a page with a fault")
	}
	if err := run("", filepath.Join(root, "usr/bin/azimds"), "documents", t.TempDir()); err == nil {
		t.Error("the program that is shipped writes manual pages")
	}
}

// rendered is a page as man shows it at 80 columns, and what it complains of.
func rendered(t *testing.T, page, locale string) (text, complaints string) {
	t.Helper()
	path, err := filepath.Abs(page)
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	cmd := exec.Command("man", "--warnings", "-l", path)
	cmd.Env = append(os.Environ(), "LC_ALL="+locale, "MANWIDTH=80", "MAN_KEEP_FORMATTING=", "MANPAGER=cat", "MANROFFOPT=-c")
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("man %s: %v\n%s", page, err, errs.String())
	}
	return regexp.MustCompile(".\b").ReplaceAllString(out.String(), ""), errs.String()
}

// TestConfiguration: the file that is installed sets nothing, and is what "azimds config init" writes.
func TestConfiguration(t *testing.T) {
	b := need(t, "dpkg-deb")
	root := unpacked(t, filepath.Join(b.first, debAMD64))
	program, file := filepath.Join(root, "usr/bin/azimds"), filepath.Join(root, "etc/azimds/config.yaml")
	t.Setenv("HOME", t.TempDir())
	t.Setenv("XDG_CONFIG_HOME", "")
	text := read(t, file)
	for line := range strings.Lines(text) {
		if line != "\n" && !strings.HasPrefix(line, "#") {
			t.Errorf("it sets something: %s", line)
		}
	}
	if want := printed(t, program, "config", "init", "-"); text != want {
		t.Errorf("not what config init writes:\n%s", cmp.Diff(want, text))
	}
	if got := printed(t, program, "config", "show", "--changed", "--config", file); got != "" {
		t.Errorf("with it, this is not the default:\n%s", got)
	}
	if err := os.WriteFile(file, fmt.Appendf(nil, "%stenant: contoso.com\n", text), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := printed(t, program, "config", "show", "--changed", "--config", file); !strings.HasPrefix(got, "tenant: contoso.com ") {
		t.Errorf("with a line more, this is not the default:\n%s", got)
	}
}

// TestCompletions: each shell's script is there and, where the shell is, read by it.
func TestCompletions(t *testing.T) {
	b := need(t, "dpkg-deb", "bash")
	root := unpacked(t, filepath.Join(b.first, debAMD64))
	program := filepath.Join(root, "usr/bin/azimds")
	script := filepath.Join(root, "usr/share/bash-completion/completions/azimds")
	for shell, path := range map[string]string{"bash": script,
		"zsh":  filepath.Join(root, "usr/share/zsh/vendor-completions/_azimds"),
		"fish": filepath.Join(root, "usr/share/fish/vendor_completions.d/azimds.fish")} {
		if diff := cmp.Diff(printed(t, program, "completion", shell), read(t, path)); diff != "" {
			t.Errorf("%s (-program +package):\n%s", shell, diff)
		}
	}
	// what bash-completion gives a function, in its place
	const ask = `. "$1"; compopt() { :; }; PATH=$2:$PATH; _get_comp_words_by_ref() { cur=--m prev=run words=(azimds run --m) cword=2; }
		COMP_LINE="azimds run --m" COMP_POINT=14 COMP_TYPE=9; __start_azimds; printf '%s\n' "${COMPREPLY[@]}"`
	if got := printed(t, "bash", "-c", ask, "bash", script, filepath.Dir(program)); !strings.HasPrefix(got, "--mode") {
		t.Errorf("bash completes --m with %q", got)
	}
}
