package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"azimds/netsetup/holder"
	"azimds/systemd"
)

// keeper is the service manager, where this process is a service of one.
func keeper() holder.Keeper {
	if os.Getenv("NOTIFY_SOCKET") == "" {
		return nil
	}
	return fdStore{}
}

// fdStore keeps listeners in systemd's file descriptor store.
type fdStore struct{}

// Keep implements [holder.Keeper].
func (fdStore) Keep(name string, listener *os.File) error { return systemd.Store(name, listener) }

// Forget implements [holder.Keeper].
func (fdStore) Forget(name string) error { return systemd.Forget(name) }

// Restarts implements [holder.Keeper].
func (fdStore) Restarts(ctx context.Context) (bool, error) {
	return restarting(ctx, systemd.HolderUnit)
}

// restarting tells whether the service manager has a job to start the unit again once it has stopped, as systemctl restart makes
// one. Of a service that is about to be restarted because it has failed it says no. It asks systemctl(1).
func restarting(ctx context.Context, unit string) (bool, error) {
	job, err := showUnit(ctx, "Job", unit)
	if err != nil || job == "" || job == "0" {
		return false, err
	}
	kind, err := showUnit(ctx, "JobType", job)
	return kind == "restart" || kind == "try-restart", err
}

// showUnit is a property of a unit, or of a job by its number; "" where there is none.
func showUnit(ctx context.Context, property, of string) (string, error) {
	cmd := exec.CommandContext(ctx, "systemctl", "show", "--property="+property, "--value", of)
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("asking systemctl for %q of %q: %w", property, of, err)
	}
	return strings.TrimSpace(string(out)), nil
}
