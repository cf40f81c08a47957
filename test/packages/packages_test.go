// Package packages builds the packages as they are released, and installs them where nothing of this machine is touched.
package packages

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"azimds/test/netns"
)

var update = flag.Bool("update", false, "rewrite the recorded lists")

// epoch is when everything in the packages was made.
const epoch = "1700000000"

// builds are folders with packages: of one release, and of the one after it.
type builds struct {
	first, second string
	again         string // the first, from another folder
}

// build makes them once for all tests of this package. Two trees, whose paths differ in length, are committed alike, so that both have
// the same commit.
var build = sync.OnceValues(func() (builds, error) {
	dir, err := os.MkdirTemp("", "azimds-packages-")
	if err != nil {
		return builds{}, err
	}
	built = dir
	b := builds{first: filepath.Join(dir, "first"), second: filepath.Join(dir, "second"), again: filepath.Join(dir, "again")}
	here, there := filepath.Join(dir, "here"), filepath.Join(dir, "elsewhere", "and", "deeper")
	if err := errors.Join(plant(here), plant(there)); err != nil {
		return b, err
	}
	return b, errors.Join(
		run(here, "systemd/package/build", b.first, "amd64", "arm64"),
		run(there, "systemd/package/build", b.again, "amd64"),
		run(here, "git", "commit", "-q", "--allow-empty", "-m", "another"),
		run(here, "git", "tag", "v1.2.4"),
		run(here, "systemd/package/build", b.second, "amd64"),
	)
})

// built is the folder of what was built, if anything was.
var built string

// plant copies this repository's files to a folder and commits them as version 1.2.3.
func plant(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return errors.Join(
		run("../..", "sh", "-ec", `git ls-files -coz --exclude-standard . | xargs -0r sh -c 'for f; do [ ! -e "$f" ] || printf "%s\0" "$f"; done' - |
			tar --null -T - -cf - | tar -xf - -C "$0"`, dir),
		run(dir, "git", "init", "-q"),
		run(dir, "git", "add", "-A"),
		run(dir, "git", "commit", "-q", "-m", "all of it"),
		run(dir, "git", "tag", "v1.2.3"),
	)
}

// run runs a command in a folder; an error has all that it printed. Git is told nothing by this machine but that the files are ours.
func run(dir, name string, args ...string) error {
	_, err := output(dir, name, args...)
	return err
}

func output(dir, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory",
		"GIT_CONFIG_VALUE_0=*", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_AUTHOR_DATE="+epoch+" +0000",
		"GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com", "GIT_COMMITTER_DATE="+epoch+" +0000", "LC_ALL=C.UTF-8", "TZ=UTC")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("running %s %q: %w\n%s", name, args, err, out)
	}
	return string(out), nil
}

func TestMain(m *testing.M) {
	code := m.Run()
	if err := os.RemoveAll(built); err != nil { // of "" it removes nothing
		fmt.Fprintln(os.Stderr, "removing the packages:", err)
		code = 1
	}
	os.Exit(code)
}

// need are the packages, and the programs that a test looks at them with.
func need(t *testing.T, programs ...string) builds {
	t.Helper()
	for _, p := range append(programs, "git") {
		_, err := exec.LookPath(p)
		netns.Need(t, p, err)
	}
	b, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// printed is what a command prints.
func printed(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := output("", name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

const (
	debAMD64 = "azimds_1.2.3_amd64.deb"
	debARM64 = "azimds_1.2.3_arm64.deb"
	rpmAMD64 = "azimds-1.2.3-1.x86_64.rpm"
	rpmARM64 = "azimds-1.2.3-1.aarch64.rpm"
)

// unpacked is a folder with what a deb installs.
func unpacked(t *testing.T, deb string) string {
	t.Helper()
	dir := t.TempDir()
	printed(t, "dpkg-deb", "-x", deb, dir)
	return dir
}
