package systemd

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// manager is a service manager's socket: NOTIFY_SOCKET leads there.
func manager(t *testing.T) *net.UnixConn {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return conn
}

func told(t *testing.T, conn *net.UnixConn) string {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

// The manager is told in the words of sd_notify(3); without one nothing is said, and one that is gone is an error.
func TestNotify(t *testing.T) {
	conn := manager(t)
	for _, tt := range []struct {
		say  func() error
		want string
	}{
		{func() error { return Ready("serving pat") }, "READY=1\nSTATUS=serving pat"},
		{Reloading, "RELOADING=1\nMONOTONIC_USEC="},
		{Stopping, "STOPPING=1"},
	} {
		if err := tt.say(); err != nil {
			t.Fatal(err)
		}
		if got := told(t, conn); !strings.HasPrefix(got, tt.want) {
			t.Errorf("told %q, want %q", got, tt.want)
		}
	}
	conn.Close()
	if err := Stopping(); err == nil {
		t.Error("a manager that is gone was told something")
	}
	t.Setenv("NOTIFY_SOCKET", "")
	if err := Stopping(); err != nil {
		t.Errorf("without a manager: %v", err)
	}
}

// A service that is watched says that it lives until it ends; one that is not returns at once.
func TestWatchdog(t *testing.T) {
	conn := manager(t)
	if err := Watchdog(t.Context(), nil); err != nil {
		t.Errorf("nobody watches: %v", err)
	}
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	t.Setenv("WATCHDOG_USEC", "20000")
	ctx, cancel := context.WithCancelCause(t.Context())
	asked := 0
	ended := make(chan error, 1)
	go func() { ended <- Watchdog(ctx, func() { asked++ }) }()
	for range 3 {
		if got := told(t, conn); got != "WATCHDOG=1" {
			t.Errorf("told %q", got)
		}
	}
	cancel(errors.New("the end"))
	if err := <-ended; err != nil || asked < 3 {
		t.Errorf("ended with %v; was asked %d times", err, asked)
	}
	t.Setenv("WATCHDOG_USEC", "soon")
	if err := Watchdog(t.Context(), nil); err == nil {
		t.Error("a time that is none was accepted")
	}
}
