package main

import (
	"errors"
	"strings"

	"azimds/imds/caller"
	"azimds/imds/policy"
	"azimds/netsetup"
)

// A container's network can be shared by others (docker run --network container:NAME, the containers of a pod): the agent is a sidecar
// then. Its neighbours are in other control groups and other namespaces of processes, so that neither tells who they are. Their uid
// is what is left, and it is named: whoever shares the network has been put there, and no user of a machine is there by chance, as
// is the case on the machine's own network. The owner's uid alone is no name: what has it in another container is not the owner.

// inContainer tells whether this process is in a container whose network is not the machine's.
func inContainer() (bool, error) {
	host, netErr := netsetup.OnHost()
	few, err := caller.AmongFew("/proc")
	return !host && few, errors.Join(netErr, err)
}

// away tells whether a control group is not the one that the holder is in, where the hierarchy is not in sight. Nobody in this
// container can have made another one then.
func (g *gatekeeper) away(group uint64) bool {
	home := g.home.Load()
	return g.sharing && home != 0 && group != home
}

// neighbour tells whether a caller is in another container that shares this one's network: out of sight, or in a container that is
// not in this one.
func (g *gatekeeper) neighbour(d caller.Detail) bool {
	if !g.sharing || d.Container == "" {
		return false
	}
	return d.Container == outOfSight || g.ownGroup != "" && !strings.HasPrefix(d.Cgroup+"/", g.ownGroup+"/")
}

// unseenContainer refuses a caller whose control group is out of sight.
func (g *gatekeeper) unseenContainer(c caller.Caller, d caller.Detail) error {
	if g.sharing {
		return g.admission.RefuseNeighbour(c.UID, d.User)
	}
	return &policy.Refusal{
		Reason: "the control group of its socket is out of sight, as that of another container on this network is",
		Allow:  "callers.containers: ['*']",
	}
}
