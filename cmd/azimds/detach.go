package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"azimds/config"
)

// runDetached starts "azimds run" anew with its output in a file, and returns when that is ready. It leaves the terminal
// only then: until it is ready, sudo may have to ask for a password there.
func runDetached(cmd *cobra.Command, logFile string) error {
	if logFile == "" {
		var err error
		if logFile, err = defaultLogFile(); err != nil {
			return err
		}
	}
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) // for others to write and not to read
	if err != nil {
		return &config.Mendable{Err: fmt.Errorf("opening the log file: %w", err), With: "azimds run --detach   # logs to a place of its own"}
	}
	defer log.Close()
	before, err := log.Stat()
	if err != nil {
		return fmt.Errorf("opening the log file: %w", err)
	}
	wait, report, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("making a pipe: %w", err)
	}
	defer wait.Close()
	agent := exec.Command("/proc/self/exe", append([]string{"run", "--ready-fd=3"}, passOn(cmd)...)...)
	agent.Stdout, agent.Stderr = log, log
	agent.ExtraFiles = []*os.File{report}
	if err := errors.Join(agent.Start(), report.Close()); err != nil {
		return fmt.Errorf("starting the agent: %w", err)
	}
	word, err := io.ReadAll(wait)
	if err == nil && string(word) == readyLine {
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "azimds runs as process %d and logs to %s\nstop it with: azimds stop\n", agent.Process.Pid, logFile)
		return err
	}
	return notReady(cmd, agent, logFile, before.Size(), err)
}

// notReady says why an agent did not become ready: with its own words, and sudo's, which are in the log from the offset on.
func notReady(cmd *cobra.Command, agent *exec.Cmd, logFile string, from int64, cause error) error {
	waitErr := agent.Wait()
	text, err := readFrom(logFile, from)
	text = strings.TrimSpace(text)
	var exit *exec.ExitError
	if err != nil || text == "" || !errors.As(waitErr, &exit) {
		return fmt.Errorf("starting the agent, which logs to %q: %w", logFile, errors.Join(cause, waitErr, err))
	}
	cmd.PrintErrln(text)
	return exitError(exit.ExitCode())
}

// readFrom reads the end of a file, and no more than a screenful of it.
func readFrom(path string, offset int64) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("reading the log file: %w", err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.NewSectionReader(file, offset, 8<<10))
	if err != nil {
		return "", fmt.Errorf("reading the log file: %w", err)
	}
	return string(data), nil
}

// defaultLogFile is azimds.log in the person's state folder (XDG Base Directory Specification), for root in /var/log, which an image
// from scratch lacks.
func defaultLogFile() (string, error) {
	if os.Geteuid() == 0 {
		if err := os.MkdirAll("/var/log", 0o755); err != nil { //nolint:gosec // as every distribution has it: the log itself is root's alone
			return "", fmt.Errorf("making a place for the log: %w", err)
		}
		return "/var/log/azimds.log", nil
	}
	dir := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(dir) {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("finding a place for the log: %w", err)
		}
		dir = filepath.Join(home, ".local", "state")
	}
	dir = filepath.Join(dir, "azimds")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("making a place for the log: %w", err)
	}
	return filepath.Join(dir, "azimds.log"), nil
}

// detached reports that the agent is ready to the process that waits at the other end of fd, and leaves its terminal.
// Without an fd there is nothing to do.
func detached(fd int) error {
	if fd == 0 {
		return nil
	}
	if _, err := syscall.Setsid(); err != nil {
		return fmt.Errorf("leaving the terminal: %w", err)
	}
	report := os.NewFile(uintptr(fd), "ready")
	_, err := io.WriteString(report, readyLine)
	if err := errors.Join(err, report.Close()); err != nil {
		return fmt.Errorf("reporting that the agent is ready: %w", err)
	}
	return nil
}
