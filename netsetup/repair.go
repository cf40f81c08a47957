package netsetup

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Mended is what [Interceptor.Mend] found and did.
type Mended struct {
	Plan    Plan     // what the kernel is made to match from now on
	Missing []string // what was missing, out of place, too much or in the way: commands of ip and iptables, or in words
}

// goneListener is what is missing where a listener's device has gone.
const goneListener = "a listener on the device that is there now"

// Mend compares the kernel with a plan and its listener, and makes it match where it does not. Where other people's rules have come
// that the plan does not precede, those of a Docker that was started later, it precedes them from then on. Where the listener
// has ended with its device, replace is called with a new one, which it takes over, before anybody can reach that. On errors,
// which are those of Check, [Interceptor.Guard], [Listen] and Up, what is missing is there as far as it is known, and another Mend
// goes on where this one ended.
func (i *Interceptor) Mend(ctx context.Context, p Plan, ln syscall.Conn, replace func(*net.TCPListener) error) (Mended, error) {
	found := Mended{Plan: p}
	precedes, err := i.precedes(ctx, p)
	if err != nil {
		return found, err
	}
	p.Precedes = precedes
	report, err := i.Check(ctx, p)
	if err != nil {
		return found, err
	}
	attached, err := attached(ln)
	if err != nil {
		return found, err
	}
	found.Missing = slices.Concat(report.Delta, report.Residue, report.Foreign)
	if !attached {
		found.Missing = append(found.Missing, goneListener)
		if err := i.relisten(ctx, p, replace); err != nil {
			return found, err
		}
	}
	if !report.OK() {
		if err := i.Up(ctx, p); err != nil {
			return found, err
		}
	}
	found.Plan = p
	return found, nil
}

// precedes tells whether the plan has to precede other people's rules by now. What was preceded once stays so. Where rules
// cannot be listed there are none.
func (i *Interceptor) precedes(ctx context.Context, p Plan) (bool, error) {
	if !p.onAddress() || p.Precedes {
		return p.Precedes, nil
	}
	others, err := i.others(ctx, p)
	if noFirewall(err) || errors.Is(err, ErrIPTables) {
		err = nil
	}
	return others, err
}

// attached tells whether a listener is bound to a device that is there: it ends with the device, and one made again under the
// same name is another (SO_BINDTODEVICE in socket(7)).
func attached(ln syscall.Conn) (bool, error) {
	raw, err := ln.SyscallConn()
	if err != nil {
		return false, fmt.Errorf("looking at a listener's device: %w", err)
	}
	var failed error
	err = raw.Control(func(fd uintptr) { _, failed = unix.GetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE) })
	if errors.Is(failed, unix.ENODEV) {
		return false, nil
	}
	if err := errors.Join(err, failed); err != nil {
		return false, fmt.Errorf("looking at a listener's device: %w", err)
	}
	return true, nil
}

// relisten opens a plan's listener anew.
func (i *Interceptor) relisten(ctx context.Context, p Plan, replace func(*net.TCPListener) error) error {
	if err := i.Guard(ctx, p); err != nil {
		return err
	}
	ln, err := Listen(ctx, p)
	if err != nil {
		return err
	}
	return replace(ln)
}

// The answer of a guard, and that of its stand-in: a client is refused the connection by either.
const (
	guardAnswer   = "--reject-with tcp-reset"
	standInAnswer = "--reject-with icmp-port-unreachable"
)

// standIns are guards for the time in which guards are put in another place, so that there is no moment without. A rule has to
// be removed before it is made again, since iptables removes the first of two that are equal; so these differ in their answer.
// They carry our mark as any guard.
func standIns(guards difference) []rule {
	var standIns []rule
	for _, p := range guards.missing {
		if r, ok := p.(rule); ok && len(guards.stale) > 0 {
			r.spec = strings.Replace(r.spec, guardAnswer, standInAnswer, 1)
			standIns = append(standIns, r)
		}
	}
	return standIns
}

// below is where a piece is, counted from the head of its chain, while stand-ins are there.
func below(standIns []rule, p piece) piece {
	if r, ok := p.(rule); ok {
		r.pos += len(in(r.chain, slices.Clone(standIns)))
		return r
	}
	return p
}
