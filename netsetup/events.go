package netsetup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// Watch tells that something has changed in a network namespace that may be a piece of a plan or in the way of one: devices,
// addresses, routes, policy rules, and rules of nf_tables. Of rules that were made by the other back end of iptables the kernel
// tells nothing.
type Watch struct {
	netns   *os.File // the namespace, for the thread that follows
	sources []source
	log     *slog.Logger
}

// source is a netlink socket with multicast groups, and what of its datagrams matters.
type source struct {
	events  *os.File
	matters func(datagram []byte) bool
}

// netfilterGroup is NFNLGRP_NFTABLES of include/uapi/linux/netfilter/nfnetlink.h.
const netfilterGroup = 7

// OpenWatch subscribes to the changes in the network namespace of the calling thread. Every change from now on is seen by
// [Watch.Follow], but of kinds that the kernel does not tell of, which is logged: one may have no nf_tables, and that of gVisor
// tells of nothing.
func OpenWatch(log *slog.Logger) (*Watch, error) {
	netns, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("opening the network namespace: %w", err)
	}
	w := &Watch{netns: netns, log: log}
	w.add(networkMatters, unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV4_RULE)
	w.add(rulesMatter, unix.NETLINK_NETFILTER, netfilterGroup)
	return w, nil
}

func (w *Watch) add(matters func(datagram []byte) bool, protocol int, groups ...int) {
	events, err := subscribe(protocol, groups...)
	if err != nil {
		w.late(err)
		return
	}
	w.sources = append(w.sources, source{events, matters})
}

// late says that a kind of change shows by looking only.
func (w *Watch) late(err error) {
	w.log.Info("some changes of the network are noticed late", "error", err)
}

// subscribe opens a socket on which the kernel tells of changes (netlink(7)).
func subscribe(protocol int, groups ...int) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if err != nil {
		return nil, fmt.Errorf("opening a netlink socket: %w", err)
	}
	events := os.NewFile(uintptr(fd), "netlink")
	var mask uint32
	for _, g := range groups {
		mask |= 1 << (g - 1)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: mask}); err != nil {
		return nil, errors.Join(fmt.Errorf("subscribing to changes of the network: %w", err), events.Close())
	}
	return events, nil
}

// Follow calls do with a channel that has something in it when something has changed since it was last received from. It keeps
// the calling goroutine's thread to itself, in the namespace: what do does is done there. It returns when do does. Nothing
// else of w is called after it.
func (w *Watch) Follow(do func(changed <-chan struct{})) (err error) {
	changed := make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(context.Background())
	var reading sync.WaitGroup
	defer w.netns.Close()
	defer reading.Wait()
	defer func() { err = errors.Join(err, w.closeSources()) }() // which ends the reading
	defer cancel()
	runtime.LockOSThread() // never unlocked where it is in another namespace than it was: the thread ends with the goroutine
	moved, err := enter(w.netns)
	if err != nil {
		return err
	}
	if !moved {
		defer runtime.UnlockOSThread()
	}
	for _, s := range w.sources {
		reading.Go(func() {
			for {
				err := s.wait()
				switch {
				case ctx.Err() != nil:
					return
				case err != nil:
					w.late(err)
					return
				}
				select {
				case changed <- struct{}{}:
				default: // it is known already
				}
			}
		})
	}
	do(changed)
	return nil
}

// Close ends a watch that nobody follows.
func (w *Watch) Close() error { return errors.Join(w.closeSources(), w.netns.Close()) }

func (w *Watch) closeSources() error {
	var errs []error
	for _, s := range w.sources {
		errs = append(errs, s.events.Close())
	}
	return errors.Join(errs...)
}

// maxDatagram is how much is looked at of what the kernel tells at once, in bytes. It sends less than 16 KiB (NLMSG_GOODSIZE in
// include/linux/netlink.h); of what is longer, all matters.
const maxDatagram = 32 << 10

// wait returns when something has changed that matters, and has then taken from the socket all that there is. ENOBUFS says
// that the kernel had more to tell than fits (netlink(7)).
func (s source) wait() error {
	conn, err := s.events.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	changed := false
	datagram := make([]byte, maxDatagram)
	err = conn.Read(func(fd uintptr) bool {
		for {
			n, _, flags, _, err := unix.Recvmsg(int(fd), datagram, nil, 0)
			switch {
			case err == nil:
				changed = changed || flags&unix.MSG_TRUNC != 0 || s.matters(datagram[:n])
			case errors.Is(err, unix.ENOBUFS):
				changed = true
			case errors.Is(err, unix.EINTR):
			case errors.Is(err, unix.EAGAIN):
				return changed // else it waits until there is something
			default:
				failed = err
				return true
			}
		}
	})
	return errors.Join(err, failed)
}
