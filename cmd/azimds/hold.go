package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"azimds/config"
	"azimds/netsetup"
	"azimds/netsetup/engine"
	"azimds/netsetup/holder"
)

// newHold is the holder that a person's run starts through sudo.
func newHold() *cobra.Command {
	cmd := &cobra.Command{Use: "hold", Short: "Hold the interception for the server on standard input", Hidden: true, Args: cobra.NoArgs}
	addKeys(cmd, holdKey)
	tree := cmd.Flags().Int("tree", 0, "")
	apart := cmd.Flags().Bool("apart", false, "")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if os.Geteuid() != 0 {
			return errNeedRoot
		}
		if !*apart {
			return holdApart(os.Args[1:])
		}
		return holdHere(cmd, *tree)
	}
	return cmd
}

// holdApart starts the holder again in a session of its own and leaves it: sudo, with its terminal and its signals, is
// then out of the way, and the holder's life hangs on the link alone.
func holdApart(args []string) error {
	again := exec.Command("/proc/self/exe", append(args, "--apart")...)
	again.Stdin, again.Stdout, again.Stderr = os.Stdin, os.Stdout, os.Stderr
	again.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := again.Start(); err != nil {
		return fmt.Errorf("starting the holder: %w", err)
	}
	return again.Process.Release()
}

func holdHere(cmd *cobra.Command, tree int) error {
	signal.Ignore(os.Interrupt, syscall.SIGHUP)
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM)
	defer stop()
	c, err := settings(cmd, os.Geteuid() == 0)
	if err != nil {
		return err
	}
	want, err := wanted(c)
	if err != nil {
		return err
	}
	owner, err := starter(os.Stdin)
	if err != nil {
		return err
	}
	lines := openLogs(os.Stderr)
	defer lines.Close()
	return hold(ctx, os.Stdin, holder.Options{
		Want:       want,
		Owner:      owner,
		Tree:       tree,
		Janitor:    []string{"/proc/self/exe", "janitor"},
		JanitorLog: os.Stderr,
		Explain:    explain,
		InTree:     inTree(tree),
		Networks:   engine.Usual().Networks,
		Mine:       inTree(tree),
		Find:       findProcess(),
		Stderr:     adoptStderr,
		Log:        lines.logger(c.Log.Format, c.Log.Level),
		After:      stopHere,
	})
}

// starter is the user who made the link: the kernel says so, whatever the environment says.
func starter(link *os.File) (holder.Owner, error) {
	cred, err := holder.PeerCredentials(link)
	if err != nil {
		return holder.Owner{}, fmt.Errorf("reading who started this, standard input must be a link: %w", err)
	}
	owner, err := holder.LookupOwner(strconv.FormatUint(uint64(cred.Uid), 10))
	owner.GID = cred.Gid // the group in force: newgrp(1) may have chosen it
	return owner, err
}

// adoptStderr takes the server's standard error for this process's own: the one that sudo gave may be a terminal that
// ends with sudo.
func adoptStderr(file *os.File) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return fmt.Errorf("taking over standard error: %w", err)
	}
	var dupErr error
	err = raw.Control(func(fd uintptr) { dupErr = unix.Dup3(int(fd), unix.Stderr, 0) })
	if err := errors.Join(err, dupErr); err != nil {
		return fmt.Errorf("taking over standard error: %w", err)
	}
	return nil
}

func newJanitor() *cobra.Command {
	return &cobra.Command{
		Use: "janitor", Short: "Take down what a holder that dies leaves", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			state, err := holder.JanitorState()
			if err != nil {
				return err
			}
			lines := openLogs(os.Stderr)
			defer lines.Close()
			usual := config.Default().Log
			log := lines.logger(usual.Format, usual.Level)
			return holder.RunJanitor(cmd.Context(), state, os.Stdin, os.Stdout, netsetup.NewHost(netsetup.Options{}), log)
		},
	}
}
