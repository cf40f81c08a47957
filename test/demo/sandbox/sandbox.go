// Package sandbox starts the running program a second time inside namespaces of its own, so that it can bind and reroute
// 169.254.169.254 with nothing of it reaching the machine. For programs; a test uses test/netns.
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// secondLife is the argv[0] of a program inside. No environment variable says it, for the sake of what the program
	// starts: azimds reads those that begin with AZIMDS_.
	secondLife = "azimds (in a sandbox)"

	// grace is how long the second life may take to clean up once it is told to stop.
	grace = 30 * time.Second
)

// Inside reports whether this process is the second life, for which [Enter] comes first and then the work.
func Inside() bool { return os.Args[0] == secondLife }

// Rerun starts this program again, with these arguments and the same standard streams, in a new network and mount namespace and,
// unless root calls, in a new user namespace that maps the caller to root. It waits and returns the exit code. When ctx ends
// the second life gets SIGTERM, as it does when this process dies.
func Rerun(ctx context.Context, args []string) (int, error) {
	runtime.LockOSThread() // the death signal comes when the thread that started the child ends
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", args...)
	cmd.Args[0] = secondLife
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS,
		Pdeathsig:  syscall.SIGTERM,
	}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = grace

	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.Exited():
		return exit.ExitCode(), nil
	case err != nil && ctx.Err() == nil && !errors.As(err, &exit):
		return 1, fmt.Errorf("starting in namespaces of its own (root may, so try sudo): %w", err)
	case err != nil:
		return 1, fmt.Errorf("running in namespaces of its own: %w", err)
	}
	return 0, nil
}

// Enter finishes the namespaces from inside: mounts stay private, /run is empty and in memory, and lo is up. Nothing else is
// in the network.
func Enter() error {
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private (root may, so try sudo): %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("mounting an empty %q: %w", "/run", err)
	}
	return loopbackUp()
}

// loopbackUp does what "ip link set lo up" does.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening a control socket: %w", err)
	}
	defer func() { _ = unix.Close(fd) }() // a socket that sent nothing
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("naming device %q: %w", "lo", err)
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fmt.Errorf("bringing device %q up: %w", "lo", err)
	}
	return nil
}
