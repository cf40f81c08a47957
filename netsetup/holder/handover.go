package holder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"azimds/netsetup"
)

const (
	// settleLimit is how long a server may take to accept nobody any more: it answers who has connected.
	settleLimit = 8 * time.Second
	// takeLimit is how long a guest may take to take over: it starts a janitor.
	takeLimit = 5 * time.Second
	// moveLimit is how long another guest may take to go to the new host.
	moveLimit = 2 * time.Second
)

// lodges tells whether this holder is a host that has guests.
func (h *Holder) lodges() bool {
	return (h.up == nil || h.heir) && h.janitor != nil && !h.plan.IsZero() && len(h.guests.settled()) > 0
}

// settle has the server accept nobody any more, unless it has ended, or asked to stop, which it does when it does not. What it asks
// meanwhile is answered.
func (h *Holder) settle(ctx context.Context, p *peer, end error) {
	if p == nil || errors.Is(end, errStopAsked) || errors.Is(end, errServerGone) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleLimit)
	defer cancel()
	p.tell(h.options.Log, Message{Kind: KindStop})
	for {
		select {
		case m := <-p.in:
			if m.Kind == KindStop || h.reply(ctx, p, m) != nil {
				return
			}
		case <-p.done:
			return
		case <-ctx.Done():
			h.options.Log.Warn("the server goes on accepting")
			return
		}
	}
}

// handOver has a guest go on with the plan, the listener and the lock of this holder, which ends, so that no connection is refused.
// It returns false when none does; all is as it was then, but that nothing is repaired any more.
func (h *Holder) handOver(ctx context.Context) bool {
	ctx = context.WithoutCancel(ctx)
	h.healer.stop()
	all := h.guests.settled()
	for _, heir := range slices.Backward(all) { // who came first
		b := h.bequest()
		if err := heir.say(ctx, takeLimit, KindTaken, Message{Kind: KindBequest, Bequest: &b}, h.state.lock, h.endpoint); err != nil {
			h.options.Log.Info("a guest does not take over", "process", heir.Tree, "reason", err)
			continue
		}
		h.guests.leave()
		err := errors.Join(h.janitor.dismiss(left), h.state.Release(), h.options.forget(endpointName))
		for _, other := range all {
			if other != heir {
				err = errors.Join(err, other.say(ctx, moveLimit, KindMoved, Message{Kind: KindMove}))
			}
		}
		if err = errors.Join(err, heir.link.Send(Message{Kind: KindAlone})); err != nil {
			h.options.Log.Warn("handing over", "error", err)
		}
		h.options.Log.Info("a guest goes on with the interception", "process", heir.Tree)
		return true
	}
	return false
}

// say tells a guest something, and waits for its word.
func (v *guest) say(ctx context.Context, limit time.Duration, want Kind, m Message, files ...*os.File) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, os.ErrDeadlineExceeded)
	defer cancel()
	if err := v.link.Send(m, files...); err != nil {
		return err
	}
	select {
	case said := <-v.words:
		if said.Kind != want {
			return fmt.Errorf("it says %q: %s", said.Kind, said.Error)
		}
		return nil
	case <-v.gone:
		return errors.New("it has ended")
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// leave leaves what guests have in the state folder to another host.
func (g *guests) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.leaving = true
}

// ended ends a holder that has handed over.
func (h *Holder) ended() error {
	h.zones.stop()
	h.guests.stop()
	err := errors.Join(h.depart(), h.endpoint.Close(), h.control.Close())
	h.step("stop", 1, "hand over")
	h.step("stop", 2, "dismiss")
	return err
}

// take takes over what the host has: its lock first, then a janitor, and then nothing in the kernel has to change. Other guests can
// come from now on. The server gets the listener when the host's accepts nobody any more.
func (h *Holder) take(ctx context.Context, e event) error {
	b := e.Bequest
	if b == nil || len(e.files) != 2 || h.heir {
		return fmt.Errorf("the host sent %d files", len(e.files))
	}
	if !h.wants(b.Plan) {
		return errors.New("another configuration is wanted")
	}
	if err := netsetup.Listens(b.Plan, e.files[1]); err != nil {
		return err
	}
	state, err := h.inheritLock(e.files[0])
	if err != nil {
		return err
	}
	endpoint, err := duplicate(e.files[1], "endpoint")
	if err != nil {
		return errors.Join(err, state.Release())
	}
	inlet, before, plan, reason := h.endpoint, h.state, h.plan, h.reason
	h.become(func() { h.heir, h.endpoint, h.state, h.plan, h.reason = true, endpoint, state, b.Plan, b.Reason })
	if err := h.succeed(ctx); err != nil {
		h.guests.stop()
		if h.janitor != nil {
			err = errors.Join(err, h.janitor.dismiss(left))
			h.janitor = nil
		}
		h.become(func() { h.heir, h.endpoint, h.state, h.plan, h.reason = false, inlet, before, plan, reason })
		return errors.Join(err, endpoint.Close(), state.Release())
	}
	return inlet.Close()
}

// succeed makes an heir what a host is, all but what is in the kernel.
func (h *Holder) succeed(ctx context.Context) error {
	if err := h.guard(ctx); err != nil {
		return err
	}
	if err := h.guests.start(h); err != nil {
		return err
	}
	return h.openControl()
}

// become changes what this holder is, for whoever else looks at it.
func (h *Holder) become(change func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change()
}

// wants tells whether the plan is what this holder would have made, but for who is exempt: that is of use to a server alone which is.
// One with bridges it is not: the host's server has their listeners still.
func (h *Holder) wants(p netsetup.Plan) bool {
	w, v := h.options.Want, Visit{Owner: h.options.Owner, Mode: h.options.Want.Mode, Tree: h.options.Tree}
	return v.fits(Offer{Owner: Owner{UID: p.Owner}, Plan: p}) && p.AnyLocal == w.AnyLocal && slices.Equal(p.Admitted, w.Admitted) &&
		slices.Equal(p.Groups, w.Groups) && len(p.Bridges)+len(w.Bridges)+len(w.Networks) == 0
}

// inheritLock takes over the lock: an open file that has it.
func (h *Holder) inheritLock(file *os.File) (*State, error) {
	path := filepath.Join(h.state.Dir, lockFile)
	lock, err := duplicate(file, path)
	if err != nil {
		return nil, err
	}
	s := &State{Dir: h.state.Dir, lock: lock}
	if err := s.take(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return s, nil
}

// duplicate is another descriptor of a file, under a name.
func duplicate(file *os.File, name string) (*os.File, error) {
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("duplicating %q: %w", name, err)
	}
	var fd int
	var dupErr error
	err = raw.Control(func(old uintptr) { fd, dupErr = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) })
	if err = errors.Join(err, dupErr); err != nil {
		return nil, fmt.Errorf("duplicating %q: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// reign makes the heir the host: nobody else accepts any more.
func (h *Holder) reign(ctx context.Context, p *peer) error {
	h.past = append(h.past, h.up)
	h.become(func() { h.up, h.heir = nil, false })
	if !h.state.ours() {
		return errors.New("the host has died while it handed over")
	}
	h.options.Log.Info("going on with what the host held", "mode", h.plan.Mode)
	if err := h.healer.start(ctx, h, netsetup.NewHost(netsetup.Options{Log: h.options.Log})); err != nil {
		return err
	}
	return h.handAnew(p)
}
