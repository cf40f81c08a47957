package holder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"azimds/netsetup"
)

const (
	// enterNap is the pause between two looks at whether this holder can be the host, or a guest.
	enterNap = 20 * time.Millisecond
	// enterLimit is how long a holder is waited for that has the lock and takes no guest: it starts, or its janitor cleans up.
	enterLimit = 15 * time.Second
	// hostLimit is how long a host may take to have a server that serves.
	hostLimit = 15 * time.Second
)

// ErrHostSilent says that there is a holder that takes guests, and no server of its that serves.
var ErrHostSilent = errors.New("no server answers for the azimds that intercepts here")

// errHostGone says that a guest's host has ended, and has left nothing to it.
var errHostGone = errors.New("the host has ended")

// errNoHost says that there is no holder that takes guests, now.
var errNoHost = errors.New("nobody takes guests here")

// enter makes this holder the host of the network namespace, which has nothing yet but its lock, or the guest of the host that there
// is, where it serves one command's tree: then there is an uplink. Where the last host has said that another follows, it waits a while for
// that, and does not become the host itself.
func (h *Holder) enter(ctx context.Context) error {
	for end := time.Now().Add(enterLimit); ; {
		var locked *LockedError
		if time.Now().After(h.returns) {
			if err := h.lock(); !errors.As(err, &locked) || h.options.Tree == 0 {
				return err
			}
		}
		if err := h.visit(ctx, locked); !errors.Is(err, errNoHost) {
			return err
		}
		if locked != nil && time.Now().After(end) {
			return locked
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(enterNap):
		}
	}
}

// visit makes this holder a guest. The error wraps [errNoHost] where nobody takes one, now, and is a [*LockedError] where there is a
// host whose guest it cannot be.
func (h *Holder) visit(ctx context.Context, locked *LockedError) error {
	dir, err := Dir()
	if err != nil {
		return err
	}
	link, err := DialLink(filepath.Join(dir, guestFile))
	if errors.Is(err, ErrNoHolder) {
		return errNoHost
	}
	if err != nil {
		return err
	}
	inlet, outlet, err := Pair()
	if err != nil {
		return errors.Join(err, link.Close())
	}
	defer outlet.Close()
	up := &uplink{link: link, events: make(chan event, 4), over: make(chan struct{}), ended: make(chan struct{})}
	go up.read(h.mine)
	o := h.options
	visit := Visit{Owner: o.Owner, Mode: o.Want.Mode, Tree: o.Tree, Since: h.since}
	err = link.Send(Message{Kind: KindVisit, Visit: &visit}, outlet)
	if err == nil {
		err = h.hosted(ctx, up, locked, dir)
	} else {
		err = errors.Join(errNoHost, err)
	}
	if err != nil {
		return errors.Join(err, up.close(), inlet.Close())
	}
	h.become(func() {
		h.plan, h.reason = up.host.Plan, fmt.Sprintf("as process %d, another azimds, has it here", up.host.Holder)
		h.up, h.endpoint, h.state = up, inlet, &State{Dir: dir}
	})
	return nil
}

// hosted waits for the host's word.
func (h *Holder) hosted(ctx context.Context, u *uplink, locked *LockedError, dir string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, hostLimit, ErrHostSilent)
	defer cancel()
	select {
	case e, open := <-u.events:
		closeAll(e.files)
		switch {
		case !open:
			return errNoHost
		case e.Kind == KindLeave:
			h.returns = time.Now().Add(enterLimit)
			return errNoHost
		case e.Kind == KindRefused && e.Offer != nil:
			return cannotVisit(h.options, *e.Offer, locked, dir)
		case e.Kind != KindHost || e.Offer == nil:
			return fmt.Errorf("asking to be a guest: the host sent %q", e.Kind)
		}
		u.host = *e.Offer
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// cannotVisit says why.
func cannotVisit(o Options, host Offer, locked *LockedError, dir string) error {
	refused := &LockedError{PID: host.Holder, Dir: dir}
	if locked != nil {
		refused.PID = locked.PID
	}
	if host.Owner.UID != o.Owner.UID {
		refused.Owner = &host.Owner
	} else {
		refused.Mode = host.Plan.Mode
	}
	return refused
}

// mine tells whether a socket is of this holder's tree, or the one by which it dials itself. The server is of the tree: what it starts
// must not be served by another.
func (h *Holder) mine(inode uint64) (bool, error) {
	if inode != 0 && inode == h.probing.Load() {
		return true, nil
	}
	return h.options.Mine(inode)
}

// heed acts on what the host says, or on its end.
func (h *Holder) heed(ctx context.Context, p *peer, e event, open bool) error {
	defer closeAll(e.files)
	switch {
	case !open && h.heir, open && e.Kind == KindAlone:
		return h.reign(ctx, p)
	case !open:
		return h.arrive(ctx, p, h.reenter(ctx, p))
	case e.Kind == KindLeave:
		h.returns = time.Now().Add(enterLimit)
	case e.Kind == KindMove:
		return h.move(ctx, p)
	case e.Kind == KindBequest:
		answer := Message{Kind: KindTaken}
		if err := h.take(ctx, e); err != nil {
			h.options.Log.Info("not going on with what the host has", "reason", err)
			answer = Message{Kind: KindRefused, Error: err.Error()}
		}
		return unlessGone(h.up.link.Send(answer))
	}
	return nil
}

// unlessGone is err, unless it says that the host has ended: that is seen by the end of its link.
func unlessGone(err error) error {
	for _, gone := range []error{unix.EPIPE, unix.ECONNRESET, net.ErrClosed, os.ErrDeadlineExceeded, io.EOF} {
		if errors.Is(err, gone) {
			return nil
		}
	}
	return err
}

// reenter goes on without a host that has ended and left nothing: as another's guest, or by beginning anew.
func (h *Holder) reenter(ctx context.Context, p *peer) error {
	h.options.Log.Info("the host has ended")
	err := errors.Join(h.up.close(), h.endpoint.Close())
	if err == nil {
		h.become(func() { h.up, h.endpoint, h.plan, h.reason = nil, nil, netsetup.Plan{}, "" })
		err = h.enter(ctx)
	}
	if err != nil {
		return err
	}
	if h.up != nil {
		return h.handAnew(p)
	}
	err = h.control.Close()
	h.control = nil
	if err = errors.Join(err, h.start(ctx)); err != nil {
		return err
	}
	return h.handAnew(p)
}

// arrive dials itself, unless there is an error before. A guest's host may change meanwhile: then it does so again.
func (h *Holder) arrive(ctx context.Context, p *peer, err error) error {
	for err == nil {
		turn := h.turns
		switch err = h.dialSelf(ctx, p); {
		case errors.Is(err, errHostGone):
			err = h.reenter(ctx, p)
		case errors.Is(err, ErrNotReached) && h.turns != turn:
			err = nil
		default:
			return err
		}
	}
	return err
}

// move makes this guest one of another host, which has taken over what its host had. The one before may ask still.
func (h *Holder) move(ctx context.Context, p *peer) error {
	before, inlet := h.up, h.endpoint
	err := h.visit(ctx, nil)
	if err != nil { // it is followed when it ends
		h.options.Log.Info("not moving to another host", "reason", err)
		return unlessGone(before.link.Send(Message{Kind: KindRefused, Error: err.Error()}))
	}
	h.past = append(h.past, before)
	if err := errors.Join(inlet.Close(), h.handAnew(p)); err != nil {
		return err
	}
	return unlessGone(before.link.Send(Message{Kind: KindMoved}))
}

// handAnew hands another endpoint, and another control socket, to the server.
func (h *Holder) handAnew(p *peer) error {
	if h.control == nil || h.up != nil {
		if err := h.openControl(); err != nil {
			return err
		}
	}
	h.turns++
	offer := h.described()
	return p.send(Message{Kind: KindEndpoint, Offer: &offer}, h.endpoint, h.control)
}

// openControl opens the control socket: the host's, and that of the server that serves one tree, which may be the same.
func (h *Holder) openControl() error {
	name, tree := controlFile, h.options.Tree
	if h.up != nil && !h.heir {
		name = treeSocket(tree)
	}
	control, err := h.state.Listen("unix", name, h.options.Owner)
	if err != nil {
		return err
	}
	defer control.Close()
	if h.control != nil {
		err = h.control.Close()
	}
	var fileErr error
	if h.control, fileErr = control.File(); fileErr != nil {
		return errors.Join(err, fmt.Errorf("keeping the control listener: %w", fileErr))
	}
	if name == controlFile && tree != 0 {
		err = errors.Join(err, h.state.alias(controlFile, treeSocket(tree)))
	}
	return err
}

// part ends a guest: the host goes on.
func (h *Holder) part() error {
	err := errors.Join(h.state.discard(treeSocket(h.options.Tree)), h.depart())
	for _, f := range []*os.File{h.endpoint, h.control} {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	h.step("stop", 1, "depart")
	return err
}

// depart lets the host, and those before it, go.
func (h *Holder) depart() error {
	var err error
	if h.up != nil {
		err = h.up.close()
	}
	for _, u := range h.past {
		err = errors.Join(err, u.close())
	}
	h.up, h.past = nil, nil
	return err
}

// sinceBoot is now, on a clock that all processes of this machine share: CLOCK_BOOTTIME, clock_gettime(2).
func sinceBoot() (int64, error) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return 0, fmt.Errorf("reading the time since boot: %w", err)
	}
	return now.Nano(), nil
}
