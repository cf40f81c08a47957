package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"reflect"
	"strings"
	"syscall"

	"azimds/config"
	"azimds/systemd"
)

// hangups delivers each SIGHUP that is to be acted on, until stop. One that was ignored from the start (nohup) stays ignored.
func hangups() (received <-chan os.Signal, stop func()) {
	if signal.Ignored(syscall.SIGHUP) {
		return nil, func() {}
	}
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGHUP)
	return c, func() { signal.Stop(c) }
}

// terminal tells the two meanings of SIGHUP apart: the terminal went away, or somebody wants the configuration read anew.
type terminal struct{ had bool }

// openTerminal remembers whether this process has a controlling terminal.
func openTerminal() terminal { return terminal{hasTerminal()} }

// gone tells that there was a terminal, and that it is none any more: tty_ioctl(4) has opening it fail after a hangup.
func (t terminal) gone() bool { return t.had && !hasTerminal() }

func hasTerminal() bool {
	tty, err := os.OpenFile("/dev/tty", os.O_RDONLY|syscall.O_NOCTTY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	return tty.Close() == nil
}

// followHangups reads the configuration anew for each SIGHUP until ctx ends. The end of the terminal ends the agent.
func (a *agent) followHangups(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.hangups:
		}
		if a.terminal.gone() {
			a.release()
			return
		}
		a.reloadService(ctx)
	}
}

// reloadService reads the configuration anew, and has the service manager know when that begins and ends.
func (a *agent) reloadService(ctx context.Context) {
	if a.tether != nil {
		a.reload(ctx)
		return
	}
	begun := systemd.Reloading()
	a.reload(ctx)
	if err := errors.Join(begun, systemd.Ready(a.serviceStatus())); err != nil {
		a.log.Warn("reloading", "error", err)
	}
}

// reload reads the configuration anew, from the same places, and puts it to use. One that is not valid is refused, with all
// that is wrong with it, and the old one stays.
func (a *agent) reload(ctx context.Context) {
	if err := a.replace(ctx); err != nil {
		for line := range strings.Lines(err.Error()) {
			a.log.Error("configuration refused, the old one stays", "error", strings.TrimSuffix(line, "\n"))
		}
	}
}

func (a *agent) replace(ctx context.Context) error {
	c, err := a.settings()
	if err != nil {
		return err
	}
	old := a.supply.Load()
	if later := needRestart(old.config, c); len(later) > 0 {
		a.log.Warn("some settings count from the next start on", "keys", later)
	}
	if reflect.DeepEqual(c, old.config) && old.credential.lasting {
		a.log.Info("configuration read anew", "credential", old.credential.describe(), "unchanged", true)
		return nil
	}
	rules, err := policyOf(c)
	if err != nil {
		return err
	}
	credential, err := a.reopen(c)
	if err != nil {
		return err
	}
	a.keeper.change(rules, c.Limits.Rate)
	a.level.Set(c.Log.Level)
	credential.start()
	next := newSupply(c, credential, a.log, &a.children)
	next.start(ctx)
	a.supply.Store(next)
	old.close()
	a.log.Info("configuration read anew", "credential", credential.describe())
	return nil
}

// reopen opens the credential of another configuration, with the variables that a start would find. They stay as they were
// where that fails.
func (a *agent) reopen(c config.Config) (*credential, error) {
	now := toolVariables()
	if err := a.variables.restore(); err != nil {
		return nil, err
	}
	credential, err := openCredential(c, a.stderr)
	if err != nil {
		return nil, errors.Join(err, now.restore())
	}
	return credential, nil
}

// needRestart lists the keys that differ and that only a start puts to use: who is intercepted and how, and what was made
// with the server. Policy, as privileged as it is, counts at once: the server alone knows it.
func needRestart(old, c config.Config) []string {
	var names []string
	for _, k := range config.Keys() {
		atStart := k.Class == config.Privileged && k.Name != "policy" || k.Name == "limits.connections" || k.Name == "log.format"
		if atStart && k.Text(old) != k.Text(c) {
			names = append(names, k.Name)
		}
	}
	return names
}

// environment is what some variables hold; one that is not in it is not set.
type environment map[string]string

// toolVariables reads the variables of this process that opening a credential may change, for the tools that it starts.
func toolVariables() environment {
	e := environment{}
	for _, name := range toolVariableNames {
		if value, ok := os.LookupEnv(name); ok {
			e[name] = value
		}
	}
	return e
}

var toolVariableNames = []string{"PATH", "AZURE_CONFIG_DIR"}

// restore sets them again.
func (e environment) restore() error {
	for _, name := range toolVariableNames {
		var err error
		if value, ok := e[name]; ok {
			err = os.Setenv(name, value)
		} else {
			err = os.Unsetenv(name)
		}
		if err != nil {
			return fmt.Errorf("restoring variable %q: %w", name, err)
		}
	}
	return nil
}
