package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"azimds/imds/caller"
	"azimds/netsetup/holder"
)

// guests are the servers of other commands of the owner's, whose clients this one accepts, each with where their connections go. The
// zero value has none.
type guests struct {
	mu    sync.Mutex
	known map[uint64]*holder.Outlet
}

// openOutlets opens where connections go. The files stay the caller's to close.
func openOutlets(ids []uint64, files []*os.File) (map[uint64]*holder.Outlet, error) {
	all := map[uint64]*holder.Outlet{}
	for i, id := range ids {
		outlet, err := holder.OpenOutlet(files[i])
		if err != nil {
			for _, o := range all {
				err = errors.Join(err, o.Close())
			}
			return nil, err
		}
		all[id] = outlet
	}
	return all, nil
}

func (g *guests) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.known)
}

func (g *guests) any() bool { return g.count() > 0 }

func (g *guests) outlet(id uint64) *holder.Outlet {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.known[id]
}

// change puts another outlet in the place of a guest's; nil: it has gone.
func (g *guests) change(id uint64, outlet *holder.Outlet) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	before := g.known[id]
	delete(g.known, id)
	if outlet != nil {
		if g.known == nil {
			g.known = map[uint64]*holder.Outlet{}
		}
		g.known[id] = outlet
	}
	if before == nil {
		return nil
	}
	return before.Close()
}

func (g *guests) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, o := range g.known {
		_ = o.Close() // nothing waits in it for this process
	}
	clear(g.known)
}

// noteGuest acts on what the holder says of a guest, and tells it when a guest can count on it.
func (a *agent) noteGuest(m holder.Message, files []*os.File) error {
	if len(files) == 0 {
		return a.guests.change(m.Guest, nil)
	}
	all, err := openOutlets([]uint64{m.Guest}, files[:1])
	if err == nil {
		err = a.guests.change(m.Guest, all[m.Guest])
	}
	if err != nil {
		return fmt.Errorf("taking a guest: %w", err)
	}
	return a.link.Send(holder.Message{Kind: holder.KindGuest, Guest: m.Guest})
}

// passOn passes on the connection of a client that is in the process tree of a guest's command. The guest looks at it again, and
// believes nothing of what was found here. Whose a client is the holder knows: its guests' holders tell it.
func (a *agent) passOn(c caller.Caller, conn *net.TCPConn) (bool, error) {
	if !a.keeper.ownersConnection(c) || a.ours(c) || !a.guests.any() {
		return false, nil
	}
	answer, err := a.ask(context.Background(), holder.Message{Kind: holder.KindWhose, Inode: c.Inode})
	if err != nil || answer.Guest == 0 {
		return false, err
	}
	outlet := a.guests.outlet(answer.Guest)
	if outlet == nil {
		return false, errGuestGone
	}
	if err := outlet.Pass(conn); err != nil {
		return false, fmt.Errorf("%w: %w", errGuestGone, err)
	}
	return true, nil
}

// errGuestGone refuses a client whose own azimds takes no more connections.
var errGuestGone = errors.New("the azimds of the client's own command does not take it")
