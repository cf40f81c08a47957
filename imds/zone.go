package imds

import (
	"fmt"
	"net/netip"

	"azimds/imds/caller"
)

// Zone is where callers come from who are not processes of this network namespace: what is behind one bridge, which the zone's
// listener is bound to.
type Zone struct {
	Bridge  string // the device's name
	Network string // of a container engine, where the bridge is served by that name; else ""
	// Contains reports whether an address is in the bridge's subnets and none of this machine's own. It must be safe for
	// concurrent use.
	Contains func(netip.Addr) bool
}

// identify names a caller by its address. No uid is known of it, and addresses do not part those who share a bridge: each of them
// can take another's.
func (z *Zone) identify(client netip.Addr) (caller.Caller, error) {
	who := caller.Caller{Bridge: z.Bridge, Network: z.Network, Address: client}
	if !z.Contains(client) && !without("subnet") {
		return who, fmt.Errorf("address %s is not one of those behind bridge %s", client, z.Bridge)
	}
	return who, nil
}
