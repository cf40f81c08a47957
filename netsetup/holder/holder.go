package holder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"azimds/netsetup"
)

// selfDialLimit bounds the one connection that a holder makes through its own interception before it says ready.
const selfDialLimit = 5 * time.Second

// Options of a holder.
type Options struct {
	Want        netsetup.Want
	Owner       Owner
	ExemptGroup uint32              // a supplementary group whose traffic passes the interception by; 0 is none
	Tree        int                 // serve only descendants of this pid; 0 serves all of the owner's processes
	Janitor     []string            // the command that calls RunJanitor
	JanitorLog  io.Writer           // the janitor's standard error
	Explain     func(error) Failure // turns a refusal into words for the person
	InTree      func(inode uint64) (bool, error)
	Stderr      func(*os.File) error // takes over the server's standard error; nil leaves it
	Log         *slog.Logger
	After       func(phase string, step int, name string) // see netsetup.Options; phases start and stop are the holder's own
}

// Holder is a host that matches a plan, the listeners that go with it and the janitor that guards both.
type Holder struct {
	options  Options
	host     *netsetup.Interceptor
	state    *State
	janitor  *janitor
	plan     netsetup.Plan
	reason   string
	endpoint *os.File // the listener clients reach
	control  *os.File // the listener of the control socket
}

// Start locks the namespace's state, starts the janitor, takes away what a dead holder left, chooses a mode, listens and
// makes the host match, in that order: nothing is changed before somebody watches. When it fails, or ctx ends first, everything is as it was.
func Start(ctx context.Context, o Options) (h *Holder, err error) {
	h = &Holder{options: o, host: netsetup.NewHost(netsetup.Options{After: o.After, Log: o.Log})}
	if h.state, err = LockState(); err != nil {
		return nil, err
	}
	h.step("start", 1, "lock")
	if err := h.start(ctx); err != nil {
		return nil, errors.Join(err, h.Stop(ctx))
	}
	return h, nil
}

func (h *Holder) start(ctx context.Context) error {
	var err error
	if h.janitor, err = startJanitor(h.options.Janitor, h.options.JanitorLog, h.state); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		h.janitor.watch()
		cancel(h.janitor.err)
	}()
	h.step("start", 2, "janitor")
	if err := h.janitor.awaitWatch(); err != nil {
		return err
	}
	h.step("start", 3, "watch")
	swept, err := h.host.Sweep(ctx)
	if err != nil {
		return fmt.Errorf("removing what an earlier run left: %w", err)
	}
	for _, what := range swept {
		h.options.Log.Warn("removed what an earlier run left", "what", what)
	}
	if err := h.choose(ctx); err != nil {
		return err
	}
	h.step("start", 4, "choose")
	if err := h.listen(ctx); err != nil {
		return err
	}
	h.step("start", 5, "listen")
	if err := h.host.Up(ctx, h.plan); err != nil {
		return err
	}
	return context.Cause(ctx)
}

func (h *Holder) choose(ctx context.Context) error {
	want := h.options.Want
	want.ExemptGroup = h.options.ExemptGroup
	mode, reason, err := netsetup.Choose(ctx, want)
	if err != nil {
		return err
	}
	plan, err := NewPlan(ctx, mode, h.options.Owner, h.options.ExemptGroup)
	if err != nil {
		return err
	}
	h.plan, h.reason = plan, reason
	return nil
}

// NewPlan is what the host should look like in mode, for owner. It looks for a free backend port where the mode needs one.
func NewPlan(ctx context.Context, mode netsetup.Mode, owner Owner, exemptGroup uint32) (netsetup.Plan, error) {
	plan := netsetup.Plan{Mode: mode, Endpoint: netsetup.Endpoint, Backend: netsetup.Endpoint, Owner: owner.UID}
	if mode != netsetup.IPTables {
		return plan, nil
	}
	plan.ExemptGroup = exemptGroup
	var err error
	plan.Backend, err = netsetup.FreeBackendPort(ctx)
	return plan, err
}

// listen opens both listeners and keeps only their files: a holder never accepts.
func (h *Holder) listen(ctx context.Context) error {
	endpoint, err := netsetup.Listen(ctx, h.plan)
	if err != nil {
		return err
	}
	defer endpoint.Close()
	if h.endpoint, err = endpoint.File(); err != nil {
		return fmt.Errorf("keeping the listener: %w", err)
	}
	control, err := h.state.Listen("unix", controlFile, h.options.Owner)
	if err != nil {
		return err
	}
	defer control.Close()
	if h.control, err = control.File(); err != nil {
		return fmt.Errorf("keeping the control listener: %w", err)
	}
	return nil
}

func (h *Holder) step(phase string, n int, name string) {
	if h.options.After != nil {
		h.options.After(phase, n, name)
	}
}

// Plan is what the host was made to match.
func (h *Holder) Plan() netsetup.Plan { return h.plan }

// Stop takes the plan down, the live rule or address first, lets the janitor go and removes the state folder. It goes on
// past errors, and past the end of ctx under netsetup's own deadline. When the plan cannot be taken down, the janitor is not dismissed but cut off: it then tries in turn.
func (h *Holder) Stop(ctx context.Context) error {
	var err error
	if h.plan != (netsetup.Plan{}) {
		err = h.host.Down(ctx, h.plan)
	}
	h.step("stop", 1, "down")
	for _, f := range []*os.File{h.endpoint, h.control} {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	if err != nil {
		return errors.Join(err, h.abandon())
	}
	if h.janitor != nil {
		err = h.janitor.dismiss()
	}
	h.step("stop", 2, "dismiss")
	return errors.Join(err, h.state.Remove())
}

// abandon leaves the rest to the janitor.
func (h *Holder) abandon() error {
	var err error
	if h.janitor != nil {
		err = h.janitor.lifeline.Close()
		<-h.janitor.gone
	}
	return errors.Join(err, h.state.Release())
}

// Attend serves one server on its link, which has said hello: it hands over the listeners, dials itself through the
// interception as the owner, says ready, and answers what is asked. It returns nil when the server asked to stop, and
// otherwise why it ended: ctx, the server's death or the janitor's.
func (h *Holder) attend(ctx context.Context, p *peer) error {
	offer := Offer{
		Plan: h.plan, Reason: h.reason, Owner: h.options.Owner,
		Dir: h.state.Dir, Tree: h.options.Tree, Holder: os.Getpid(),
	}
	if err := p.link.Send(Message{Kind: KindOffer, Offer: &offer}, h.endpoint, h.control); err != nil {
		return err
	}
	h.step("start", 6, "offer")
	if err := h.dialSelf(ctx, p); err != nil {
		return err
	}
	if err := p.link.Send(Message{Kind: KindReady}); err != nil {
		return err
	}
	h.step("start", 7, "ready")
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-h.janitor.gone:
			return h.janitor.err
		case m := <-p.in:
			if m.Kind == KindStop {
				return errStopAsked
			}
			if err := p.link.Send(h.answer(ctx, m)); err != nil {
				return err
			}
		}
	}
}

// dialSelf proves that a connection of the owner's to the endpoint arrives at this server, and that the server is told by
// the kernel that it is the owner's.
func (h *Holder) dialSelf(ctx context.Context, p *peer) error {
	ctx, cancel := context.WithTimeoutCause(ctx, selfDialLimit, errors.New("no answer in time"))
	defer cancel()
	probe, err := newProbe(h.options.Owner)
	if err != nil {
		return err
	}
	defer probe.file.Close()
	if err := p.link.Send(Message{Kind: KindCheck, Inode: probe.inode}); err != nil {
		return err
	}
	if _, err := p.next(ctx, KindExpect); err != nil {
		return err
	}
	if err := probe.ask(ctx, h.plan.Endpoint); err != nil {
		return fmt.Errorf("dialling ourselves: %w", err)
	}
	seen, err := p.next(ctx, KindSeen)
	if err != nil {
		return err
	}
	if seen.UID != h.options.Owner.UID {
		return fmt.Errorf("dialling ourselves: the server saw uid %d and not %s", seen.UID, h.options.Owner)
	}
	return nil
}

func (h *Holder) answer(ctx context.Context, m Message) Message {
	answer := Message{Kind: KindAnswer, ID: m.ID}
	var err error
	switch {
	case m.Kind != KindAsk:
		err = fmt.Errorf("unexpected message %q", m.Kind)
	case m.Inode != 0:
		answer.InTree, err = h.options.InTree(m.Inode)
	default:
		var report netsetup.Report
		report, err = h.host.Check(ctx, h.plan)
		answer.Report = &report
	}
	if err != nil {
		answer.Error = err.Error()
	}
	return answer
}
