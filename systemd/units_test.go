package systemd

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"azimds/test/netns"
)

// The units that are shipped name the program where packages put it, and no directive that systemd 252 has not: it says nothing of
// them. Of one that has a mistake it speaks.
func TestUnitsVerify(t *testing.T) {
	const program = "systemd-analyze"
	_, err := exec.LookPath(program)
	netns.Need(t, program, err)
	dir := t.TempDir()
	verify := func(change *strings.Replacer) string {
		t.Helper()
		args := []string{"verify", "--man=no"}
		for _, name := range []string{HolderUnit, ServerUnit} {
			text, err := Unit(name)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(text, "\nExecStart="+PackagedProgram+" ") {
				t.Errorf("%s does not start %s", name, PackagedProgram)
			}
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, []byte(change.Replace(text)), 0o600); err != nil {
				t.Fatal(err)
			}
			args = append(args, path)
		}
		out, err := exec.Command(program, args...).CombinedOutput()
		if err != nil {
			return fmt.Sprintf("%s%v", out, err)
		}
		return string(out)
	}
	// The program and the group are not on this machine.
	there := []string{PackagedProgram, "/bin/true", "SupplementaryGroups=azimds", "SupplementaryGroups=root"}
	if said := verify(strings.NewReplacer(there...)); said != "" {
		t.Errorf("systemd-analyze verify says:\n%s", said)
	}
	if said := verify(strings.NewReplacer(append(there, "UMask=", "UMusk=")...)); !strings.Contains(said, "UMusk") {
		t.Errorf("systemd-analyze verify says of a mistake:\n%s", said)
	}
}

func TestUnit(t *testing.T) {
	entries, err := fs.ReadDir(units, "units")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if text, err := Unit(e.Name()); err != nil || !strings.HasPrefix(text, "# ") || !strings.HasSuffix(text, "\n") {
			t.Errorf("%s: %v, %.40q", e.Name(), err, text)
		}
	}
	if _, err := Unit("../units.go"); err == nil {
		t.Error("a file outside of the folder was read")
	}
}
