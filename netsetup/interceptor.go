package netsetup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// teardownTime bounds taking down and putting back, which go on after the caller's context has ended. It is longer than
// two waits for the xtables lock (lockWait) and shorter than systemd's default TimeoutStopSec of 90 s.
const teardownTime = 15 * time.Second

// Options of an [Interceptor]; the zero value will do.
type Options struct {
	Log *slog.Logger // Debug: each change of the kernel's state. Nil discards.
	// After, where not nil, is called after each change that Guard and Up ("up") and Down or Sweep ("down") have made: which
	// one it was, from 0, where Up counts on from Guard, and its command. A repeated Up changes nothing and calls nothing. A
	// test stops the process here.
	After func(phase string, step int, name string)
}

// Interceptor makes a network namespace match a [Plan]. It is not safe for concurrent use.
type Interceptor struct {
	kernel  kernel
	o       Options
	guarded int // how many changes Guard has made that no Up or Down came after
}

// Report says how the kernel's state differs from a plan, each line a command of ip or iptables.
type Report struct {
	Residue []string `json:"residue,omitempty"` // ours and not wanted: the command that removes it
	Delta   []string `json:"delta,omitempty"`   // wanted and missing, or not where it should be: the command that makes it
	Foreign []string `json:"foreign,omitempty"` // not ours and in the way of the plan, described
}

// OK tells whether the kernel's state is what the plan says.
func (r Report) OK() bool { return len(r.Residue)+len(r.Delta)+len(r.Foreign) == 0 }

// change is one step of Up or Down.
type change struct {
	piece  piece
	remove bool
}

// NewHost acts on the network namespace of the thread that calls its methods. It does no I/O itself.
func NewHost(o Options) *Interceptor { return newInterceptor(hostAddresses{}, &hostFirewall{}, o) }

func newInterceptor(a addresses, f firewall, o Options) *Interceptor {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Interceptor{kernel: kernel{a, f}, o: o}
}

// Guard puts up what has to be there before the plan's listeners are. In mode iptables those are the rules that keep everybody
// from dialling the backend directly: without them such a connection would, once there is a listener, be remembered by the
// connection tracker and in the owner's way (see guards). In mode dummy it is our link, which the listener is bound to. Up
// puts them up too, so that Guard is for the moments before [Listen] and until Up. Its errors are those of Up, and so is
// what takes it down.
func (i *Interceptor) Guard(ctx context.Context, p Plan) error {
	if err := p.Validate(); err != nil {
		return err
	}
	var diff difference
	var err error
	switch p.Mode {
	case IPTables:
		diff, err = i.kernel.surveyGuard(ctx, p)
	case Dummy:
		diff, err = i.kernel.surveyOwnLink(ctx, p)
	}
	if err != nil {
		return err
	}
	if err := foreignError(diff.foreign); err != nil {
		return err
	}
	changes := diff.changes()
	if err := i.commit(ctx, changes); err != nil {
		return fmt.Errorf("guarding mode %q: %w", p.Mode, err)
	}
	i.guarded = len(changes)
	return nil
}

// Up makes the plan so. What is there already stays; what carries our mark and is not in the plan is removed, whichever run
// left it. On failure, or when ctx ends, Up puts back what it found and returns the errors of both, joined. Up wraps
// [ErrLoopbackDown], [ErrNoIPTables] or [ErrNoNetfilter], or returns a [*ForeignError], before it has changed anything; [ErrNoDummy] it may
// learn after it has removed a leftover, which it then puts back.
//
// In mode dummy a listener ends with the link that it is bound to. Where Up has made the link again because somebody had
// deleted it, [Listen] has to follow once more.
func (i *Interceptor) Up(ctx context.Context, p Plan) error {
	if err := p.Validate(); err != nil {
		return err
	}
	diff, err := i.ready(ctx, p)
	if err != nil {
		return err
	}
	if err := i.commit(ctx, diff.changes()); err != nil {
		return fmt.Errorf("putting up mode %q: %w", p.Mode, err)
	}
	i.guarded = 0
	return nil
}

// Check compares the kernel's state with a plan and changes nothing. With the zero Plan all that carries our mark is
// residue. On errors the report holds what could be read.
func (i *Interceptor) Check(ctx context.Context, p Plan) (Report, error) {
	if !p.IsZero() {
		if err := p.Validate(); err != nil {
			return Report{}, err
		}
	}
	diff, err := i.kernel.survey(ctx, p, p.need())
	var r Report
	for _, f := range diff.foreign {
		r.Foreign = append(r.Foreign, f.what)
	}
	for _, piece := range diff.missing {
		r.Delta = append(r.Delta, piece.adding())
	}
	for _, piece := range diff.stale {
		if !moved(piece, diff.missing) {
			r.Residue = append(r.Residue, piece.removing())
		}
	}
	return r, err
}

// Present lists what carries our mark now, each as the command that would make it, in the order of Up.
func (i *Interceptor) Present(ctx context.Context) ([]string, error) {
	diff, err := i.kernel.survey(ctx, Plan{}, ifAny)
	var there []string
	for _, piece := range slices.Backward(diff.stale) {
		there = append(there, piece.adding())
	}
	return there, err
}

// Down removes the plan, and whatever else carries our mark. It goes on past errors, after the end of ctx too, and joins
// them. Once it returns nil, nothing of ours is there; calling it again is fine. Of the plan it counts only whether it has
// rules: then a missing iptables program or netfilter is an error. A rule of somebody else inside our chain stays, with the chain, and so
// does somebody else's address on our link, with the link; either is a [*ForeignError].
func (i *Interceptor) Down(ctx context.Context, p Plan) error {
	_, err := i.sweep(ctx, p.need())
	return err
}

// Sweep removes whatever carries our mark, without a plan: after a crash, or when it is not known what was put up. It
// returns the command of each removal, also beside an error. A missing iptables program or netfilter is no error.
func (i *Interceptor) Sweep(ctx context.Context) ([]string, error) { return i.sweep(ctx, ifAny) }

// Sweep is [Interceptor.Sweep] in the calling thread's network namespace.
func Sweep(ctx context.Context) ([]string, error) { return NewHost(Options{}).Sweep(ctx) }

func (i *Interceptor) sweep(ctx context.Context, firewall need) (removed []string, err error) {
	i.guarded = 0
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), teardownTime)
	defer cancel()
	diff, err := i.kernel.survey(ctx, Plan{}, firewall)
	errs := []error{err}
	for _, piece := range diff.stale {
		c := change{piece, true}
		if err := i.apply(ctx, c); err != nil {
			errs = append(errs, err)
			continue
		}
		i.after("down", len(removed), c)
		removed = append(removed, piece.removing())
	}
	errs = append(errs, foreignError(diff.foreign))
	if err := errors.Join(errs...); err != nil || len(removed) == 0 {
		return removed, err
	}
	return removed, i.swept(ctx, firewall)
}

// swept looks again, because a deletion that finds nothing to delete counts as done.
func (i *Interceptor) swept(ctx context.Context, firewall need) error {
	diff, err := i.kernel.survey(ctx, Plan{}, firewall)
	errs := []error{err}
	for _, piece := range diff.stale {
		errs = append(errs, fmt.Errorf("running %q: still there", piece.removing()))
	}
	return errors.Join(errs...)
}

// ready surveys for a plan that is to be put up, and refuses one that cannot be.
func (i *Interceptor) ready(ctx context.Context, p Plan) (difference, error) {
	up, err := i.kernel.loopbackUp(ctx)
	if err != nil {
		return difference{}, err
	}
	if !up {
		return difference{}, fmt.Errorf("preparing mode %q: %w", p.Mode, ErrLoopbackDown)
	}
	diff, err := i.kernel.survey(ctx, p, p.need())
	if err != nil {
		return difference{}, err
	}
	if err := foreignError(diff.foreign); err != nil {
		return difference{}, err
	}
	return diff, nil
}

// commit makes changes in order, or none: on failure, or when ctx ends, it undoes those it made.
func (i *Interceptor) commit(ctx context.Context, changes []change) error {
	for n, c := range changes {
		err := ctx.Err()
		if err == nil {
			err = i.apply(ctx, c)
		}
		if err != nil {
			return errors.Join(err, i.undo(ctx, changes[:n]))
		}
		i.after("up", i.guarded+n, c)
	}
	return nil
}

// undo reverts changes, the last one first, and goes on past errors.
func (i *Interceptor) undo(ctx context.Context, changes []change) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), teardownTime)
	defer cancel()
	var errs []error
	for _, c := range slices.Backward(changes) {
		errs = append(errs, i.apply(ctx, change{c.piece, !c.remove}))
	}
	return errors.Join(errs...)
}

func (i *Interceptor) apply(ctx context.Context, c change) error {
	do := c.piece.add
	if c.remove {
		do = c.piece.remove
	}
	if err := do(ctx, i.kernel); err != nil {
		return fmt.Errorf("running %q: %w", c, err)
	}
	i.o.Log.Debug("network changed", "command", c.String())
	return nil
}

func (i *Interceptor) after(phase string, step int, c change) {
	if i.o.After != nil {
		i.o.After(phase, step, c.String())
	}
}

// String is the command that makes the change.
func (c change) String() string {
	if c.remove {
		return c.piece.removing()
	}
	return c.piece.adding()
}

// moved tells whether a rule that is to be removed is to be made again at another place.
func moved(p piece, missing []piece) bool {
	moving, ok := p.(rule)
	return ok && slices.ContainsFunc(missing, func(m piece) bool {
		again, ok := m.(rule)
		return ok && again.chain == moving.chain && sameSpec(again.spec, moving.spec)
	})
}
