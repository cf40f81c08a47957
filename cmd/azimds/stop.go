package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"azimds/config"
	"azimds/imds/caller"
	"azimds/imds/control"
	"azimds/netsetup/holder"
)

func newStop() *cobra.Command {
	return &cobra.Command{
		Use:   "stop",
		Short: "Stop the agent of this network namespace and wait until it has ended",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), stopLimit)
			defer cancel()
			client, err := agentClient()
			if err != nil {
				return err
			}
			asking, done := context.WithTimeout(ctx, answerLimit)
			defer done()
			status, err := client.Status(asking)
			if errors.Is(err, context.DeadlineExceeded) {
				return &config.Mendable{Err: errNoServer, With: "sudo azimds net down"}
			}
			if err != nil {
				return err
			}
			processes, err := watch(status.Server, status.Holder)
			if err != nil {
				return err
			}
			if err := client.Stop(ctx); err != nil {
				return err
			}
			if err := waitGone(ctx, processes); err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), stoppedText(status))
			return err
		},
	}
}

// stoppedText says what is so when an agent has stopped.
func stoppedText(was control.Status) string {
	switch {
	case was.Host != 0:
		return fmt.Sprintf("azimds has stopped for this command; process %d goes on", was.Host)
	case was.Guests > 0:
		return fmt.Sprintf("azimds has stopped; azimds exec goes on for %s", commandsText(was.Guests))
	default:
		return "azimds has stopped; nothing is intercepted any more"
	}
}

// commandsText says how many commands have an azimds exec of their own.
func commandsText(n int) string {
	if n == 1 {
		return "1 command"
	}
	return strconv.Itoa(n) + " commands"
}

// errNoServer says that there is an interception with nobody who can be asked to stop.
var errNoServer = errors.New("nobody answers: an interception is held here, by azimds net up, and no server runs")

// agentClient talks to the agent that serves this process: that of the innermost azimds exec which it is in, else the one that
// intercepts in this network namespace, else this user's that has an endpoint instead.
func agentClient() (*control.Client, error) {
	return clientOf(controlSocket, holder.AloneSocket)
}

// controlSocket is the one of the agent that intercepts for this process.
func controlSocket() (string, error) {
	return holder.ControlSocket(caller.Ancestors("/proc", os.Getpid())...)
}

// clientOf talks to the agent of the first socket that is there.
func clientOf(first, second func() (string, error)) (*control.Client, error) {
	path, err := first()
	if err != nil {
		return nil, err
	}
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		other, err := second()
		if err != nil {
			return nil, err
		}
		if _, err := os.Lstat(other); err == nil {
			path = other
		}
	}
	return control.NewClient(path), nil
}

// watch opens a file descriptor for each process, which a recycled number cannot take over: pidfd_open(2).
func watch(pids ...int) ([]int, error) {
	var fds []int
	for _, pid := range pids {
		fd, err := unix.PidfdOpen(pid, 0)
		switch {
		case errors.Is(err, unix.ESRCH):
		case err != nil:
			return nil, fmt.Errorf("watching process %d: %w", pid, err)
		default:
			fds = append(fds, fd)
		}
	}
	return fds, nil
}

// waitGone waits until each process has ended, and closes the descriptors.
func waitGone(ctx context.Context, fds []int) error {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(stopLimit)
	}
	var errs []error
	for _, fd := range fds {
		errs = append(errs, waitOne(fd, deadline), unix.Close(fd))
	}
	return errors.Join(errs...)
}

func waitOne(fd int, deadline time.Time) error {
	for {
		left := max(time.Until(deadline), 0)
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds()))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("waiting for the agent to end: %w", err)
		case n == 0:
			return fmt.Errorf("waiting for the agent to end: %w", context.DeadlineExceeded)
		default:
			return nil
		}
	}
}
