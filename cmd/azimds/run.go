package main

import (
	"errors"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// readyLine is what a server writes to its tether when it is ready.
const readyLine = "ready\n"

func newRun() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Intercept and serve until a signal",
		Long: `Run intercepts 169.254.169.254:80 in this network namespace and serves your programs tokens
from your own credential, until Ctrl-C or SIGTERM. It starts its network part through sudo;
the rest stays yours, with your environment. What it changes is undone when it ends.`,
		Example: `  azimds run
  azimds run --credential emulated
  azimds run --detach && ... && azimds stop`,
		Args: cobra.NoArgs,
	}
	addSettings(cmd)
	detach := cmd.Flags().Bool("detach", false, "return when ready; log to a file; end with azimds stop")
	logFile := cmd.Flags().String("log-file", "", "with --detach: where to log (default: see azimds run --detach)")
	readyFD := cmd.Flags().Int("ready-fd", 0, "")
	hide(cmd, "ready-fd")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *detach {
			return runDetached(cmd, *logFile)
		}
		return runForeground(cmd, *readyFD)
	}
	return cmd
}

func hide(cmd *cobra.Command, flags ...string) {
	for _, name := range flags {
		cmd.Flags().Lookup(name).Hidden = true
	}
}

// runForeground launches the agent and stays with it.
func runForeground(cmd *cobra.Command, readyFD int) error {
	c, err := settings(cmd, os.Geteuid() == 0)
	if err != nil {
		return err
	}
	environ := os.Environ()
	if err := scrub(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), endings()...)
	defer stop()
	lines := newLogWriter(os.Stderr)
	defer lines.Close()
	l, err := start(ctx, launchOptions{config: c, args: passOn(cmd), log: logger(lines, c.Log), environ: environ})
	if err != nil {
		return err
	}
	select {
	case <-l.ready:
		if err := detached(readyFD); err != nil {
			return errors.Join(err, l.wait())
		}
	case <-ctx.Done():
		return l.wait()
	case <-l.ended:
		return l.err
	}
	select {
	case <-ctx.Done():
	case <-l.ended:
	}
	return l.wait()
}

// endings are the signals that end a run. A SIGHUP that was ignored from the start (nohup) stays ignored.
func endings() []os.Signal {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	return signals
}
