package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"azimds/config"
)

func newExec() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "exec [flags] -- COMMAND [ARGUMENT…]",
		Short: "Intercept and serve for the life of one command",
		Long: `Exec starts an agent, runs COMMAND, and stops the agent when COMMAND ends. Only COMMAND and what it
starts gets tokens, unless --all is given. COMMAND has this process's environment, standard streams
and terminal. As root, COMMAND runs as the user who is served.

Beside azimds run, and beside other commands of azimds exec, each of the same user, COMMAND has tokens
from its own credential; of two commands one of which runs in the other, the inner one.

With --endpoint nothing is intercepted and no root is needed: COMMAND gets variables that select
another managed identity endpoint, on 127.0.0.1.

Exit code: COMMAND's own, 128+N when signal N ended it, 125 when azimds failed, 126 when COMMAND
cannot be executed, 127 when there is no such command.`,
		Example: `  azimds exec -- python app.py
  azimds exec --credential emulated -- go test ./...
  azimds exec --endpoint app-service -- python app.py`,
		Args: cobra.MinimumNArgs(1),
	}
	addSettings(cmd)
	cmd.Flags().SetInterspersed(false)
	all := cmd.Flags().Bool("all", false, "serve all processes of the user, not only COMMAND's")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		err := runExec(cmd, args, *all)
		if err == nil || errors.As(err, new(exitError)) || errors.As(err, new(*usageError)) {
			return err
		}
		failure := explain(err)
		if failure.Exit == exitFailed || failure.Exit == exitUsage {
			failure.Exit = exitOurs
		}
		return &failure
	}
	return cmd
}

// runExec launches an agent, waits until it is ready, runs the command and stops the agent.
func runExec(cmd *cobra.Command, command []string, all bool) error {
	c, err := settings(cmd, os.Geteuid() == 0)
	if err != nil {
		return err
	}
	if !cmd.Flags().Changed("log-level") {
		c.Log.Level = max(c.Log.Level, slog.LevelWarn) // the terminal is the command's
	}
	lines := openLogs(os.Stderr)
	defer lines.Close()
	o := launchOptions{config: c, args: execArgs(cmd, c), quiet: true, log: lines.logger(c.Log.Format, c.Log.Level), environ: os.Environ()}
	if err := scrub(); err != nil {
		return err
	}
	if !all {
		o.tree = os.Getpid()
	}
	if alone(c) { // of which there may be several
		o.name, o.variables = fmt.Sprintf("exec-%d", os.Getpid()), true
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil { // what the command leaves stays in the tree
		return fmt.Errorf("becoming a child subreaper: %w", err)
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, append(endings(), syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)...)
	defer signal.Stop(signals)
	l, err := start(cmd.Context(), o)
	if err != nil {
		return err
	}
	select {
	case <-l.ready:
	case s := <-signals:
		return errors.Join(exitError(128+int(s.(syscall.Signal))), ignoreExit(l.wait()))
	case <-l.ended:
		if errors.As(l.err, new(exitError)) {
			return exitError(exitOurs) // the server has said why
		}
		return l.err
	}
	code, err := l.command(command, o.environ, signals)
	if err := ignoreExit(errors.Join(err, l.wait())); err != nil {
		slog.New(slog.NewTextHandler(os.Stderr, nil)).Error("stopping the agent", "error", err)
	}
	if code == exitDone {
		return nil
	}
	return exitError(code)
}

// execArgs are the settings for the server, with the log level that exec has chosen.
func execArgs(cmd *cobra.Command, c config.Config) []string {
	args := passOn(cmd)
	if !cmd.Flags().Changed("log-level") {
		args = append(args, "--log-level="+levelName(c.Log.Level))
	}
	return args
}

// command runs one command to its end and returns the exit code that a shell would give it.
func (l *launch) command(command, environ []string, signals <-chan os.Signal) (int, error) {
	path, err := exec.LookPath(command[0])
	if err != nil && !errors.Is(err, exec.ErrDot) {
		return noCommand(command[0], err), nil
	}
	child := exec.Command(path, command[1:]...)
	child.Args[0] = command[0]
	child.Env = environFor(l.owner, environ)
	if len(l.variables) > 0 {
		child.Env = selected(child.Env, l.variables)
	}
	child.Stdin, child.Stdout, child.Stderr = os.Stdin, os.Stdout, os.Stderr
	if l.owner.UID != uint32(os.Getuid()) {
		// A session of its own, as su -c has it: on root's terminal another user could type (ioctl_tty(2), TIOCSTI).
		child.SysProcAttr = &syscall.SysProcAttr{Credential: l.groups.credential(l.owner), Setsid: true}
	}
	if err := child.Start(); err != nil {
		return noCommand(command[0], err), nil
	}
	ended := make(chan error, 1)
	go func() { ended <- child.Wait() }()
	lost := l.ended
	for {
		select {
		case err := <-ended:
			return exitCode(err)
		case s := <-signals:
			forward(child.Process, s, child.SysProcAttr == nil)
		case <-lost:
			lost = nil // said once
			fmt.Fprintf(os.Stderr, "azimds: the agent has ended; %q goes on without it\n", command[0])
		}
	}
}

// noCommand says why a command does not start, and returns the code that a shell would.
func noCommand(name string, err error) int {
	fmt.Fprintf(os.Stderr, "azimds: running %q: %v\n", name, err)
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return exitNoSuch
	}
	return exitCannot
}

// exitCode is the code that a shell gives a command that ended so.
func exitCode(err error) (int, error) {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return exitDone, nil
	case !errors.As(err, &exit):
		return exitOurs, err
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return exit.ExitCode(), nil
}

// forward passes a signal on to the command, unless the command has this process's terminal and the terminal has sent the
// signal to the whole foreground group already.
func forward(p *os.Process, s os.Signal, sameTerminal bool) {
	if sameTerminal && (s == os.Interrupt || s == syscall.SIGQUIT) && inForeground() {
		return
	}
	if err := p.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		fmt.Fprintf(os.Stderr, "azimds: passing on %s: %v\n", s, err)
	}
}

// inForeground tells whether this process's group has the terminal: then a Ctrl-C reached the command as well.
func inForeground() bool {
	tty, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	defer tty.Close()
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

func ignoreExit(err error) error {
	if errors.As(err, new(exitError)) {
		return nil
	}
	return err
}

// endings are the signals that end a command. A SIGHUP that was ignored from the start (nohup) stays ignored.
func endings() []os.Signal {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	return signals
}
