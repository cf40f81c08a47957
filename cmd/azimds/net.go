package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"azimds/config"
	"azimds/netsetup"
	"azimds/netsetup/engine"
	"azimds/netsetup/holder"
	"azimds/systemd"
)

func newNet() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "net",
		Short: "Make, show and remove the interception alone",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newNetUp(), newNetDown(), newNetShow())
	return cmd
}

func newNetUp() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Hold the interception for azimds serve, until a signal",
		Long: `Up makes the interception and keeps its listeners until SIGTERM or Ctrl-C, as a service would. A
server that the owner starts with azimds serve gets the listeners; between two servers
connections wait and none is refused.`,
		Example: "  azimds net up --user alice\n  azimds net up --dry-run",
		Args:    cobra.NoArgs,
	}
	addSettings(cmd)
	dryRun := cmd.Flags().Bool("dry-run", false, "print what would be done as commands, and do nothing")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := settings(cmd, os.Geteuid() == 0)
		if err != nil {
			return err
		}
		owner, err := ownerFor(c.User)
		if err != nil {
			return err
		}
		if *dryRun {
			return printPlan(cmd, c, owner)
		}
		if os.Geteuid() != 0 {
			return errNeedRoot
		}
		return holdForServers(cmd, c, owner)
	}
	return cmd
}

// printPlan prints the plan that up would make, after the same looks at the machine where root can take them.
func printPlan(cmd *cobra.Command, c config.Config, owner holder.Owner) error {
	want, err := wanted(c)
	if err != nil {
		return err
	}
	mode, reason, err := netsetup.Choose(cmd.Context(), want)
	if err != nil {
		return err
	}
	want.ExemptGroup = exemptGroup
	plan, err := holder.NewPlan(cmd.Context(), mode, owner, want)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "# %s\n%s", reason, plan)
	return err
}

func holdForServers(cmd *cobra.Command, c config.Config, owner holder.Owner) error {
	want, err := wanted(c)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), endings()...)
	defer stop()
	lines := openLogs(os.Stderr)
	defer lines.Close()
	log := lines.logger(c.Log.Format, c.Log.Level)
	defer context.AfterFunc(ctx, func() {
		if err := systemd.Stopping(); err != nil {
			log.Warn("stopping", "error", err)
		}
	})()
	return holder.Hold(ctx, holder.Options{
		Want:        want,
		Owner:       owner,
		ExemptGroup: exemptGroup,
		Janitor:     []string{"/proc/self/exe", "janitor"},
		JanitorLog:  os.Stderr,
		Explain:     explain,
		InTree:      inTree(0),
		Networks:    engine.Usual().Networks,
		Find:        findProcess(),
		Keeper:      keeper(),
		Kept:        systemd.Stored(),
		Log:         log,
		After:       stopHere,
	}, func(h *holder.Holder) {
		if err := systemd.Ready(fmt.Sprintf("holds %s for %s, mode %s", h.Plan().Endpoint, owner, h.Plan().Mode)); err != nil {
			log.Warn("starting", "error", err)
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s  held for %s; start the server as that user: azimds serve\n", h.Plan(), owner)
	})
}

func newNetDown() *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "End the process that holds the interception, and remove what a dead one left",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if os.Geteuid() != 0 {
				return errNeedRoot
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), stopLimit)
			defer cancel()
			if err := endHolder(ctx); err != nil {
				return err
			}
			return cleanup(cmd)
		},
	}
}

// endHolder ends the living holder of this network namespace, if there is one, and waits until it has ended.
func endHolder(ctx context.Context) error {
	state, err := holder.LockState()
	if err == nil {
		return state.Release()
	}
	locked, ok := errors.AsType[*holder.LockedError](err)
	if !ok || locked.PID == 0 {
		return err
	}
	process, err := watch(locked.PID)
	if err != nil || len(process) == 0 {
		return err
	}
	if !hasOpen(locked.PID, locked.Path()) { // of another pid namespace, whose number means another here
		return errors.Join(locked, unix.Close(process[0]))
	}
	if err := unix.PidfdSendSignal(process[0], syscall.SIGTERM, nil, 0); err != nil {
		return errors.Join(fmt.Errorf("ending process %d: %w", locked.PID, err), unix.Close(process[0]))
	}
	return waitGone(ctx, process)
}

// hasOpen tells whether a process has a file open.
func hasOpen(pid int, path string) bool {
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		return false
	}
	return slices.ContainsFunc(links, func(link string) bool {
		target, err := os.Readlink(link)
		return err == nil && target == path
	})
}

func newNetShow() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show what of azimds is in the kernel now",
		Args:  cobra.NoArgs,
	}
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if os.Geteuid() != 0 {
			return errNeedRoot
		}
		there, err := netsetup.NewHost(netsetup.Options{}).Present(cmd.Context())
		if err != nil {
			return err
		}
		if *asJSON {
			return printJSON(cmd.OutOrStdout(), map[string][]string{"present": there})
		}
		for _, line := range there {
			fmt.Fprintln(cmd.OutOrStdout(), line)
		}
		if len(there) == 0 {
			fmt.Fprintln(cmd.OutOrStdout(), "nothing of azimds is in this network namespace")
		}
		return nil
	}
	return cmd
}
