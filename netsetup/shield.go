package netsetup

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// shielded are the signals that a terminal, or who ends a session, sends to a whole process group.
var shielded = []unix.Signal{unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGHUP}

// shield runs do so that a program which it starts is not ended by the Ctrl-C that is meant for this process: it would stop
// in the midst of a change, or of taking one back. The program inherits the signal mask of the thread that starts it
// (signal(7), "Signal mask and pending signals"), and Go gives it the thread's own. This process gets its signals on
// other threads.
func shield(do func() error) (err error) {
	var blocked, before unix.Sigset_t
	for _, s := range shielded {
		blocked.Val[(s-1)/64] |= 1 << ((s - 1) % 64)
	}
	runtime.LockOSThread()
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &blocked, &before); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("blocking signals: %w", err)
	}
	defer func() {
		if back := unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil); back != nil {
			err = fmt.Errorf("unblocking signals: %w", back) // the thread stays locked: it must not serve another goroutine
			return
		}
		runtime.UnlockOSThread()
	}()
	return do()
}
