package holder

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"

	"azimds/netsetup"
	"azimds/netsetup/engine"
)

// networks finds the bridges of the networks of container engines that are wanted by name. The zero value wants none.
type networks struct {
	wanted []string
	list   func(context.Context) ([]engine.Network, error)
	exists func(ctx context.Context, bridge string) bool
	log    *slog.Logger

	names map[string]string // by bridge
	said  string            // the last failure that was logged
}

func newNetworks(o Options) networks {
	return networks{wanted: o.Want.Networks, list: o.Networks, exists: exists, log: o.Log}
}

func exists(ctx context.Context, bridge string) bool {
	found, err := netsetup.Bridges(ctx, []string{bridge})
	return err == nil && len(found) > 0
}

// look asks the engines, and returns the bridges. One that was found stays while its device is there and no engine gives it to another
// network: an engine that is restarted tells of none.
func (n *networks) look(ctx context.Context) []string {
	if len(n.wanted) == 0 || n.list == nil {
		return nil
	}
	listed, err := n.list(ctx)
	if err != nil && err.Error() != n.said && ctx.Err() == nil {
		n.said = err.Error()
		n.log.Warn("cannot ask for networks", "error", err)
	}
	now := map[string]string{}
	for _, l := range listed {
		if slices.Contains(n.wanted, l.Name) {
			now[l.Bridge] = l.Name
		}
	}
	for bridge, name := range n.names {
		taken := slices.ContainsFunc(listed, func(l engine.Network) bool { return l.Bridge == bridge })
		if !taken && n.exists(ctx, bridge) {
			now[bridge] = name
		}
	}
	for bridge, name := range now {
		if n.names[bridge] != name {
			n.log.Info("a network's bridge is found", "network", name, "bridge", bridge)
		}
	}
	n.names = now
	return slices.Sorted(maps.Keys(now))
}

// errBusy says that the interception cannot be changed now.
var errBusy = errors.New("other changes are under way")

// amend has the host serve these bridges from now on.
func (h *Holder) amend(ctx context.Context, bridges []string) error {
	done := make(chan error, 1)
	lent := h.healer.lend(func() {
		p := h.Plan()
		p.Bridges = bridges
		found, err := h.healer.host.Mend(ctx, p, h.listener(), h.replace)
		if err == nil {
			h.match(found.Plan)
		}
		done <- err
	})
	if !lent {
		return errBusy
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
