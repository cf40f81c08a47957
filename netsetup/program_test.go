package netsetup

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"azimds/test/netns"
)

// program makes an executable file and the folders above it, all of them root's.
func program(t *testing.T, path string) {
	t.Helper()
	err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755))
	if err != nil {
		t.Fatal(err)
	}
}

// What iptables is run from: the system's folders before PATH, and from PATH only what nobody but root can have made.
func TestFindProgram(t *testing.T) {
	netns.Root(t)
	const stranger = 1002
	tests := []struct {
		name    string
		prepare func(t *testing.T, path string) // of PATH's program
		refused string                          // in the error; "" when it is found
	}{
		{"root's", func(*testing.T, string) {}, ""},
		{"a link of root's", func(t *testing.T, path string) {
			program(t, path+"-multi")
			must(t, os.Remove(path), os.Symlink("iptables-multi", path))
		}, ""},
		{"a root's folder in a sticky one, as in /nix/store", func(t *testing.T, path string) {
			must(t, os.Chmod(filepath.Dir(filepath.Dir(path)), 0o775|os.ModeSticky))
		}, ""},
		{"a program of somebody's", func(t *testing.T, path string) { must(t, os.Chown(path, stranger, 0)) }, "is not root's"},
		{"a program that others write", func(t *testing.T, path string) { must(t, os.Chmod(path, 0o777)) }, "can be written by"},
		{"a folder of somebody's", func(t *testing.T, path string) {
			must(t, os.Chown(filepath.Dir(path), stranger, 0))
		}, "is not root's"},
		{"a folder that a group writes", func(t *testing.T, path string) {
			must(t, os.Chmod(filepath.Dir(path), 0o775))
		}, "can be written by"},
		{"a sticky folder", func(t *testing.T, path string) {
			must(t, os.Chmod(filepath.Dir(path), 0o777|os.ModeSticky))
		}, "can be written by"},
		{"a folder above that others write", func(t *testing.T, path string) {
			must(t, os.Chmod(filepath.Dir(filepath.Dir(path)), 0o777))
		}, "can be written by"},
		{"a link to somebody's", func(t *testing.T, path string) {
			other := filepath.Join(t.TempDir(), "iptables")
			program(t, other)
			must(t, os.Chown(other, stranger, 0), os.Remove(path), os.Symlink(other, path))
		}, "is not root's"},
		{"no program", func(t *testing.T, path string) { must(t, os.Remove(path)) }, "no iptables program"},
		{"not executable", func(t *testing.T, path string) { must(t, os.Chmod(path, 0o644)) }, "no iptables program"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "sw", "bin", "iptables")
			program(t, path)
			tt.prepare(t, path)
			found, err := findProgram([]string{filepath.Join(t.TempDir(), "none")}, "::bin:"+filepath.Dir(path))
			switch {
			case tt.refused == "" && (err != nil || found != path):
				t.Errorf("found %q, %v; want %q", found, err, path)
			case tt.refused != "" && (!errors.Is(err, ErrNoIPTables) || !strings.Contains(err.Error(), tt.refused)):
				t.Errorf("found %q, %v; want ErrNoIPTables that says %q", found, err, tt.refused)
			}

			system := t.TempDir()
			program(t, filepath.Join(system, "iptables"))
			found, err = findProgram([]string{system}, filepath.Dir(path))
			if err != nil || found != filepath.Join(system, "iptables") {
				t.Errorf("beside the system's: found %q, %v", found, err)
			}
		})
	}
}

// A link of somebody's on the way to a folder of root's is followed once: what is run later does not pass it.
func TestFindProgramBehindLink(t *testing.T) {
	netns.Root(t)
	path := filepath.Join(t.TempDir(), "iptables")
	program(t, path)
	link := filepath.Join(t.TempDir(), "bin")
	must(t, os.Symlink(filepath.Dir(path), link), os.Lchown(link, 1002, 0))
	if found, err := findProgram(nil, link); err != nil || found != path {
		t.Errorf("found %q, %v; want %q", found, err, path)
	}
}

// A relative folder in PATH, and an empty one, which means the current folder, count for nothing.
func TestFindProgramRelative(t *testing.T) {
	dir := t.TempDir()
	program(t, filepath.Join(dir, "bin", "iptables"))
	program(t, filepath.Join(dir, "iptables"))
	t.Chdir(dir)
	if found, err := findProgram(nil, ":.:bin:./bin"); !errors.Is(err, ErrNoIPTables) {
		t.Errorf("found %q, %v", found, err)
	}
}

func TestScrubEnvironment(t *testing.T) {
	steers := []string{"XTABLES_LIBDIR", "XTABLES_LOCKFILE", "IPTABLES_LIB_DIR", "LD_PRELOAD", "LD_LIBRARY_PATH", "GLIBC_TUNABLES", "MODPROBE_OPTIONS"}
	stays := []string{"PATH", "HOME", "LC_ALL", "AZIMDS_MODE", "OLD_LD_PRELOAD"}
	for _, name := range append(steers, stays...) {
		t.Setenv(name, "/a=b")
	}
	if err := ScrubEnvironment(); err != nil {
		t.Fatal(err)
	}
	for _, name := range steers {
		if value, set := os.LookupEnv(name); set {
			t.Errorf("%s is still %q", name, value)
		}
	}
	for _, name := range stays {
		if os.Getenv(name) != "/a=b" {
			t.Errorf("%s is gone", name)
		}
	}
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}
