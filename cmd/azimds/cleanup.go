package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"azimds/netsetup"
	"azimds/netsetup/holder"
	"azimds/systemd"
)

func newCleanup() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cleanup",
		Short: "Remove what an agent left whose processes all died at once",
		Long: `Cleanup removes what carries azimds's mark from this network namespace, and names each thing that
it removed. It refuses while an agent lives.`,
		Args: cobra.NoArgs,
	}
	service := cmd.Flags().Bool("service", false, "after the service: leave all to the next one when it is restarted, wait for a janitor, and for a living agent do nothing")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if os.Geteuid() != 0 {
			return errNeedRoot
		}
		if *service {
			return cleanupAfterService(cmd)
		}
		return cleanup(cmd)
	}
	hide(cmd, "service")
	return cmd
}

// cleanupAfterService is what the holder's unit does when the holder has ended, however it has.
func cleanupAfterService(cmd *cobra.Command) error {
	restarted, err := restarting(cmd.Context(), systemd.HolderUnit)
	if err != nil {
		fmt.Fprintf(cmd.ErrOrStderr(), "azimds: whether the service is restarted is not known: %v\n", err)
	}
	if restarted {
		return nil
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), stopLimit)
	defer cancel()
	for {
		err := cleanup(cmd)
		locked, ok := errors.AsType[*holder.LockedError](err)
		if !ok {
			return err
		}
		if living, err := watch(locked.PID); err != nil || len(living) > 0 { // another agent, which holds its own
			for _, fd := range living {
				err = errors.Join(err, unix.Close(fd))
			}
			return err
		}
		select { // its janitor is at work
		case <-ctx.Done():
			return errors.Join(locked, ctx.Err())
		case <-time.After(janitorNap):
		}
	}
}

// janitorNap is the pause between two looks at whether a janitor has done its work, which takes some 50 ms.
const janitorNap = 50 * time.Millisecond

// cleanup removes what carries our mark and names it. It does nothing while a holder or its janitor lives.
func cleanup(cmd *cobra.Command) error {
	state, err := holder.LockState()
	if err != nil {
		return err
	}
	removed, err := netsetup.Sweep(cmd.Context())
	for _, what := range removed {
		fmt.Fprintf(cmd.OutOrStdout(), "removed %s\n", what)
	}
	if err := errors.Join(err, state.Remove()); err != nil {
		return err
	}
	if len(removed) == 0 {
		fmt.Fprintln(cmd.OutOrStdout(), "nothing of azimds is left in this network namespace")
	}
	return nil
}
