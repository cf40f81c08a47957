package main

import (
	"context"
	"net/netip"
	"os"

	"azimds/config"
	"azimds/imds/caller"
	"azimds/netsetup"
	"azimds/netsetup/engine"
	"azimds/netsetup/holder"
)

// alone tells whether nothing is to be intercepted, because an endpoint that variables select is asked for.
func alone(c config.Config) bool { return c.Endpoint.Kind != config.EndpointNone }

// holdAlone opens listeners in this process, which needs no root for that.
func holdAlone(ctx context.Context, end *os.File, o holder.AloneOptions) error {
	link, err := holder.OpenLink(end)
	if err != nil {
		return err
	}
	return holder.RunAlone(ctx, link, o)
}

func (l *launch) aloneOptions(o launchOptions) holder.AloneOptions {
	var want netsetup.Want
	want.Bridges, want.Networks = bridges(o.config)
	owner := l.owner
	if owner.UID == uint32(os.Getuid()) {
		owner.GID = uint32(os.Getgid()) // the group in force: that of docker run --user UID is root's
	}
	return holder.AloneOptions{
		Owner:    owner,
		Name:     o.name,
		Port:     uint16(o.config.Endpoint.Port),
		Want:     want,
		Networks: engine.Usual().Networks,
		Tree:     o.tree,
		Explain:  func(err error) holder.Failure { return explainAlone(err, o.config.Endpoint.Kind) },
		InTree:   inTree(o.tree, l.server.Process.Pid),
		Find:     findDialer(),
		Log:      o.log,
	}
}

// findDialer is findProcess for clients of any address.
func findDialer() func(inode uint64, uid uint32, client, dialed netip.AddrPort) (holder.Process, bool) {
	resolver, finder := caller.NewResolver(), caller.NewFinder("/proc")
	return func(inode uint64, uid uint32, client, dialed netip.AddrPort) (holder.Process, bool) {
		who, err := resolver.Resolve(client, dialed)
		if (err != nil || who.Inode != inode || who.UID != uid) && !without("client") {
			return holder.Process{}, false
		}
		found, ok := finder.Find(caller.Caller{UID: uid, Inode: inode})
		return holder.Process(found), ok
	}
}
