package netsetup

import (
	"context"
	"fmt"
	"slices"
)

// link is a device, as "ip -d link" shows it. It is one of the objects of the addresses seam.
type link struct {
	name  string
	kind  string // such as "dummy"; "device" for those that are not made by command
	group uint32
}

// upLink is that a device is up. It is one of the objects of the addresses seam.
type upLink struct{ device string }

// linkState is a device, and whether it is up.
type linkState struct {
	link
	up bool
}

// ours asks for all three: a device of our name or in our group alone may be anybody's.
func (l link) ours() bool { return l == ownLink }

var ownLink = link{dummyDevice, "dummy", dummyGroup}

func (l link) adding() string {
	return fmt.Sprintf("ip link add %s group %d type %s", l.name, l.group, l.kind)
}
func (l link) removing() string { return fmt.Sprintf("ip link del %s", l.name) }

func (u upLink) adding() string   { return fmt.Sprintf("ip link set %s up", u.device) }
func (u upLink) removing() string { return fmt.Sprintf("ip link set %s down", u.device) }

func (l link) add(ctx context.Context, k kernel) error      { return k.addresses.Add(ctx, l) }
func (l link) remove(ctx context.Context, k kernel) error   { return k.addresses.Delete(ctx, l) }
func (u upLink) add(ctx context.Context, k kernel) error    { return k.addresses.Add(ctx, u) }
func (u upLink) remove(ctx context.Context, k kernel) error { return k.addresses.Delete(ctx, u) }

// links are the device that mode dummy has for itself, and that it is up.
func (p Plan) links() []piece {
	if p.Mode != Dummy {
		return nil
	}
	return []piece{ownLink, upLink{dummyDevice}}
}

func (k kernel) links(ctx context.Context) ([]linkState, error) {
	states, err := k.addresses.Links(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing devices: %w", err)
	}
	return states, nil
}

func (k kernel) loopbackUp(ctx context.Context) (bool, error) {
	states, err := k.links(ctx)
	return slices.ContainsFunc(states, func(s linkState) bool { return s.name == loopbackDevice && s.up }), err
}

// surveyOwnLink compares our link alone.
func (k kernel) surveyOwnLink(ctx context.Context, p Plan) (difference, error) {
	d, _, err := k.surveyAddresses(ctx, p)
	return d, err
}

// diffLinks compares our link with a plan. With somebody else's address on it the link is not ours alone to remove.
func diffLinks(p Plan, states []linkState, addresses []address) (d difference) {
	var ours []piece // in the order of taking down
	for _, s := range states {
		switch {
		case s.ours():
			if s.up {
				ours = append(ours, upLink{s.name})
			}
			ours = append(ours, s.link)
		case p.Mode == Dummy && s.name == dummyDevice:
			d.foreign = append(d.foreign, foreign{
				fmt.Sprintf("device %s, a link of type %s in group %d", s.name, s.kind, s.group), s.removing(),
			})
		}
	}
	wanted := p.links()
	d.stale, d.missing = except(ours, wanted), except(wanted, ours)
	if len(d.stale) == 0 {
		return d
	}
	for _, a := range addresses {
		if a.device == dummyDevice && !a.ours() {
			d.foreign = append(d.foreign, foreign{fmt.Sprintf("address %s of our device %s", a.prefix, a.device), a.removing()})
		}
	}
	if len(d.foreign) > 0 {
		d.stale = nil
	}
	return d
}
