package holder

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"

	"azimds/netsetup"
	"azimds/netsetup/engine"
)

// aloneReason is why nothing is intercepted, for who asks.
const aloneReason = "an endpoint that variables select needs no interception"

// AloneOptions are what [RunAlone] needs.
type AloneOptions struct {
	Owner   Owner
	Name    string        // of the instance; "" is the one that commands talk to
	Port    uint16        // of 127.0.0.1, and of each bridge; 0 is one that is free
	Want    netsetup.Want // whose containers are served, too: its bridges and networks
	Tree    int           // serve only descendants of this pid; 0 serves all of the owner's processes
	Explain func(error) Failure
	InTree  func(inode uint64) (bool, error)
	// Find says who has a socket of this uid open that is connected from client to dialed.
	Find func(inode uint64, uid uint32, client, dialed netip.AddrPort) (who Process, ok bool)
	// Networks is as that of [Options].
	Networks func(context.Context) ([]engine.Network, error)
	Log      *slog.Logger
}

// RunAlone is a session without an interception: it opens listeners on addresses that anybody may have, hands them to the server at
// the other end of link, says at once that it is ready, and answers what is asked, until either ends. It changes nothing of the
// network and needs no privilege. It is there because the server has none: what the server may not look at, such as a process
// with capabilities of its own user's, this process may.
//
// It takes the link over. The error is as that of [Run].
func RunAlone(ctx context.Context, link *Link, o AloneOptions) error {
	if err := hello(ctx, link, nil); err != nil {
		switch {
		case ctx.Err() != nil:
			err = nil
		case errors.Is(err, errServerGone):
			err = &SaidError{err}
		}
		return errors.Join(err, link.Close())
	}
	inner, p := follow(ctx, link)
	return errors.Join(o.session(ctx, inner, p), p.close())
}

// RemoveAlone removes the state folder of a [RunAlone] that was killed, unless another lives in it.
func RemoveAlone(dir string) error {
	state, err := lockDir(dir)
	if errors.As(err, new(*LockedError)) {
		return nil
	}
	if err != nil {
		return err
	}
	return state.Remove()
}

// alone is what a session without an interception has open.
type alone struct {
	AloneOptions
	plan              netsetup.Plan
	state             *State
	endpoint, control *os.File
	zones             zones
}

// session serves one server. inner is ctx as long as the server lives.
func (o AloneOptions) session(ctx, inner context.Context, p *peer) error {
	a := &alone{AloneOptions: o}
	end := a.open(inner)
	if end == nil {
		end = a.attend(inner, p)
	}
	if errors.Is(end, errStopAsked) {
		end = nil
	}
	end = unlessEnded(ctx, end)
	closing := a.close()
	switch {
	case errors.Is(end, errServerGone):
	case end != nil:
		return p.fail(Options{Explain: o.Explain, Log: o.Log}, errors.Join(end, closing))
	case closing != nil:
		p.tell(o.Log, Message{Kind: KindStopped, Error: closing.Error()})
	default:
		p.tell(o.Log, Message{Kind: KindStopped})
	}
	return errors.Join(end, closing)
}

// open opens the listeners.
func (a *alone) open(ctx context.Context) error {
	dir, err := AloneDir(a.Name)
	if err != nil {
		return err
	}
	if a.state, err = lockDir(dir); err != nil {
		return err
	}
	o := Options{Want: a.Want, Networks: a.Networks, Log: a.Log}
	a.zones.networks = newNetworks(o)
	a.zones.amend = func(context.Context, []string) error { return nil } // the host has no part in it
	bridges := slices.Concat(a.Want.Bridges, a.zones.networks.look(ctx))
	endpoint, plan, err := netsetup.ListenAlone(ctx, a.Owner.UID, a.Port, bridges)
	if err != nil {
		return err
	}
	defer endpoint.Close()
	a.plan = plan
	if a.endpoint, err = endpoint.File(); err != nil {
		return fmt.Errorf("keeping the listener: %w", err)
	}
	control, err := a.state.Listen("unix", controlFile, a.Owner)
	if err != nil {
		return err
	}
	defer control.Close()
	if a.control, err = control.File(); err != nil {
		return fmt.Errorf("keeping the control listener: %w", err)
	}
	return a.zones.start(ctx, plan, o)
}

// attend hands the listeners over and answers what is asked. It returns why it ended.
func (a *alone) attend(ctx context.Context, p *peer) error {
	offer := &Offer{
		Plan: a.plan, Reason: aloneReason, Owner: a.Owner, Dir: a.state.Dir, Tree: a.Tree, Holder: os.Getpid(),
	}
	if err := p.send(Message{Kind: KindOffer, Offer: offer}, a.endpoint, a.control); err != nil {
		return err
	}
	if err := a.zones.attach(p); err != nil {
		return err
	}
	defer a.zones.detach()
	if err := p.send(Message{Kind: KindReady}); err != nil {
		return err
	}
	for {
		m, err := p.next(ctx)
		if err != nil {
			return err
		}
		if m.Kind == KindStop {
			return errStopAsked
		}
		if err := p.send(a.answer(m)); err != nil {
			return err
		}
	}
}

func (a *alone) answer(m Message) Message {
	answer := Message{Kind: KindAnswer, ID: m.ID}
	switch {
	case m.Kind == KindFind:
		if who, ok := a.Find(m.Inode, m.UID, m.Client, a.plan.Endpoint); ok {
			answer.Process = &who
		}
	case m.Kind != KindAsk:
		answer.Error = fmt.Sprintf("unexpected message %q", m.Kind)
	case m.Inode != 0:
		var err error
		if answer.InTree, err = a.InTree(m.Inode); err != nil {
			answer.Error = err.Error()
		}
	default:
		answer.Report = &netsetup.Report{} // there is nothing in the kernel that could differ
	}
	return answer
}

// close closes the listeners, for the server as well, and removes the state folder.
func (a *alone) close() error {
	a.zones.stop()
	var err error
	for _, f := range []*os.File{a.endpoint, a.control} {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	if a.state == nil {
		return err
	}
	return errors.Join(err, a.state.Remove())
}
