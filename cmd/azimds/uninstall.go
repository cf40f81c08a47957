package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/spf13/cobra"

	"azimds/systemd"
)

func newUninstall() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Take away what azimds install made; without --commit, print what that would do",
		Long: `Uninstall stops the services, removes the files that azimds install wrote, and has systemd forget them.
A file that somebody has changed since is kept under another name. Programs, packages and their files
stay, and so do configuration files.`,
		Example: "  azimds uninstall\n  sudo azimds uninstall --commit",
		Args:    cobra.NoArgs,
	}
	commit := cmd.Flags().Bool("commit", false, "do it, as root")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *commit && os.Geteuid() != 0 {
			return errInstallNeedsRoot
		}
		ctx, stop := signal.NotifyContext(cmd.Context(), endings()...)
		defer stop()
		if err := booted("/"); err != nil {
			return err
		}
		h, err := lookAtHost(ctx, "/")
		if err != nil {
			return err
		}
		plan, out := systemd.Uninstall(h), cmd.OutOrStdout()
		switch {
		case len(plan.Steps) == 0:
			_, err = fmt.Fprintln(out, "azimds is not installed as a service: nothing to do")
			return err
		case !*commit:
			return printUninstall(out, plan)
		}
		if err := (site{root: "/", out: out}).apply(ctx, plan); err != nil {
			return fmt.Errorf("uninstalling azimds: %w", err)
		}
		_, err = fmt.Fprintln(out, "\nazimds is not a service any more; nothing is intercepted")
		return err
	}
	return cmd
}

func printUninstall(w io.Writer, plan systemd.Plan) error {
	_, err := fmt.Fprintf(w, "azimds would be taken away:\n\n%s\nNothing has been done. This does it:\n  %s\n",
		plan, commandAsRoot("azimds uninstall --commit"))
	return err
}
