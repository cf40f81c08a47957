package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"azimds/netsetup"
	"azimds/netsetup/holder"
)

func newCleanup() *cobra.Command {
	return &cobra.Command{
		Use:   "cleanup",
		Short: "Remove what an agent left whose processes all died at once",
		Long: `Cleanup removes what carries azimds's mark from this network namespace, and names each thing that
it removed. It refuses while an agent lives.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if os.Geteuid() != 0 {
				return errNeedRoot
			}
			return cleanup(cmd)
		},
	}
}

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
