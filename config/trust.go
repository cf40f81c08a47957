package config

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// others is the permission to write of everybody but the owner. A POSIX ACL that lets somebody write shows in the group's
// bits, which are its mask (acl(5)).
const others fs.FileMode = 0o022

// status is what the trust rule asks of one file or folder.
type status struct {
	uid  uint32
	mode fs.FileMode
}

// lstat reads the status of path, of a symbolic link itself.
func lstat(path string) (status, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return status{}, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return status{}, &fs.PathError{Op: "lstat", Path: path, Err: fs.ErrInvalid}
	}
	return status{uid: st.Uid, mode: info.Mode()}, nil
}

// RootOnly tells whether root alone can decide what is read at path. A process that acts as root leaves any other --config
// file to the server, which runs as the owner.
func RootOnly(path string) bool { return guard{lstat: lstat}.rootOnly(path) == nil }

// guard holds the trust rule: who could have written a file?
type guard struct {
	lstat func(path string) (status, error)
	own   string // folder that azimds' system file has to itself: the only one whose mode we tell people to change
}

// distrust is the finding that somebody else than root could have written a file.
type distrust struct {
	problem string // which file or folder, and why
	remedy  string // the command that mends it, or shows what to mend
}

func (d *distrust) Error() string { return d.problem }

// Command is as that of [Mendable].
func (d *distrust) Command() string { return d.remedy }

// rootOnly returns nil when root alone can decide what is read at path: the file and every folder above it belong to root,
// nobody else can write them, and no symbolic link leads elsewhere. Otherwise the error is a [distrust]; where the file is
// not there, it is [fs.ErrNotExist].
func (g guard) rootOnly(path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("resolving %q: %w", path, err)
	}
	for at := path; ; at = filepath.Dir(at) {
		s, err := g.lstat(at)
		if err != nil {
			return fmt.Errorf("checking owner of %q: %w", at, err)
		}
		if problem := flaw(s); problem != "" {
			return &distrust{problem: fmt.Sprintf("%q %s", at, problem), remedy: g.remedy(path, at, s)}
		}
		if at == filepath.Dir(at) {
			return nil
		}
	}
}

// flaw says why s is not root's alone; empty when it is.
func flaw(s status) string {
	switch {
	case s.mode&fs.ModeSymlink != 0:
		return "is a symbolic link"
	case s.uid != 0:
		return fmt.Sprintf("belongs to uid %d, not to root", s.uid)
	case s.mode.Perm()&others != 0:
		return fmt.Sprintf("has mode %#o, others than root can write it", s.mode.Perm())
	}
	return ""
}

// remedy is the command that makes at, on the way to path, root's alone. Where at is somebody else's folder (a home, /tmp) or
// a link, the file has to move instead: the command shows why, each step of the way with its owner and mode.
func (g guard) remedy(path, at string, s status) string {
	switch {
	case s.mode&fs.ModeSymlink != 0 || at != path && at != g.own:
		return "namei -l " + quote(path)
	case s.uid != 0:
		return fmt.Sprintf("sudo chown root:root %s && sudo chmod go-w %s", quote(at), quote(at))
	default:
		return "sudo chmod go-w " + quote(at)
	}
}
