package netsetup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// BridgeWatch follows the bridges that names and patterns are about, in the network namespace of the thread that opened it.
// It does not read what the kernel tells of a change, nor does it matter when the kernel had to leave something out: after
// whatever was told, everything is read anew.
type BridgeWatch struct {
	names  []string
	events *os.File // a netlink socket
	netns  *os.File // the namespace, for the thread that follows
}

// WatchBridges subscribes to the changes of devices and of IPv4 addresses (rtnetlink(7)). Every change from now on is seen
// by [BridgeWatch.Follow].
func WatchBridges(names []string) (*BridgeWatch, error) {
	netns, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("opening the network namespace: %w", err)
	}
	events, err := subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR)
	if err != nil {
		return nil, errors.Join(err, netns.Close())
	}
	return &BridgeWatch{names: names, events: events, netns: netns}, nil
}

// Follow calls changed with all the bridges after each change, and with the error when they could not be read, until ctx
// ends or nothing can be followed any more, which it returns. It keeps the calling goroutine's thread to itself, in the
// namespace: what changed opens is there. Nothing else of w is called after it.
func (w *BridgeWatch) Follow(ctx context.Context, changed func([]Bridge, error)) error {
	defer w.netns.Close()
	defer w.events.Close()
	stop := context.AfterFunc(ctx, func() { w.events.Close() })
	defer stop()
	runtime.LockOSThread() // never unlocked where it is in another namespace than it was: the thread ends with the goroutine
	moved, err := enter(w.netns)
	if err != nil {
		return err
	}
	if !moved {
		defer runtime.UnlockOSThread()
	}
	for {
		err := source{w.events, everything}.wait()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("waiting for changes of the network: %w", err)
		}
		bridges, err := Bridges(ctx, w.names)
		if errors.Is(err, netlink.ErrDumpInterrupted) {
			continue // what interrupted it is told, too
		}
		changed(bridges, err)
	}
}

// Close ends a watch that nobody follows.
func (w *BridgeWatch) Close() error { return errors.Join(w.events.Close(), w.netns.Close()) }

// enter takes the calling thread, which its goroutine has to itself, to a network namespace, where it is not there: a new
// goroutine's may be any thread of the process. The threads of an agent are all in one, so that it needs no CAP_SYS_ADMIN
// (setns(2)).
func enter(netns *os.File) (moved bool, err error) {
	there, err := netns.Stat()
	if err != nil {
		return false, fmt.Errorf("looking at the network namespace: %w", err)
	}
	here, err := os.Stat("/proc/thread-self/ns/net")
	if err != nil {
		return false, fmt.Errorf("looking at the thread's network namespace: %w", err)
	}
	if os.SameFile(here, there) {
		return false, nil
	}
	conn, err := netns.SyscallConn()
	if err != nil {
		return false, fmt.Errorf("entering the network namespace: %w", err)
	}
	var failed error
	err = conn.Control(func(fd uintptr) { failed = unix.Setns(int(fd), syscall.CLONE_NEWNET) })
	if err := errors.Join(err, failed); err != nil {
		return false, fmt.Errorf("entering the network namespace: %w", err)
	}
	return true, nil
}
