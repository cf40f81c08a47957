package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"azimds/imds/control"
)

func newWatch() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Show each token given and each caller refused, live",
		Long: `Watch shows each request and each refused caller from now on: when, in which zone, who, with
which program, how it ended, for which resource and identity, and why, until Ctrl-C or until
the agent ends. With --json each is one line of JSON; docs/audit.md lists the keys.`,
		Args: cobra.NoArgs,
	}
	asJSON := cmd.Flags().Bool("json", false, "print one JSON object a line")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		client, err := agentClient()
		if err != nil {
			return err
		}
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		err = client.Watch(ctx, printActivity(cmd.OutOrStdout(), *asJSON))
		switch {
		case ctx.Err() != nil, errors.Is(err, syscall.EPIPE): // who reads has seen enough
			return nil
		case err != nil:
			return err
		}
		fmt.Fprintln(cmd.ErrOrStderr(), "azimds has stopped")
		return nil
	}
	return cmd
}

// printActivity returns what prints each line that a watcher gets.
func printActivity(w io.Writer, asJSON bool) func(control.Watched, []byte) error {
	return func(seen control.Watched, line []byte) error {
		text := string(line)
		switch {
		case asJSON:
		case seen.Missed > 0:
			text = fmt.Sprintf("%s%d missed: they were not read in time", watchIndent, seen.Missed)
		default:
			text = watchText(seen.Activity)
		}
		_, err := fmt.Fprintln(w, text)
		return err
	}
}
