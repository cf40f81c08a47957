package holder

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"azimds/netsetup"
	"azimds/netsetup/engine"
)

// Options of a holder.
type Options struct {
	Want        netsetup.Want
	Owner       Owner
	ExemptGroup uint32                           // a supplementary group whose traffic passes the interception by; 0 is none
	Tree        int                              // serve only descendants of this pid; 0 serves all of the owner's processes
	Janitor     []string                         // the command that calls RunJanitor
	JanitorLog  *os.File                         // the janitor's standard error; nil discards
	Explain     func(error) Failure              // turns a refusal into words for the person
	InTree      func(inode uint64) (bool, error) // tells whether a socket is open in the tree
	Mine        func(inode uint64) (bool, error) // the same, of the tree and of the server, which may be in it
	// Find says who has a socket of this uid open that is connected from client to the endpoint; ok is false for nobody that can
	// be found.
	Find func(inode uint64, uid uint32, client netip.AddrPort) (who Process, ok bool)
	// Networks lists the networks of container engines, for those that Want names; nil: there are none.
	Networks func(context.Context) ([]engine.Network, error)
	// Keeper keeps the listeners while this holder is restarted; nil: they end with it. Kept are those that it kept of the holder
	// before, by their names.
	Keeper Keeper
	Kept   map[string]*os.File
	Stderr func(*os.File) error // takes over the server's standard error; nil leaves it
	Log    *slog.Logger
	After  func(phase string, step int, name string) // see netsetup.Options; phases start and stop are the holder's own
}

// Holder is a host that matches a plan, the listeners that go with it and the janitor that guards both.
type Holder struct {
	options Options
	host    *netsetup.Interceptor
	state   *State
	janitor *janitor
	reason  string
	control *os.File // the listener of the control socket
	zones   zones    // the bridges, each with its listener
	healer  healer
	guests  guests
	since   int64 // when it began: see Visit

	up      *uplink       // to the host that this one is a guest of; nil: of none
	past    []*uplink     // to those before, which may ask still
	turns   int           // how many times the server was handed another endpoint
	heir    bool          // it has taken over what the host had, whose server may accept still
	returns time.Time     // another host than a guest may come until then
	probing atomic.Uint64 // the inode of the socket by which it dials itself

	mu       sync.Mutex // what a repair may change while a server is attached
	plan     netsetup.Plan
	endpoint *os.File // the listener clients reach
	to       *peer    // the server that is told of another one; nil is none
}

// newHolder makes a holder that has nothing yet.
func newHolder(o Options) (*Holder, error) {
	h := &Holder{options: o, host: netsetup.NewHost(netsetup.Options{After: o.After, Log: o.Log})}
	h.guests.holder = h
	var err error
	h.since, err = sinceBoot()
	return h, err
}

// lock makes a holder that has nothing yet but the namespace's state, locked. The caller stops it.
func lock(o Options) (*Holder, error) {
	h, err := newHolder(o)
	if err != nil {
		return nil, err
	}
	if err := h.lock(); err != nil {
		return nil, err
	}
	return h, nil
}

func (h *Holder) lock() error {
	state, err := LockState()
	if err != nil {
		return err
	}
	h.state = state
	h.step("start", 1, "lock")
	return nil
}

// start starts the janitor, takes away what a dead holder left, chooses a mode, listens and makes the host match, in that
// order: nothing is changed before somebody watches. The caller stops the holder, also when start fails or ctx ends.
func (h *Holder) start(ctx context.Context) error {
	if err := h.startJanitor(); err != nil {
		return err
	}
	ctx, cancel := h.watched(ctx)
	defer cancel()
	h.step("start", 2, "janitor")
	err := h.intercept(ctx)
	cause := context.Cause(ctx)
	switch {
	case cause == nil || errors.Is(err, cause):
		return err
	case err == nil:
		return cause
	default: // why it was given up, then what was
		return fmt.Errorf("%w: %w", cause, err)
	}
}

func (h *Holder) startJanitor() error {
	var err error
	if h.janitor, err = startJanitor(h.options.Janitor, h.options.JanitorLog, h.state); err != nil {
		return err
	}
	go h.janitor.watch()
	return nil
}

// guard starts the janitor and waits until it watches.
func (h *Holder) guard(ctx context.Context) error {
	if err := h.startJanitor(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, takeLimit, os.ErrDeadlineExceeded)
	defer cancel()
	return h.janitor.awaitWatch(ctx)
}

// lost is closed when the janitor has ended; nil where there is none.
func (h *Holder) lost() <-chan struct{} {
	if h.janitor == nil {
		return nil
	}
	return h.janitor.gone
}

func (h *Holder) intercept(ctx context.Context) error {
	if err := h.janitor.awaitWatch(ctx); err != nil {
		return err
	}
	h.step("start", 3, "watch")
	h.zones.networks, h.zones.amend = newNetworks(h.options), h.amend
	bridges := slices.Concat(h.options.Want.Bridges, h.zones.networks.look(ctx))
	resumed, err := h.resume(ctx)
	if err != nil {
		return err
	}
	if !resumed {
		if err := h.begin(ctx, bridges); err != nil {
			return err
		}
	}
	h.plan.Bridges = bridges
	h.step("start", 4, "choose")
	if err := h.host.Guard(ctx, h.plan); err != nil { // before anybody can dial the listener directly
		return err
	}
	if err := h.listen(ctx); err != nil {
		return err
	}
	if err := h.guests.start(h); err != nil {
		return err
	}
	if err := h.zones.start(ctx, h.plan, h.options); err != nil {
		return err
	}
	h.step("start", 5, "listen")
	if err := h.host.Up(ctx, h.plan); err != nil {
		return err
	}
	return h.healer.start(ctx, h, netsetup.NewHost(netsetup.Options{Log: h.options.Log}))
}

// begin takes away what a dead holder left, and chooses a mode.
func (h *Holder) begin(ctx context.Context, bridges []string) error {
	swept, err := h.host.Sweep(ctx)
	if errors.Is(err, netsetup.ErrIPTables) { // a mode that needs it fails by itself; what is left shows when we dial ourselves
		h.options.Log.Warn("rules that an earlier run left may be there", "error", err)
		err = nil
	}
	if err != nil {
		return fmt.Errorf("removing what an earlier run left: %w", err)
	}
	for _, what := range swept {
		h.options.Log.Warn("removed what an earlier run left", "what", what)
	}
	return h.choose(ctx, bridges)
}

// watched is ctx as long as the janitor lives, if there is one.
func (h *Holder) watched(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	janitor, lost := h.janitor, h.lost()
	go func() {
		select {
		case <-lost:
			cancel(janitor.err)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

func (h *Holder) choose(ctx context.Context, bridges []string) error {
	want := h.options.Want
	want.ExemptGroup, want.Bridges = h.options.ExemptGroup, bridges
	mode, reason, err := netsetup.Choose(ctx, want)
	if err != nil {
		return err
	}
	plan, err := NewPlan(ctx, mode, h.options.Owner, want)
	if err != nil {
		return err
	}
	h.plan, h.reason = plan, reason
	if start, err := netsetup.UnprivilegedPortStart(); err != nil || int(plan.Backend.Port()) >= start {
		h.options.Log.Warn("any local user may listen on our port when we are gone", "port", plan.Backend.Port(), "error", err)
	}
	return nil
}

// NewPlan is what the host should look like in mode, for owner and as wanted. It looks for a free backend port where the
// mode needs one.
func NewPlan(ctx context.Context, mode netsetup.Mode, owner Owner, want netsetup.Want) (netsetup.Plan, error) {
	plan := netsetup.Plan{
		Mode: mode, Endpoint: netsetup.Endpoint, Backend: netsetup.Endpoint, Owner: owner.UID,
		Admitted: want.Admitted, Groups: want.Groups, AnyLocal: want.AnyLocal, Bridges: want.Bridges,
	}
	if mode == netsetup.IPTables {
		plan.ExemptGroup = want.ExemptGroup
		var err error
		if plan.Backend, err = netsetup.FreeBackendPort(ctx); err != nil {
			return plan, err
		}
	}
	return netsetup.Adapt(ctx, plan, want)
}

// listen opens both listeners and keeps only their files: a holder never accepts.
func (h *Holder) listen(ctx context.Context) error {
	if h.endpoint == nil { // there is one that was kept
		endpoint, err := netsetup.Listen(ctx, h.plan)
		if err != nil {
			return err
		}
		defer endpoint.Close()
		if h.endpoint, err = endpoint.File(); err != nil {
			return fmt.Errorf("keeping the listener: %w", err)
		}
		if err := h.options.keep(endpointName, h.endpoint); err != nil {
			return err
		}
	}
	return h.openControl()
}

func (h *Holder) step(phase string, n int, name string) {
	if h.options.After != nil {
		h.options.After(phase, n, name)
	}
}

// stop takes the plan down, the live rule or address first, lets the janitor go and removes the state folder. It goes on
// past errors, and past the end of ctx under netsetup's own deadline. When the plan cannot be taken down, the janitor is
// not dismissed but cut off: it then tries in turn.
func (h *Holder) stop(ctx context.Context) error {
	if h.up != nil && !h.heir {
		return h.part()
	}
	var err error
	h.healer.stop()
	if !h.plan.IsZero() {
		err = h.host.Down(ctx, h.plan)
	}
	h.step("stop", 1, "down")
	h.zones.stop()
	h.guests.stop()
	err = errors.Join(err, h.depart())
	for _, f := range []*os.File{h.endpoint, h.control} {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	switch {
	case h.janitor == nil:
	case err != nil:
		return errors.Join(err, h.janitor.abandon(), h.state.Release())
	default:
		err = h.janitor.dismiss(done)
	}
	h.step("stop", 2, "dismiss")
	return errors.Join(err, h.state.Remove())
}

// attend serves one server on its link, which has said hello: it hands over the listeners, those of the bridges too, dials
// itself through the interception as the owner, says ready, and answers what is asked. It returns why it ended: errStopAsked,
// errServerGone, the cause of ctx's end, the janitor's death or a failed check.
func (h *Holder) attend(ctx context.Context, p *peer) error {
	if h.up == nil {
		h.guests.awaitKnown(ctx)
	}
	if err := h.offer(p); err != nil {
		return err
	}
	defer h.detach()
	h.step("start", 6, "offer")
	ctx, cancel := h.watched(ctx)
	defer cancel()
	if err := h.zones.attach(p); err != nil {
		return err
	}
	defer h.zones.detach()
	if err := h.arrive(ctx, p, nil); err != nil {
		return err
	}
	if err := p.send(Message{Kind: KindReady}); err != nil {
		return err
	}
	h.step("start", 7, "ready")
	h.guests.note(h.guests.offered()...)
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-h.lost():
			return h.janitor.err
		case e, open := <-h.up.told():
			if err := h.heed(ctx, p, e, open); err != nil {
				return err
			}
		case <-h.healer.proof:
			if err := h.prove(ctx, p); err != nil {
				return err
			}
		case m := <-p.in:
			if m.Kind == KindStop {
				return errStopAsked
			}
			// What is asked on behalf of a client does not wait for programs of iptables.
			if m.Kind == KindAsk && m.Inode == 0 && h.healer.lend(func() { p.tell(h.options.Log, h.answer(ctx, m)) }) {
				continue
			}
			if err := h.reply(ctx, p, m); err != nil {
				return err
			}
		}
	}
}

// reply answers what a server asks, or takes note of what it says of guests.
func (h *Holder) reply(ctx context.Context, p *peer, m Message) error {
	switch m.Kind {
	case KindGuest:
		h.guests.note(m.Guest)
		return nil
	case KindWhose:
		h.guests.answer(ctx, p, m)
		return nil
	default:
		return p.send(h.answer(ctx, m))
	}
}

func (h *Holder) answer(ctx context.Context, m Message) Message {
	answer := Message{Kind: KindAnswer, ID: m.ID}
	var err error
	switch {
	case m.Kind == KindFind:
		if who, ok := h.options.Find(m.Inode, m.UID, m.Client); ok {
			answer.Process = &who
		}
	case m.Kind != KindAsk:
		err = fmt.Errorf("unexpected message %q", m.Kind)
	case m.Inode != 0:
		answer.InTree, err = h.options.InTree(m.Inode)
	default:
		var report netsetup.Report
		report, err = h.host.Check(ctx, h.Plan())
		answer.Report, answer.Repairs = &report, h.healer.told()
	}
	if err != nil {
		answer.Error = err.Error()
	}
	return answer
}
