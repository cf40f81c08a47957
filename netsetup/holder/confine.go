package holder

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Confine gives up, for every thread of the process and for whatever it starts, the means to gain privilege: it sets
// no_new_privs (Documentation/userspace-api/no_new_privs.rst) and empties the ambient, effective, permitted and inheritable
// capability sets (capabilities(7)). A process that runs as uid 0 keeps its uid and loses what makes it root.
//
// It also makes the process undumpable (PR_SET_DUMPABLE in prctl(2)): what it holds is in no core file, and other processes of
// the same uid can neither trace it nor read its memory and environment. A program that it starts is as any other.
//
// prctl and capset act on one thread; syscall.AllThreadsSyscall runs them on all, which needs a build without cgo.
func Confine() error {
	if err := allThreads("setting no_new_privs", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0); err != nil {
		return err
	}
	if err := allThreads("clearing the ambient capabilities", unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil { // of the process, not of a thread
		return fmt.Errorf("making the process undumpable: %w", err)
	}
	return dropCapabilities()
}

func allThreads(doing string, trap, a, b, c uintptr) error {
	if _, _, errno := syscall.AllThreadsSyscall6(trap, a, b, c, 0, 0, 0); errno != 0 {
		return fmt.Errorf("%s in all threads: %w", doing, errno)
	}
	return nil
}

// Confined says what the process, in any of its threads, has beyond what a server for owner may have; nil is nothing. It
// believes /proc and not what Confine did.
func Confined(owner Owner) error {
	tasks, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil || len(tasks) == 0 {
		return errors.Join(errors.New("listing the threads of the process"), err)
	}
	for _, path := range tasks {
		data, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue // the thread has ended
		}
		if err != nil {
			return fmt.Errorf("reading a thread's status: %w", err)
		}
		if err := confinedStatus(string(data), owner); err != nil {
			return fmt.Errorf("checking thread %q: %w", filepath.Base(filepath.Dir(path)), err)
		}
	}
	if dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); err != nil || dumpable != 0 {
		return errors.Join(fmt.Errorf("asking whether the process can be dumped: %d and must be 0", dumpable), err)
	}
	return nil
}

// confinedStatus judges one /proc/PID/task/TID/status, proc_pid_status(5). The four uids are the owner's. The four gids are
// one, which need not be the one in the user database (newgrp(1), and users that only a directory service knows), but is
// root's group only where that is the owner's.
func confinedStatus(status string, owner Owner) error {
	fields := map[string]string{}
	lines := bufio.NewScanner(strings.NewReader(status))
	for lines.Scan() {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok {
			fields[name] = strings.Join(strings.Fields(value), " ")
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("reading lines: %w", err)
	}
	gid, _, _ := strings.Cut(fields["Gid"], " ")
	if gid == "0" {
		gid = fmt.Sprint(owner.GID)
	}
	for _, want := range []struct{ name, value string }{
		{"Uid", fourTimes(fmt.Sprint(owner.UID))},
		{"Gid", fourTimes(gid)},
		{"NoNewPrivs", "1"},
		{"CapInh", noCapability},
		{"CapPrm", noCapability},
		{"CapEff", noCapability},
		{"CapAmb", noCapability},
	} {
		if fields[want.name] != want.value {
			return fmt.Errorf("%s is %q and must be %q", want.name, fields[want.name], want.value)
		}
	}
	return nil
}

// noCapability is an empty set of capabilities in a status.
const noCapability = "0000000000000000"

// fourTimes is an id as real, effective, saved and filesystem id.
func fourTimes(id string) string { return strings.Join([]string{id, id, id, id}, " ") }
