package caller

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Who may look at another process's descriptors and executable in proc(5) is who may ptrace it: with CAP_SYS_PTRACE, or with the
// process's own ids as filesystem ids and no fewer capabilities than it has (ptrace(2), PTRACE_MODE_READ_FSCREDS). Root in a container
// has no CAP_SYS_PTRACE, but CAP_SETUID and CAP_SETGID, and takes the second way.

// mayBorrow tells whether err says that a process cannot be looked at, and with its own ids perhaps can.
func mayBorrow(err error) bool { return errors.Is(err, unix.EACCES) && os.Geteuid() == 0 }

// withIDs calls f on a thread that has these filesystem ids (setfsuid(2)) until f returns. It does not call f where it cannot
// take them on.
func withIDs(uid, gid uint32, f func()) (err error) {
	runtime.LockOSThread()
	defer func() {
		back := errors.Join(setID(unix.SetfsuidRetUid, os.Geteuid()), setID(unix.SetfsgidRetGid, os.Getegid()))
		if back == nil {
			runtime.UnlockOSThread() // else the thread ends with its goroutine, and serves no other
		}
		err = errors.Join(err, back)
	}()
	if err := setID(unix.SetfsgidRetGid, int(gid)); err != nil {
		return err
	}
	if err := setID(unix.SetfsuidRetUid, int(uid)); err != nil {
		return err
	}
	f()
	return nil
}

// setID changes one id of the thread. The calls report no error, so they are asked again.
func setID(set func(int) (int, error), id int) error {
	if _, err := set(id); err != nil {
		return fmt.Errorf("taking on filesystem id %d: %w", id, err)
	}
	now, err := set(-1) // invalid: changes nothing, returns the present one
	if err != nil || now != id {
		return fmt.Errorf("taking on filesystem id %d: it stayed %d: %w", id, now, unix.EPERM)
	}
	return nil
}
