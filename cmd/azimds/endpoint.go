package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"

	"golang.org/x/sync/errgroup"

	"azimds/imds/caller"
	"azimds/netsetup"
	"azimds/netsetup/holder"
)

// endpoint is the metadata endpoint, on the listener that the holder gave last: one ends with its device, and the holder makes
// another.
type endpoint struct {
	ctx   context.Context // ends when nothing more is to be served
	quit  context.CancelFunc
	group *errgroup.Group // of what the agent does
	serve func(context.Context, net.Listener) error
	log   *slog.Logger
	stop  context.CancelFunc // of the listener before; nil is none
	all   sync.WaitGroup     // of the listeners
}

// end serves nobody any more, and returns when those who have connected are answered.
func (e *endpoint) end() {
	e.quit()
	e.all.Wait()
}

// begin serves on a listener, and no longer on the one before: requests that came by that go on for as long as they may.
func (e *endpoint) begin(ln net.Listener) {
	before := e.stop
	ctx, stop := context.WithCancel(e.ctx)
	e.stop = stop
	if _, ok := ln.(*holder.Inlet); ok { // who has come by it stays, also when nobody comes by it any more
		e.stop = nil
	}
	e.all.Add(1)
	e.group.Go(func() error {
		defer e.all.Done()
		defer stop()
		err := e.serve(ctx, ln)
		if ctx.Err() != nil && e.ctx.Err() == nil { // there is another
			if err != nil {
				e.log.Debug("ending a listener", "error", err)
			}
			return nil
		}
		return err
	})
	if before != nil {
		before()
	}
}

// follow serves on the listener that the holder has made anew. The file stays the caller's to close.
func (e *endpoint) follow(files []*os.File) error {
	if len(files) != 1 {
		return fmt.Errorf("taking another listener: the holder sent %d files", len(files))
	}
	ln, err := holder.OpenListener(files[0])
	if err != nil {
		return fmt.Errorf("opening the endpoint's new listener: %w", err)
	}
	e.log.Debug("the endpoint has another listener")
	e.begin(ln)
	return nil
}

// listen acts on what comes with a file.
func (a *agent) listen(m holder.Message, files []*os.File) error {
	switch m.Kind {
	case holder.KindZone:
		return a.zones.follow(m, files)
	case holder.KindGuest:
		return a.noteGuest(m, files)
	case holder.KindEndpoint:
		return a.follow(m, files)
	default:
		return nil
	}
}

// follow goes on with another listener, and where another holder has come, with what that has.
func (a *agent) follow(m holder.Message, files []*os.File) error {
	if m.Offer != nil && len(files) == 2 {
		ln, err := openControl(files[1])
		if err != nil {
			return err
		}
		a.offered.Store(m.Offer)
		a.control(ln)
		files = files[:1]
	}
	return a.endpoint.follow(files)
}

// dialed is what a connection's client dialled, in the mode that there is.
func (a *agent) dialed(c *net.TCPConn) (netip.AddrPort, error) {
	if a.offer().Plan.Mode == netsetup.IPTables {
		return caller.OriginalDst(c)
	}
	return caller.LocalAddr(c)
}
