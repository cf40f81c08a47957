package packages

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	holderDropIn = "etc/systemd/system/azimds-net.service.d/azimds.conf"
	serverDropIn = "etc/systemd/system/azimds.service.d/azimds.conf"
	holderLink   = "etc/systemd/system/multi-user.target.wants/azimds-net.service"
	serverLink   = "etc/systemd/system/multi-user.target.wants/azimds.service"
	settings     = "etc/azimds/config.yaml"
	program      = "usr/bin/azimds"
)

// ours are all places of ours that packages and "azimds install" make.
func ours(t *testing.T, root string) string {
	t.Helper()
	return there(t, root, program, settings, holderDropIn, serverDropIn, holderLink, serverLink, "run/azimds")
}

func list(paths ...string) string { return strings.Join(paths, " ") }

// committed does to a root what "azimds install --commit" does to files.
func committed(t *testing.T, root string) {
	t.Helper()
	put(t, root, holderDropIn, written("[Service]\nEnvironment=\"AZIMDS_USER=alice\"\n"))
	put(t, root, serverDropIn, written("[Service]\nUser=alice\n"))
	must(t, root, "systemctl --quiet enable azimds-net.service azimds.service")
	if got := there(t, root, holderLink, serverLink); got != list(holderLink, serverLink) {
		t.Fatalf("enabled: %q", got)
	}
}

// manager has the commands that a package's life is made of.
type manager struct {
	first, second, remove string
	removed               string // what remove leaves of all that "azimds install" and the package made
	purge                 string
}

// TestLife: installed, upgraded, removed and purged, with all that "azimds install" makes, and all is as it was. Nothing is enabled by
// itself, what was edited is kept, and what the scripts find missing stops none of them.
func TestLife(t *testing.T) {
	b := need(t)
	deb := manager{
		first:   "apt-get -q update && apt-get install -qy azimds=1.2.3",
		second:  "apt-get install -qy azimds",
		remove:  "apt-get remove -qy azimds",
		removed: list(settings, holderDropIn, serverDropIn),
		purge:   "apt-get purge -qy azimds",
	}
	bare := deb
	bare.first = "rm /usr/bin/systemctl /usr/bin/systemd-sysusers /usr/bin/systemd-tmpfiles && " + deb.first
	repository := repositories(t, b, "")
	for name, m := range map[string]manager{"deb": deb, "deb without systemd's programs": bare} {
		t.Run(name, func(t *testing.T) {
			r := root(t)
			copyInto(t, repository, filepath.Join(r, "repository"))
			put(t, r, "etc/apt/sources.list.d/azimds.list", "deb [trusted=yes] file:/repository/deb stable main\n")
			live(t, r, m, name == "deb")
		})
	}
}

func live(t *testing.T, r string, m manager, systemd bool) {
	before := snapshot(t, r)
	if out := must(t, r, m.first); strings.Contains(out, "azimds: ") {
		t.Errorf("installing says:\n%s", out)
	}
	state := list(program, settings)
	if systemd {
		state += " run/azimds"
		if group := must(t, r, "grep ^azimds: /etc/group"); group != "azimds:x:65530:\n" {
			t.Errorf("group %q", group)
		}
	} else {
		for _, p := range []string{"usr/bin/systemctl", "usr/bin/systemd-sysusers", "usr/bin/systemd-tmpfiles"} {
			delete(before, p) // this test's own doing
		}
	}
	if got := ours(t, r); got != state {
		t.Errorf("installed: %q, want %q", got, state)
	}
	if got := must(t, r, "azimds version"); !strings.HasPrefix(got, "azimds v1.2.3 ") {
		t.Errorf("installed: %s", got)
	}
	edited := read(t, filepath.Join(r, settings)) + "mode: dummy\n"
	put(t, r, settings, edited)
	if systemd {
		committed(t, r)
		state = list(program, settings, holderDropIn, serverDropIn, holderLink, serverLink, "run/azimds")
	}
	must(t, r, m.second)
	if got := ours(t, r); got != state {
		t.Errorf("upgraded: %q, want %q", got, state)
	}
	if got := must(t, r, "azimds version"); !strings.HasPrefix(got, "azimds v1.2.4 ") || read(t, filepath.Join(r, settings)) != edited {
		t.Errorf("upgraded: %s", got)
	}
	out := must(t, r, m.remove)
	want := settings
	if systemd {
		want = m.removed
	}
	if got := ours(t, r); got != want {
		t.Errorf("removed: %q, want %q:\n%s", got, want, out)
	}
	if out := must(t, r, m.purge); strings.Contains(out, "azimds: ") {
		t.Errorf("purging says:\n%s", out)
	}
	if diff := cmp.Diff(before, snapshot(t, r)); diff != "" {
		t.Errorf("after all (-before +after):\n%s", diff)
	}
}

// TestLifeOfRPM is TestLife of the rpm, in the same Debian: rpm has no purge, and keeps what was edited when it removes.
func TestLifeOfRPM(t *testing.T) {
	b := need(t, "rpm")
	r := root(t)
	rpm := func(args ...string) {
		t.Helper()
		const command = `mount -t proc proc "$1/proc" && exec rpm --root "$@"`
		printed(t, "unshare", append([]string{"--mount", "--net", "sh", "-ec", command, "rpm", r, "--dbpath", "/var/lib/rpm"}, args...)...)
	}
	rpm("--initdb")
	before := snapshot(t, r)
	rpm("-i", "--nodeps", "--nosignature", filepath.Join(b.first, rpmAMD64))
	if got, want := ours(t, r), list(program, settings, "run/azimds"); got != want {
		t.Errorf("installed: %q, want %q", got, want)
	}
	edited := read(t, filepath.Join(r, settings)) + "mode: dummy\n"
	put(t, r, settings, edited)
	committed(t, r)
	rpm("-U", "--nodeps", "--nosignature", filepath.Join(b.second, "azimds-1.2.4-1.x86_64.rpm"))
	if got := must(t, r, "azimds version"); !strings.HasPrefix(got, "azimds v1.2.4 ") || read(t, filepath.Join(r, settings)) != edited {
		t.Errorf("upgraded: %s", got)
	}
	if got := there(t, r, holderLink, serverLink, holderDropIn, serverDropIn); got != list(holderLink, serverLink, holderDropIn, serverDropIn) {
		t.Errorf("upgraded: %q", got)
	}
	rpm("-e", "azimds")
	if got := read(t, filepath.Join(r, settings+".rpmsave")); got != edited {
		t.Errorf("removed: the configuration kept is\n%s", got)
	}
	if err := os.RemoveAll(filepath.Join(r, "etc/azimds")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, snapshot(t, r)); diff != "" {
		t.Errorf("after all (-before +after):\n%s", diff)
	}
}

// TestPurgeKeeps: a purge removes what "azimds install" wrote as it wrote it, and neither what was changed since, which it names, nor
// what somebody put beside it.
func TestPurgeKeeps(t *testing.T) {
	b := need(t)
	r := root(t)
	copyInto(t, filepath.Join(b.first, debAMD64), filepath.Join(r, "azimds.deb"))
	must(t, r, "dpkg -i /azimds.deb")
	committed(t, r)
	put(t, r, holderDropIn, read(t, filepath.Join(r, holderDropIn))+"# and more\n")
	foreign := list("etc/systemd/system/azimds.service.d/other.conf", "etc/azimds/app.pem")
	for path := range strings.FieldsSeq(foreign) {
		put(t, r, path, "somebody's\n")
	}
	out := must(t, r, "dpkg --purge azimds")
	if got := there(t, r, settings, holderDropIn, serverDropIn, holderLink, serverLink); got != holderDropIn {
		t.Errorf("left: %q, want %q", got, holderDropIn)
	}
	if !strings.Contains(out, "azimds: /"+holderDropIn+" stays") || strings.Contains(out, serverDropIn) {
		t.Errorf("purge says:\n%s", out)
	}
	if got := there(t, r, strings.Fields(foreign)...); got != foreign {
		t.Errorf("of somebody's files there is left: %q", got)
	}
}
