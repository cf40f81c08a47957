package main

import (
	"bufio"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// An az that ends is timed; one that ends badly has its last words told; one that does not end is killed, with what it has started.
func TestRunAz(t *testing.T) {
	dir := t.TempDir()
	az := filepath.Join(dir, "az")
	script := func(text string) {
		t.Helper()
		if err := os.WriteFile(az, []byte("#!/bin/sh\ncd '"+dir+"' || exit\n"+text+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	script(`[ "$*" = "account show --output none" ] && [ "$AZURE_CORE_COLLECT_TELEMETRY" = false ]`)
	if took, err := runAz(t.Context(), az, time.Minute); err != nil || took <= 0 {
		t.Errorf("took %s, %v", took, err)
	}
	script(`printf 'WARNING: old\nERROR: no\033[31m such thing\n' >&2; exit 7`)
	_, err := runAz(t.Context(), az, time.Minute)
	failed, ok := errors.AsType[*azError](err)
	if !ok || failed.said != "ERROR: no\uFFFD[31m such thing" || !strings.Contains(err.Error(), "exit status 7") {
		t.Errorf("got %v", err)
	}
	fifo := func(name string) *os.File {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := syscall.Mkfifo(path, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	fifo("gate")
	child := fifo("child")
	script("cat gate & echo $! > child; wait")
	if _, err := runAz(t.Context(), az, time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("at its limit: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	script("cat gate & echo $$ $! > child; wait")
	go func() {
		_, err := runAz(ctx, az, time.Minute)
		ended <- err
	}()
	pids := bufio.NewScanner(child)
	process := -1
	for pids.Scan() {
		if words := strings.Fields(pids.Text()); len(words) == 2 { // one word is of the az that was killed
			if pid, err := strconv.Atoi(words[1]); err != nil {
				t.Fatal(err)
			} else if process, err = unix.PidfdOpen(pid, 0); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	defer unix.Close(process)
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("called off: %v", err)
	}
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(process), Events: unix.POLLIN}}, int(time.Minute/time.Millisecond)); n != 1 {
		t.Errorf("what az had started goes on: %v", err)
	}
}
