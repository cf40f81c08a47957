package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"azimds/imds"
	"azimds/imds/policy"
	"azimds/netsetup/holder"
)

// zones are the bridges whose containers are served, as the holder tells of them.
type zones struct {
	ctx   context.Context // ends when the agent does
	serve zoneServer
	log   *slog.Logger
	// moves says that a listener is on the bridge's first address, and another one with another address.
	moves bool

	running sync.WaitGroup
	mu      sync.Mutex
	known   map[string]*zone
}

// zoneServer serves one bridge until ctx ends.
type zoneServer interface {
	ServeZone(ctx context.Context, ln net.Listener, z *imds.Zone) error
}

// zone is one bridge. It is served while it has a listener.
type zone struct {
	bridge atomic.Pointer[holder.Zone]
	served bool
	stop   context.CancelFunc // requests under way go on for as long as they may
}

// newZones serves bridges until ctx ends.
func newZones(ctx context.Context, serve zoneServer, log *slog.Logger) *zones {
	return &zones{ctx: ctx, serve: serve, log: log, known: map[string]*zone{}}
}

// follow acts on what the holder says of a bridge. A file is the listener of a bridge that has come, or was made again; it stays
// the caller's to close.
func (z *zones) follow(m holder.Message, files []*os.File) error {
	b := m.Zone
	if b == nil || len(files) > 1 {
		return fmt.Errorf("following bridges: the holder sent %q with %d files", m.Kind, len(files))
	}
	if b.Name == policy.Local { // whoever is behind it would be taken for a process of this machine's
		own := *b
		own.Problem = "it is called as this machine's own zone is"
		b, files = &own, nil
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	known := z.known[b.Name]
	if known != nil && known.served && len(files) == 1 && known.bridge.Load().Index == b.Index && !z.moved(known, b) {
		known.bridge.Store(b) // its addresses have changed
		return nil
	}
	if known != nil {
		known.stop()
		delete(z.known, b.Name)
	}
	switch {
	case b.Gone:
		z.log.Debug("a bridge is gone", "zone", b.Name)
	case len(files) == 1:
		return z.begin(b, files[0])
	default:
		z.log.Debug("a bridge is not served", "zone", b.Name, "reason", b.Problem)
		z.known[b.Name] = stopped(b)
	}
	return nil
}

// moved tells whether a listener that came is on another address than the one before.
func (z *zones) moved(known *zone, b *holder.Zone) bool {
	was := known.bridge.Load().Addresses
	return z.moves && (len(was) == 0 || len(b.Addresses) == 0 || was[0] != b.Addresses[0])
}

func stopped(b *holder.Zone) *zone {
	own := &zone{stop: nothing}
	own.bridge.Store(b)
	return own
}

// begin serves a bridge. The caller holds the lock.
func (z *zones) begin(b *holder.Zone, listener *os.File) error {
	ln, err := net.FileListener(listener)
	if err != nil {
		return fmt.Errorf("opening the listener of bridge %q: %w", b.Name, err)
	}
	ctx, stop := context.WithCancel(z.ctx)
	own := &zone{served: true, stop: stop}
	own.bridge.Store(b)
	z.known[b.Name] = own
	z.log.Debug("a bridge is served", "zone", b.Name, "subnets", b.Subnets)
	z.running.Go(func() {
		defer stop()
		err := z.serve.ServeZone(ctx, ln, &imds.Zone{Bridge: b.Name, Network: b.Network, Contains: own.contains})
		if err != nil { // the holder has closed the listener, and says so, or did not and has ended
			z.log.Debug("serving a bridge", "zone", b.Name, "error", err)
			z.failed(b.Name, own, err)
		}
	})
	return nil
}

// failed notes that a bridge is no longer served, unless the holder has said something of it since.
func (z *zones) failed(name string, own *zone, err error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.known[name] != own {
		return
	}
	b := *own.bridge.Load()
	b.Problem = err.Error()
	own.bridge.Store(&b)
	own.served = false
}

// contains tells whether an address is of something behind the bridge: in one of its subnets, and none of this machine's own.
func (z *zone) contains(a netip.Addr) bool {
	b := z.bridge.Load()
	return !slices.Contains(b.Addresses, a) && slices.ContainsFunc(b.Subnets, func(p netip.Prefix) bool { return p.Contains(a) })
}

// wait waits until no bridge is served any more.
func (z *zones) wait() { z.running.Wait() }

// list is what is known of bridges, by name.
func (z *zones) list() []holder.Zone {
	z.mu.Lock()
	defer z.mu.Unlock()
	var all []holder.Zone
	for _, name := range slices.Sorted(maps.Keys(z.known)) {
		all = append(all, *z.known[name].bridge.Load())
	}
	return all
}
