package systemd

import (
	"context"
	"fmt"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Ready tells the service manager that the service has started, or has read its configuration anew, with a line of status. This
// and the others do nothing without a NOTIFY_SOCKET (sd_notify(3)).
func Ready(status string) error { return notify(daemon.SdNotifyReady + "\nSTATUS=" + status) }

// Reloading tells the service manager that the configuration is read anew, until Ready.
func Reloading() error {
	return notify(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
}

// Stopping tells the service manager that the service ends.
func Stopping() error { return notify(daemon.SdNotifyStopping) }

func notify(state string) error {
	if _, err := daemon.SdNotify(false, state); err != nil {
		return fmt.Errorf("telling the service manager: %w", err)
	}
	return nil
}

// Watchdog tells the service manager that the service lives, twice in each time that it allows, until ctx ends. alive is called
// before: a service that hangs there is restarted. It returns at once where nobody watches (sd_watchdog_enabled(3)).
func Watchdog(ctx context.Context, alive func()) error {
	limit, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return fmt.Errorf("reading WATCHDOG_USEC: %w", err)
	}
	if limit == 0 {
		return nil
	}
	tick := time.NewTicker(limit / 2)
	defer tick.Stop()
	for {
		alive()
		if err := notify(daemon.SdNotifyWatchdog); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
