package systemd

import (
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the plans in testdata")

// alice is an installation with what is awkward to write in a unit.
var alice = Service{
	User:   "alice",
	Holder: []string{"AZIMDS_USER=alice", "AZIMDS_MODE=dummy"},
	Server: []string{"AZIMDS_MODE=dummy", `HTTPS_PROXY=http://proxy:3128/a%20b"\`, "PATH=/opt/a b:/usr/bin"},
}

// bare is the same without a package.
func bare() Service {
	s := alice
	s.Program, s.NetworkManager = "/usr/local/bin/azimds", true
	return s
}

// after is a host on which the plan has been carried out: files alone.
func after(t *testing.T, s Service, h Host) Host {
	t.Helper()
	p, err := Install(s, h)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]File{}
	maps.Copy(files, h.Files)
	for _, step := range p.Steps {
		switch step := step.(type) {
		case Write:
			files[step.Path] = File{Text: step.Text, Mode: step.Mode}
		case Keep:
			delete(files, step.Path)
		case Remove:
			delete(files, step.Path)
		}
	}
	return Host{Files: files, Enabled: true, AnyEnabled: true, Active: true, AnyActive: true, Group: true}
}

// edited is h with a line more in one file.
func edited(h Host, path string) Host {
	h.Files = map[string]File{path: {Text: h.Files[path].Text + "# mine\n", Mode: fileMode}}
	return h
}

// brief is a plan without the texts of files.
func brief(p Plan) string {
	var b strings.Builder
	for _, s := range p.Steps {
		title, _, _ := strings.Cut(s.String(), "\n")
		b.WriteString(title + "\n")
	}
	for _, args := range p.Recover {
		b.WriteString("else run " + strings.Join(args, " ") + "\n")
	}
	return b.String()
}

func TestPlans(t *testing.T) {
	packaged, byHand := after(t, alice, Host{}), after(t, bare(), Host{})
	stopped := packaged
	stopped.Active, stopped.Enabled = false, false
	foreign := Host{Files: map[string]File{unitFolder + ServerUnit + dropIn: {Text: "[Service]\nUser=bob\n", Mode: fileMode}}, Group: true}
	other := alice
	other.User = "bob"
	install := func(s Service, h Host) Plan {
		p, err := Install(s, h)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	managed := Host{Networkd: true, NetworkManager: true}
	crowded := edited(packaged, unitFolder+ServerUnit+dropIn)
	crowded.Taken = []string{unitFolder + ServerUnit + dropIn + ".saved"}
	removed := byHand
	removed.Networkd, removed.NetworkManager = true, true
	for _, tt := range []struct {
		name string
		plan Plan
	}{
		{"install with a package", install(alice, Host{})},
		{"install a bare program", install(bare(), managed)},
		{"install twice", install(alice, packaged)},
		{"install a bare program twice", install(bare(), byHand)},
		{"install for another user", install(other, packaged)},
		{"install what was stopped and disabled", install(alice, stopped)},
		{"install where somebody else wrote", install(alice, foreign)},
		{"install where somebody edited", install(alice, crowded)},
		{"install a package over a bare program", install(alice, byHand)},
		{"uninstall with a package", Uninstall(packaged)},
		{"uninstall a bare program", Uninstall(removed)},
		{"uninstall where somebody edited", Uninstall(edited(packaged, unitFolder+ServerUnit+dropIn))},
		{"uninstall where somebody else wrote", Uninstall(foreign)},
		{"uninstall twice", Uninstall(Host{Group: true})},
	} {
		got := brief(tt.plan)
		if tt.name == "install with a package" {
			got = tt.plan.String() // one whole plan is enough to read
		}
		compare(t, strings.ReplaceAll(tt.name, " ", "-")+".txt", got)
	}
}

func compare(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got), refresh with -update:\n%s", name, diff)
	}
}

// The units of a bare program are those of packages with that program in them, and nothing of the packages' is left.
func TestBareUnits(t *testing.T) {
	h := after(t, bare(), Host{})
	for _, name := range []string{HolderUnit, ServerUnit} {
		got := h.Files[unitFolder+name].Text
		shipped, err := Unit(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, text, _ := strings.Cut(got, "\n"); strings.ReplaceAll(text, "/usr/local/bin/azimds", PackagedProgram) != shipped {
			t.Errorf("%s is not as it is shipped:\n%s", name, got)
		}
		if strings.Contains(got, PackagedProgram+" ") || !strings.Contains(got, "ExecStart=/usr/local/bin/azimds ") {
			t.Errorf("%s starts another program:\n%s", name, got)
		}
	}
}

// A file tells whether it is as it was written.
func TestIntact(t *testing.T) {
	text := signed("[Service]\nUser=alice\n")
	for _, tt := range []struct {
		name, text string
		want       bool
	}{
		{"as written", text, true},
		{"a line more", text + "Nice=5\n", false},
		{"another value", strings.Replace(text, "alice", "bob", 1), false},
		{"another first line", "# mine\n" + text, false},
		{"without the first line", strings.SplitAfterN(text, "\n", 2)[1], false},
		{"empty", "", false},
	} {
		if got := intact(tt.text); got != tt.want {
			t.Errorf("%s: intact = %t", tt.name, got)
		}
	}
}

// A value that would begin another line of the unit is refused, and one that needs quotes is not.
func TestEnvironmentRefuses(t *testing.T) {
	for value, ok := range map[string]bool{"/usr/bin": true, "a b%\"\\$": true, "a\nUser=root": false, "a\x00": false, "a\r": false} {
		s := alice
		s.Server = []string{"PATH=" + value}
		_, err := Install(s, Host{})
		if (err == nil) != ok || err != nil && (!strings.Contains(err.Error(), `"PATH"`) || strings.Contains(err.Error(), "root")) {
			t.Errorf("%q: %v", value, err)
		}
	}
}

// What is written is written only in the places that uninstall looks at.
func TestPlaces(t *testing.T) {
	for path := range after(t, bare(), Host{}).Files {
		if !slices.Contains(Places(), path) {
			t.Errorf("%s is written and not among the places", path)
		}
	}
}
