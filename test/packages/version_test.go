package packages

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"azimds/test/netns"
)

// TestVersion: what git says becomes a version.
func TestVersion(t *testing.T) {
	for _, c := range []struct{ description, want string }{
		{"v1.2.3", "1.2.3"},
		{"v1.2.3-4-gabc1234", "1.2.3+4.gabc1234"},
		{"v1.2.3-dirty", "1.2.3+0.dirty"},
		{"v1.2.3-4-gabc1234-dirty", "1.2.3+4.gabc1234.dirty"},
		{"v1.3.0-rc.1", "1.3.0~rc.1"},
		{"v1.3.0-rc.1-2-gabc1234", "1.3.0~rc.1+2.gabc1234"},
		{"v1.3.0-beta-2", "1.3.0~beta.2"},
		{"abc1234", "0.0.0+17.gabc1234"},
		{"abc1234-dirty", "0.0.0+17.gabc1234.dirty"},
		{"v1_2", ""},
		{"v1.2.3/4", ""},
	} {
		out, err := output("../..", "systemd/package/version", c.description, "17")
		if (err == nil) != (c.want != "") || strings.TrimSpace(out) != c.want {
			t.Errorf("%s: %q, %v; want %q", c.description, out, err, c.want)
		}
	}
}

// TestVersionsSort: as dpkg and rpm compare them, in the order in which they are made.
func TestVersionsSort(t *testing.T) {
	for _, p := range []string{"dpkg", "rpm"} {
		_, err := exec.LookPath(p)
		netns.Need(t, p, err)
	}
	sorted := []string{"0.0.0+9.gfff", "0.0.0+17.gabc", "1.2.3~rc.1", "1.2.3~rc.1+2.gabc", "1.2.3~rc.2", "1.2.3", "1.2.3+0.dirty",
		"1.2.3+4.gfff", "1.2.3+4.gfff.dirty", "1.2.3+12.gabc", "1.2.4", "1.10.0", "2.0.0"}
	for i, newer := range sorted[1:] {
		older := sorted[i]
		if err := run("", "dpkg", "--compare-versions", older, "lt", newer); err != nil {
			t.Errorf("dpkg: %s is not before %s: %v", older, newer, err)
		}
		got := printed(t, "rpm", "--eval", fmt.Sprintf(`%%{lua: print(rpm.vercmp("%s-1", "%s-1"))}`, older, newer))
		if strings.TrimSpace(got) != "-1" {
			t.Errorf("rpm: %s against %s is %s", older, newer, got)
		}
	}
}

// TestScripts: no script of the packages and of the image has what shellcheck warns of.
func TestScripts(t *testing.T) {
	_, err := exec.LookPath("shellcheck")
	netns.Need(t, "shellcheck", err)
	scripts := []string{}
	for _, name := range []string{"build", "notices", "repository", "version", "postinstall", "preremove", "postremove"} {
		scripts = append(scripts, filepath.Join("../../systemd/package", name))
	}
	scripts = append(scripts, "../../cmd/azimds/image/build")
	if err := run("", "shellcheck", scripts...); err != nil {
		t.Error(err)
	}
	if err := run("", "shellcheck", "testdata/doubtful"); err == nil {
		t.Error("shellcheck sees nothing in a script that has a fault")
	}
}
