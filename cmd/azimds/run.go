package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"azimds/systemd"
)

// readyLine is what a server writes to its tether when it is ready.
const readyLine = "ready\n"

func newRun() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Intercept and serve until a signal",
		Long: `Run intercepts 169.254.169.254:80 in this network namespace and serves your programs tokens
from your own credential, until Ctrl-C or SIGTERM. It starts its network part through sudo;
the rest stays yours, with your environment. What it changes is undone when it ends.

With --endpoint it intercepts nothing and needs no root: it serves another managed identity
endpoint on 127.0.0.1, which programs find by the variables that azimds env prints.

On SIGHUP it reads its configuration files anew; one with a mistake in it is refused, and the
old configuration stays.`,
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
	endings := []os.Signal{os.Interrupt, syscall.SIGTERM}
	signal.Notify(make(chan os.Signal, 1), endings...) // never stopped: a second Ctrl-C must not cut the end short
	ctx, stop := signal.NotifyContext(cmd.Context(), endings...)
	defer stop()
	hangup, stopHangups := hangups()
	defer stopHangups()
	lines := openLogs(os.Stderr)
	defer lines.Close()
	o := launchOptions{config: c, args: passOn(cmd), log: lines.logger(c.Log.Format, c.Log.Level), environ: environ}
	l, err := start(ctx, o)
	if err != nil {
		return err
	}
	return l.attend(ctx, hangup, readyFD)
}

// attend stays with an agent until it ends, ctx does or the terminal goes away. Any other SIGHUP is passed on to the server,
// which reads its configuration anew.
func (l *launch) attend(ctx context.Context, hangup <-chan os.Signal, readyFD int) error {
	screen := openTerminal()
	ready := l.ready
	for {
		select {
		case <-ready:
			ready = nil // said once
			if err := errors.Join(detached(readyFD), systemd.Ready("azimds answers")); err != nil {
				return errors.Join(err, l.wait())
			}
			if readyFD != 0 {
				screen = openTerminal() // it has been left
			}
		case <-hangup:
			if screen.gone() {
				return l.wait()
			}
			if ready == nil {
				l.reload()
			}
		case <-ctx.Done():
			return l.wait()
		case <-l.ended:
			return l.err
		}
	}
}
