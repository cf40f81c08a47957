package holder

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"azimds/netsetup"
)

// Plan is what the host is made to match.
func (h *Holder) Plan() netsetup.Plan {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.plan
}

// match has the host match another plan from now on.
func (h *Holder) match(p netsetup.Plan) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.plan = p
}

func (h *Holder) listener() syscall.Conn {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.endpoint
}

// replace takes over a listener in the place of the endpoint's, whose device is gone, and hands it to the server that is
// attached, if there is one.
func (h *Holder) replace(ln *net.TCPListener) error {
	defer ln.Close()
	file, err := ln.File()
	if err != nil {
		return fmt.Errorf("keeping the listener: %w", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	err = errors.Join(h.endpoint.Close(), h.options.forget(endpointName), h.options.keep(endpointName, file))
	h.endpoint = file
	if h.to != nil {
		h.to.tell(h.options.Log, Message{Kind: KindEndpoint}, file) // one that cannot be told is about to end its session
	}
	if err != nil {
		return fmt.Errorf("exchanging a listener: %w", err)
	}
	return nil
}

// offer hands the listeners to a server, with where guests' connections go, and from now on each new one of the endpoint, and each
// guest, until it is detached. From the first connection on it can tell a guest's.
func (h *Holder) offer(p *peer) error {
	g := &h.guests
	g.mu.Lock()
	defer g.mu.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	offer := h.offerLocked()
	files := []*os.File{h.endpoint, h.control}
	for _, v := range g.all {
		offer.Guests, files = append(offer.Guests, v.id), append(files, v.outlet)
	}
	if err := p.send(Message{Kind: KindOffer, Offer: &offer}, files...); err != nil {
		return err
	}
	h.to, g.to, g.told = p, p, offer.Guests
	return nil
}

func (h *Holder) detach() {
	h.guests.mu.Lock()
	defer h.guests.mu.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.to, h.guests.to = nil, nil
}

// described is what this holder has, without guests.
func (h *Holder) described() Offer {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.offerLocked()
}

func (h *Holder) offerLocked() Offer {
	offer := Offer{
		Plan: h.plan, Reason: h.reason, Owner: h.options.Owner,
		Dir: h.state.Dir, Tree: h.options.Tree, Holder: os.Getpid(),
	}
	if h.up != nil {
		offer.Host = h.up.host.Holder
	}
	return offer
}

// prove dials ourselves after a repair, and says whether that is answered. It returns why the session has to end.
func (h *Holder) prove(ctx context.Context, p *peer) error {
	err := h.dialSelf(ctx, p)
	if !errors.Is(err, ErrNotReached) {
		if err == nil {
			h.options.Log.Info("the endpoint answers after the repair")
		}
		return err
	}
	h.options.Log.Warn("the endpoint does not answer after the repair", "error", err)
	return h.forget(ctx, p)
}

// forget has the server expect our connection no longer: another socket may get its inode.
func (h *Holder) forget(ctx context.Context, p *peer) error {
	if err := p.send(Message{Kind: KindCheck}); err != nil {
		return err
	}
	ctx, stop := context.WithTimeout(ctx, selfDialLimit)
	defer stop()
	_, err := h.await(ctx, p, KindExpect, KindSeen)
	return err
}
