package holder

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"sync"

	"azimds/netsetup"
)

// Zone is a bridge whose containers are served by a listener of their own, which travels with it. A zone says all that is so
// now, whatever was said of it before: with a Problem, or Gone, there is no listener any more.
type Zone struct {
	Name      string         `json:"name"`                // of the bridge
	Network   string         `json:"network,omitempty"`   // of an engine, where it was named by that
	Index     int            `json:"index"`               // of the device: with another one, the listener is another one
	Subnets   []netip.Prefix `json:"subnets,omitempty"`   // where the containers' addresses are
	Addresses []netip.Addr   `json:"addresses,omitempty"` // the bridge's own, which are no container's
	Problem   string         `json:"problem,omitempty"`   // why it is not served
	Gone      bool           `json:"gone,omitempty"`      // there is no such device any more
}

// zones are the bridges of a plan that are there, each with its listener. The zero value has none and follows none.
type zones struct {
	plan  netsetup.Plan
	keep  Options // where listeners are kept
	log   *slog.Logger
	end   context.CancelFunc
	ended chan struct{} // closed when the goroutine that follows the bridges has ended

	networks networks
	amend    func(ctx context.Context, bridges []string) error // has the host serve other bridges

	mu   sync.Mutex
	open map[string]*openZone
	to   *peer // the server that is told; nil is none
}

// openZone is a zone and its listener, nil while it is not served.
type openZone struct {
	Zone
	file *os.File
}

// start opens a listener for each bridge of the plan that is there, and from then on follows them until stop, in the network
// namespace of the calling thread, and those of the networks that are wanted.
func (z *zones) start(ctx context.Context, plan netsetup.Plan, o Options) error {
	if len(plan.Bridges) == 0 && len(o.Want.Networks) == 0 {
		return o.dropKept()
	}
	watch, err := netsetup.WatchBridges(plan.Bridges)
	if err != nil {
		return err
	}
	bridges, err := netsetup.Bridges(ctx, plan.Bridges)
	if err != nil {
		return errors.Join(err, watch.Close())
	}
	z.plan, z.keep, z.log, z.open, z.ended = plan, o, o.Log, make(map[string]*openZone), make(chan struct{})
	ctx, z.end = context.WithCancel(context.WithoutCancel(ctx)) // starting ends, following goes on
	z.match(ctx, bridges)
	if err := o.dropKept(); err != nil { // of bridges that have gone
		z.log.Warn("closing listeners that were kept", "error", err)
	}
	go func() {
		defer close(z.ended)
		z.follow(ctx, watch)
	}()
	return nil
}

// follow makes the zones match the bridges after each change. What cannot be followed is not served: a bridge may have got a
// port by which strangers come.
func (z *zones) follow(ctx context.Context, watch *netsetup.BridgeWatch) {
	err := watch.Follow(ctx, func(bridges []netsetup.Bridge, err error) {
		if len(z.networks.wanted) > 0 {
			bridges, err = netsetup.Bridges(ctx, z.name(ctx))
		}
		if err != nil {
			z.fail(err)
			return
		}
		z.match(ctx, bridges)
	})
	if err != nil {
		z.fail(err)
	}
}

// name returns the bridges to serve, after the host has been made to serve those of networks that have come, or gone.
func (z *zones) name(ctx context.Context) []string {
	names := slices.Concat(z.keep.Want.Bridges, z.networks.look(ctx))
	if slices.Equal(names, z.plan.Bridges) {
		return names
	}
	if err := z.amend(ctx, names); err != nil {
		if ctx.Err() == nil {
			z.log.Warn("cannot serve other bridges yet", "bridges", names, "error", err)
		}
		return z.plan.Bridges
	}
	z.plan.Bridges = names
	return names
}

// match makes the zones match the bridges that are there, and tells the server what is new.
func (z *zones) match(ctx context.Context, bridges []netsetup.Bridge) {
	z.mu.Lock()
	defer z.mu.Unlock()
	left := maps.Clone(z.open)
	for _, b := range bridges {
		delete(left, b.Name)
		was, known := z.open[b.Name]
		now := &openZone{Zone: Zone{Name: b.Name, Network: z.networks.names[b.Name], Index: b.Index, Subnets: b.Subnets, Addresses: b.Addresses, Problem: b.Problem}}
		switch {
		case known && was.file != nil && was.Index == b.Index && b.Problem == "" && !z.moved(was, b): // other addresses at most
			now.file = was.file
		case known:
			z.shut(was)
		}
		if now.file == nil && b.Problem == "" {
			z.listen(ctx, now, b)
		}
		z.open[b.Name] = now
		if !known || !reflect.DeepEqual(was.Zone, now.Zone) {
			z.tell(now)
		}
	}
	for name, was := range left {
		z.shut(was)
		delete(z.open, name)
		z.tell(&openZone{Zone: Zone{Name: name, Network: was.Network, Index: was.Index, Gone: true}})
	}
}

// moved tells whether a listener is on an address that is the bridge's first no longer, where it matters.
func (z *zones) moved(was *openZone, b netsetup.Bridge) bool {
	return z.plan.Mode == netsetup.None && (len(was.Addresses) == 0 || was.Addresses[0] != b.Addresses[0])
}

// listen opens a zone's listener, or says what keeps it from being.
func (z *zones) listen(ctx context.Context, o *openZone, b netsetup.Bridge) {
	kept, err := z.keep.take(bridgeName+b.Name, func(f *os.File) error { return netsetup.ListensForBridge(z.plan, b, f) })
	if kept != nil {
		o.file = kept
		return
	}
	if err != nil {
		z.log.Warn("closing a listener that was kept", "bridge", b.Name, "error", err)
	}
	ln, err := netsetup.ListenBridge(ctx, z.plan, b)
	if err == nil {
		defer ln.Close()
		o.file, err = ln.File()
	}
	if err == nil {
		err = z.keep.keep(bridgeName+b.Name, o.file)
	}
	if err != nil {
		o.Problem = err.Error()
	}
}

// fail closes every zone, for a reason.
func (z *zones) fail(err error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.log.Error("cannot follow bridges", "error", err)
	for _, o := range z.open {
		z.shut(o)
		o.Problem = fmt.Sprintf("it cannot be followed: %v", err)
		z.tell(o)
	}
}

// shut closes a zone's listener for the server as well, which has a duplicate: who waits in its queue is reset, and nobody
// connects any more (shutdown(2) of a socket that listens).
func (z *zones) shut(o *openZone) {
	if o.file == nil {
		return
	}
	if err := errors.Join(silence(o.file), z.keep.forget(bridgeName+o.Name)); err != nil {
		z.log.Warn("closing a bridge's listener", "bridge", o.Name, "error", err)
	}
	o.file.Close()
	o.file = nil
}

// tell tells the attached server, if there is one, of a zone. One that cannot be told is about to end its session.
func (z *zones) tell(o *openZone) {
	switch {
	case o.Gone:
		z.log.Info("a bridge is gone", "bridge", o.Name)
	case o.Problem != "":
		z.log.Warn("a bridge is not served", "bridge", o.Name, "reason", o.Problem)
	default:
		z.log.Info("a bridge is served", "bridge", o.Name, "subnets", o.Subnets)
	}
	if z.to == nil {
		return
	}
	if err := z.to.sendZone(o); err != nil {
		z.log.Debug("telling the server", "kind", KindZone, "error", err)
	}
}

// attach tells a server of every zone that is there, and from then on of every change, until it is detached.
func (z *zones) attach(p *peer) error {
	z.mu.Lock()
	defer z.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(z.open)) {
		if err := p.sendZone(z.open[name]); err != nil {
			return err
		}
	}
	z.to = p
	return nil
}

func (z *zones) detach() {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.to = nil
}

func (p *peer) sendZone(o *openZone) error {
	var files []*os.File
	if o.file != nil {
		files = append(files, o.file)
	}
	return p.send(Message{Kind: KindZone, Zone: &o.Zone}, files...)
}

// stop ends the following, waits for it, and closes the holder's copies of the listeners. Stopping again is fine.
func (z *zones) stop() {
	if z.end == nil {
		return
	}
	z.end()
	<-z.ended
	for name, o := range z.open {
		if o.file != nil {
			o.file.Close()
		}
		delete(z.open, name)
	}
}
