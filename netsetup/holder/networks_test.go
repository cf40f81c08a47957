package holder

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"azimds/netsetup"
	"azimds/netsetup/engine"
	"azimds/test/netns"
)

// engines is what they say they have.
type engines struct {
	networks atomic.Pointer[[]engine.Network]
}

func (e *engines) have(networks ...engine.Network) { e.networks.Store(&networks) }

func (e *engines) list(context.Context) ([]engine.Network, error) {
	if all := e.networks.Load(); all != nil {
		return *all, nil
	}
	return nil, errors.New("no engine answers")
}

// A network that is named is served once an engine has made it, in each mode, and no other; its bridge stays served while the engine is
// away, and is given up with the network.
func TestZoneFollowsItsNetwork(t *testing.T) {
	for _, mode := range []netsetup.Mode{netsetup.Loopback, netsetup.IPTables} {
		t.Run(string(mode), func(t *testing.T) {
			inNamespace(t, func(ns *netns.NS) {
				o := bridgeOptions(t, mode)
				o.Want.Networks = []string{"shop_default"}
				var e engines
				e.have()
				o.Networks = e.list
				r := startRun(t, ns, o)
				r.send(Message{Kind: KindHello})
				r.receive(KindOffer)
				r.ready()

				shop := engine.Network{Name: "shop_default", Bridge: "br-shop", Engine: "docker"}
				e.have(engine.Network{Name: "bank_default", Bridge: "br-bank", Engine: "docker"}, shop)
				other := container(t, ns, "br-bank", 1)
				client := container(t, ns, "br-shop", 0)
				made, _ := r.awaitZone("served", servedZone)
				if made.Name != "br-shop" || made.Network != "shop_default" {
					t.Errorf("served is %+v", made)
				}
				if word := hears(t, client); word != "served" {
					t.Errorf("the container hears %q", word)
				}
				if word := hears(t, other); word == "served" {
					t.Error("the container of a network that is not named hears it, too")
				}

				e.have() // it is restarted
				late := container(t, ns, "br-late", 2)
				if word := hears(t, client); word != "served" {
					t.Errorf("without an engine the container hears %q", word)
				}
				if word := hears(t, late); word == "served" {
					t.Error("the container of a bridge of nobody's hears it, too")
				}

				e.have(shop)
				ns.Run(t, "ip", "link", "del", "br-shop")
				e.have()
				gone, _ := r.awaitZone("", func(z Zone) bool { return z.Gone })
				if gone.Name != "br-shop" {
					t.Errorf("gone is %+v", gone)
				}
				r.end()
				if rules := ns.Run(t, "iptables-save"); strings.Contains(rules, "br-shop") {
					t.Errorf("left:\n%s", rules)
				}
			})
		})
	}
}

func TestNetworksLook(t *testing.T) {
	there := map[string]bool{"br-1": true, "br-2": true}
	var e engines
	n := networks{wanted: []string{"a", "b"}, list: e.list, log: slog.New(slog.DiscardHandler),
		exists: func(_ context.Context, bridge string) bool { return there[bridge] }}
	look := func(what string, want ...string) {
		t.Helper()
		if got := n.look(t.Context()); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	look("no engine")
	e.have(engine.Network{Name: "b", Bridge: "br-2"}, engine.Network{Name: "c", Bridge: "br-3"}, engine.Network{Name: "a", Bridge: "br-1"})
	look("all", "br-1", "br-2")
	e.have()
	look("an engine that tells of none", "br-1", "br-2")
	e.have(engine.Network{Name: "c", Bridge: "br-1"})
	look("another network's now", "br-2")
	delete(there, "br-2")
	look("gone")
	if n.names["br-1"] != "" || len(n.names) != 0 {
		t.Errorf("names %v", n.names)
	}
}
