package holder

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"azimds/netsetup"
)

// The files of an instance's state folder.
const (
	lockFile    = "lock"         // flock(2)ed by the living holder, with its pid
	controlFile = "control.sock" // the server's control socket, the owner's
	attachFile  = "holder.sock"  // where a server that was not started by the holder asks for its listeners
	guestFile   = "guest.sock"   // where another holder asks to be a guest; root's alone
)

// Root of all state. Interception is per network namespace and /run is not, so a folder is named after the namespace.
const runDir = "/run/azimds"

// LockedError says that another holder lives in this network namespace, and where that is so, why this one cannot be its guest.
type LockedError struct {
	PID   int // 0 when it could not be read
	Dir   string
	Owner *Owner        // whom that one serves, where it is another user
	Mode  netsetup.Mode // which that one has, where another was asked for
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("locking %q: held by process %d", filepath.Join(e.Dir, lockFile), e.PID)
}

// Path is the lock file.
func (e *LockedError) Path() string { return filepath.Join(e.Dir, lockFile) }

// Dir is the state folder for the network namespace of the calling process: /run/azimds/<inode>/default. There is one
// instance in a namespace, since there is one address.
func Dir() (string, error) {
	inode, err := namespace()
	if err != nil {
		return "", err
	}
	return filepath.Join(runDir, strconv.FormatUint(inode, 10), "default"), nil
}

// ControlSocket is where a server of the calling process's network namespace listens for its owner: the one that serves what
// descends from the first of these processes of which there is one, else the one that serves whoever is in no such tree.
func ControlSocket(ancestors ...int) (string, error) {
	dir, err := Dir()
	if err != nil {
		return "", err
	}
	for _, pid := range ancestors {
		path := filepath.Join(dir, treeSocket(pid))
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return filepath.Join(dir, controlFile), nil
}

// AttachSocket is where the holder of the calling process's network namespace listens for a server.
func AttachSocket() (string, error) {
	dir, err := Dir()
	return filepath.Join(dir, attachFile), err
}

func namespace() (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &st); err != nil {
		return 0, fmt.Errorf("reading the network namespace: %w", err)
	}
	return st.Ino, nil
}

// State is the locked state folder of a living holder.
type State struct {
	Dir  string
	lock *os.File
}

// LockState makes the state folder and takes its lock, or says who has it in a [*LockedError].
func LockState() (*State, error) {
	dir, err := Dir()
	if err != nil {
		return nil, err
	}
	return lockDir(dir)
}

// lockDir is LockState for any state folder.
func lockDir(dir string) (*State, error) {
	for range lockAttempts {
		s, err := lockState(dir)
		if !errors.Is(err, errRemoved) {
			return s, err
		}
	}
	return nil, fmt.Errorf("locking state folder %q: %w", dir, errRemoved)
}

// lockAttempts is how often LockState begins anew when somebody who ends removes the folder under its hands.
const lockAttempts = 10

var errRemoved = errors.New("it was removed meanwhile")

func lockState(dir string) (*State, error) {
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	if top := topOf(dir); top != runDir { // where it is, others may have been quicker
		if err := private(top); err != nil {
			return nil, err
		}
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errRemoved
	}
	if err != nil {
		return nil, fmt.Errorf("opening lock: %w", err)
	}
	s := &State{Dir: dir, lock: lock}
	if err := s.take(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return s, nil
}

// makeDir makes the state folder and the two above it. The owner, who is not root, passes through them to the sockets,
// whatever root's umask is. A person's own is for nobody else. It also makes /run, which an image from scratch lacks (FHS 3.0,
// 3.15) and which then stays.
func makeDir(dir string) error {
	mode, folders := fs.FileMode(dirMode), []string{topOf(dir), filepath.Dir(dir), dir}
	if topOf(dir) == runDir {
		folders = append([]string{filepath.Dir(runDir)}, folders...)
	} else {
		mode = personMode
	}
	for _, d := range folders {
		err := os.Mkdir(d, mode)
		if err == nil {
			err = os.Chmod(d, mode)
		}
		switch {
		case err == nil, errors.Is(err, fs.ErrExist):
		case errors.Is(err, fs.ErrNotExist):
			return errRemoved
		default:
			return fmt.Errorf("making state folder %q: %w", dir, err)
		}
	}
	return nil
}

// topOf is the folder of all state that an instance's folder is in.
func topOf(dir string) string { return filepath.Dir(filepath.Dir(dir)) }

// dirMode lets everybody pass; what is in the folder has modes of its own. personMode is that of a person's.
const (
	dirMode    = 0o755
	personMode = 0o700
)

// take locks the lock file, makes sure that it still is the one with that name (a holder that stops removes it) and
// writes the pid into it.
func (s *State) take() error {
	if err := s.flock(); err != nil {
		return err
	}
	if !s.ours() {
		return errRemoved
	}
	if err := s.lock.Truncate(0); err != nil {
		return fmt.Errorf("writing the lock: %w", err)
	}
	if _, err := s.lock.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); err != nil {
		return fmt.Errorf("writing the lock: %w", err)
	}
	return nil
}

// flock takes the lock for the open file, which may have it already.
func (s *State) flock() error {
	err := unix.Flock(int(s.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		return &LockedError{PID: readPID(s.lock), Dir: s.Dir}
	case err != nil:
		return fmt.Errorf("locking %q: %w", s.lock.Name(), err)
	}
	return nil
}

// readPID reads who has the lock; 0 is nobody that can be named.
func readPID(lock io.ReaderAt) int {
	data, err := io.ReadAll(io.NewSectionReader(lock, 0, 32))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || pid < 0 {
		return 0
	}
	return pid
}

// Listen makes a unix socket of the network "unix" or "unixpacket" in the folder, that owner alone can connect to. It gets
// its mode and owner under another name and is then renamed, so that under its own name it was never open to others.
func (s *State) Listen(network, name string, owner Owner) (*net.UnixListener, error) {
	path := filepath.Join(s.Dir, name)
	hidden := path + ".new"
	for _, stale := range []string{path, hidden} {
		if err := os.Remove(stale); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("removing stale socket: %w", err)
		}
	}
	ln, err := net.ListenUnix(network, &net.UnixAddr{Name: hidden, Net: network})
	if err != nil {
		return nil, fmt.Errorf("listening on %q: %w", path, err)
	}
	ln.SetUnlinkOnClose(false)
	err = os.Chmod(hidden, 0o600)
	if err == nil {
		err = os.Lchown(hidden, int(owner.UID), groupFor(owner))
	}
	if err == nil {
		err = os.Rename(hidden, path)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("preparing socket: %w", err), ln.Close())
	}
	return ln, nil
}

// groupFor is the group of an owner's socket. Who is not root leaves it as it is: it has no permissions.
func groupFor(owner Owner) int {
	if os.Geteuid() != 0 {
		return -1
	}
	return int(owner.GID)
}

// discard removes a file of the folder, if it is there.
func (s *State) discard(name string) error {
	if err := os.Remove(filepath.Join(s.Dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing a socket: %w", err)
	}
	return nil
}

// alias gives a file of the folder another name, too.
func (s *State) alias(file, name string) error {
	hidden := filepath.Join(s.Dir, name+".new")
	err := errors.Join(s.discard(name+".new"), os.Symlink(file, hidden))
	if err == nil {
		err = os.Rename(hidden, filepath.Join(s.Dir, name))
	}
	if err != nil {
		return fmt.Errorf("naming a socket: %w", err)
	}
	return nil
}

// Remove takes the folder away, with all that is in it, unless the other one of holder and janitor did, and releases the
// lock. Only who has made sure that nothing of ours is left in the kernel may call it.
func (s *State) Remove() error {
	var err error
	if s.ours() {
		err = s.remove()
	}
	return errors.Join(err, s.Release())
}

// remove takes the folder away, that of a person's with the folders above it which are empty then.
func (s *State) remove() error {
	if topOf(s.Dir) == runDir {
		return removeState(s.Dir)
	}
	return removeFolders(s.Dir)
}

// ours tells whether the lock file that has the name is the one that is locked. Once it has been removed, the folder may be
// the next holder's.
func (s *State) ours() bool {
	held, err := s.lock.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(s.lock.Name())
	return err == nil && os.SameFile(held, named)
}

// Release lets go of the lock, where it has it, and leaves the folder.
func (s *State) Release() error {
	if s.lock == nil {
		return nil
	}
	return s.lock.Close()
}

// removeState removes the state folder dir, the lock last, and its parents as far as they are empty. What is not there is
// not missed. The caller has the lock: from the moment in which that has lost its name, the folder may be the next
// holder's, and a folder with something in it stays.
func removeState(dir string) error {
	if filepath.Dir(filepath.Dir(dir)) != runDir {
		return fmt.Errorf("removing state folder %q: it is not one of ours", dir)
	}
	return removeFolders(dir)
}

// removeFolders removes a state folder and its parents up to the top.
func removeFolders(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing state folder: %w", err)
	}
	paths := []string{filepath.Join(dir, lockFile)}
	for _, e := range entries {
		if e.Name() != lockFile {
			paths = append([]string{filepath.Join(dir, e.Name())}, paths...)
		}
	}
	for _, path := range append(paths, dir, filepath.Dir(dir), topOf(dir)) {
		err := os.Remove(path)
		switch {
		case err == nil, errors.Is(err, fs.ErrNotExist):
		case errors.Is(err, unix.ENOTEMPTY), errors.Is(err, unix.EEXIST):
			return nil // the next holder's, or another namespace's
		default:
			return fmt.Errorf("removing state folder: %w", err)
		}
	}
	return nil
}
