// Command azimds lends a developer's own Azure credential to every program on the machine that asks the Azure Instance
// Metadata Service for a token, by answering in its place at 169.254.169.254.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	// A reader of our output that goes away must not end the process: it owns kernel state. Notify, unlike Ignore, is not
	// inherited by a command that is started.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}

// run is the program without the process around it: it returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	addCompletion(root)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	failure := explain(err)
	if failure.Message != "" {
		fmt.Fprintf(stderr, "azimds: %s\n", failure.Message)
	}
	if failure.Hint != "" {
		fmt.Fprintf(stderr, "  %s\n", strings.ReplaceAll(failure.Hint, "\n", "\n  "))
	}
	return failure.Exit
}

// newRoot assembles the commands.
func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "azimds",
		Short: "Azure managed identity for every program on this machine, from your own login",
		Long: `azimds answers at 169.254.169.254 as the Azure Instance Metadata Service does, so that
unmodified Azure SDKs get tokens from your own credential: no environment variable,
no code change.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			switch cmd.Name() {
			case "run", "exec", "serve": // they pass their environment on, and scrub it then
				return nil
			}
			return scrub()
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usage(cmd, err) })
	root.AddCommand(
		newRun(), newStop(), newExec(), newServe(), newHold(), newJanitor(), newNet(),
		newStatus(), newDoctor(), newWatch(), newToken(), newEnv(), newRefresh(), newPause(), newPolicy(), newZonesCommand(), newConfig(), newCleanup(), newInstall(), newUninstall(), newPreview(), newVersion(),
	)
	root.AddCommand(newDocuments()...)
	describeArgs(root)
	return root
}

// describeArgs turns complaints about arguments into usage errors, which exit with 2.
func describeArgs(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return usage(cmd, err)
			}
			return nil
		}
	}
	for _, sub := range cmd.Commands() {
		describeArgs(sub)
	}
}

// usageError is a command line that cannot be understood.
type usageError struct {
	command string
	err     error
}

func usage(cmd *cobra.Command, err error) error {
	return &usageError{command: cmd.CommandPath(), err: err}
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// exitError ends the program with a code and without a word: what there was to say has been said.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }
