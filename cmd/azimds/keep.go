package main

import (
	"context"
	"os"

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
	return systemd.Restarting(ctx, systemd.HolderUnit)
}
