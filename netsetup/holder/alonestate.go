package holder

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// AloneSocket is where the server of an agent without an interception listens for its owner, who is whoever calls: one that they
// have started themselves, else one that root has for them.
func AloneSocket() (string, error) {
	dir, err := AloneDir("")
	if err != nil {
		return "", err
	}
	own := filepath.Join(dir, controlFile)
	if _, err := os.Lstat(own); err == nil || topOf(dir) == runDir {
		return own, nil
	}
	roots := filepath.Join(runDir, filepath.Base(filepath.Dir(dir)), aloneInstance, controlFile)
	if _, err := os.Lstat(roots); err == nil {
		return roots, nil
	}
	return own, nil
}

// aloneInstance is the name of an agent's folder that intercepts nothing.
const aloneInstance = "endpoint"

// AloneDir is the state folder of an agent without an interception. There may be several in a network namespace: the one that
// commands talk to has no name, and others are told apart by theirs.
//
// A person's is below XDG_RUNTIME_DIR (XDG Base Directory Specification), else below a folder of their own where temporary files
// are: azimds asks nobody for a place in /run there.
func AloneDir(name string) (string, error) {
	inode, err := namespace()
	if err != nil {
		return "", err
	}
	top := runDir
	if os.Geteuid() != 0 {
		if top, err = personsDir(); err != nil {
			return "", err
		}
	}
	instance := aloneInstance
	if name != "" {
		instance += "-" + name
	}
	return filepath.Join(top, strconv.FormatUint(inode, 10), instance), nil
}

// personsDir is the folder for the state of this process's user.
func personsDir() (string, error) {
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) && private(dir) == nil {
		return filepath.Join(dir, "azimds"), nil
	}
	parent := os.TempDir()
	if unix.Access(parent, unix.W_OK|unix.X_OK) != nil { // an image from scratch has none
		parent = sharedMemory
	}
	dir := filepath.Join(parent, "azimds-"+strconv.Itoa(os.Geteuid()))
	if err := private(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	return dir, nil
}

// sharedMemory is a folder that everybody can write, and that containers have (shm_overview(7)).
const sharedMemory = "/dev/shm"

// errNotPrivate says that others than this process's user decide what is in a folder.
var errNotPrivate = errors.New("it is not a folder of this user's alone")

// private reports why a folder is not this process's user's alone: where temporary files are, anybody may have made it.
func private(dir string) error {
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return fmt.Errorf("looking at state folder %q: %w", dir, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || st.Uid != uint32(os.Geteuid()) || st.Mode&0o077 != 0 {
		return fmt.Errorf("looking at state folder %q: %w", dir, errNotPrivate)
	}
	return nil
}
