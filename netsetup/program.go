package netsetup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

const programName = "iptables"

// systemFolders are where iptables is looked for first. Which back end it drives, nf_tables or legacy, is the
// distribution's choice, which Docker follows too.
var systemFolders = []string{"/usr/sbin", "/sbin", "/usr/bin", "/bin"}

// steering are the beginnings of the names of variables by which iptables loads code, waits elsewhere or calls modprobe,
// and by which the dynamic loader and libc below it do: those of glibc's sysdeps/generic/unsecvars.h that matter to it.
var steering = []string{
	"XTABLES_", "IPTABLES_", "LD_", "MALLOC_", "GCONV_PATH", "GLIBC_TUNABLES", "LOCPATH", "NLSPATH", "MODPROBE_OPTIONS",
}

// ScrubEnvironment removes from this process's environment what would steer the iptables program, which inherits it: the
// loader of this process may have ignored a variable that the loader of iptables, run by root, would obey. A privileged
// process calls it before anything else of this package; one that also starts programs for a person takes
// [os.Environ] for them before.
func ScrubEnvironment() error {
	var errs []error
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		if slices.ContainsFunc(steering, func(start string) bool { return strings.HasPrefix(name, start) }) {
			if err := os.Unsetenv(name); err != nil {
				errs = append(errs, fmt.Errorf("unsetting variable %q: %w", name, err))
			}
		}
	}
	return errors.Join(errs...)
}

// find finds the iptables program.
var find = func() (string, error) { return findProgram(systemFolders, os.Getenv("PATH")) }

// findProgram looks in the system's folders, then in those of a PATH, for systems such as NixOS that keep programs elsewhere.
// From PATH it takes only an absolute folder, and a program that nobody but root could have put or changed there: it is
// about to run as root.
func findProgram(folders []string, searchPath string) (string, error) {
	for _, folder := range folders {
		if path := filepath.Join(folder, programName); executable(path) {
			return path, nil
		}
	}
	where := []string{strings.Join(folders, ", ") + " and PATH"}
	for _, folder := range filepath.SplitList(searchPath) {
		// A link on the way to the folder may be somebody else's: what is judged here, and run later, is where it leads now.
		real, err := filepath.EvalSymlinks(folder)
		path := filepath.Join(real, programName)
		if err != nil || !filepath.IsAbs(folder) || !executable(path) {
			continue
		}
		if err = rootsAlone(real, path); err == nil {
			return path, nil
		}
		where = append(where, fmt.Sprintf("(passing by %q: %v)", path, err))
	}
	return "", fmt.Errorf("looking for %s in %s: %w", programName, strings.Join(where, " "), ErrNoIPTables)
}

func executable(path string) bool {
	info, err := os.Stat(path) //nolint:gosec // only looked at; rootsAlone judges what PATH led to
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0
}

// rootsAlone refuses paths that somebody other than root could make lead elsewhere: links are followed, and what they lead
// to, with each folder above it, must be root's and writable by nobody else. A folder with the sticky bit may be writable
// when what is in it is a folder of root's, which others then cannot replace.
func rootsAlone(paths ...string) error {
	for _, path := range paths {
		at, err := filepath.EvalSymlinks(path)
		if err != nil {
			return err
		}
		for below := fs.FileMode(0); ; at = filepath.Dir(at) {
			info, err := os.Lstat(at) //nolint:gosec // only looked at, to judge what PATH led to
			if err != nil {
				return err
			}
			if uid, known := ownerOf(info); !known || uid != 0 {
				return fmt.Errorf("%q is not root's", at)
			}
			kept := below.IsDir() && info.Mode()&fs.ModeSticky != 0
			if info.Mode().Perm()&0o022 != 0 && !kept {
				return fmt.Errorf("%q can be written by others than root", at)
			}
			if at == "/" {
				break
			}
			below = info.Mode()
		}
	}
	return nil
}

func ownerOf(info fs.FileInfo) (uid uint32, known bool) {
	stat, known := info.Sys().(*syscall.Stat_t)
	if !known {
		return 0, false
	}
	return stat.Uid, true
}
