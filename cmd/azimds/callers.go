package main

import (
	"fmt"
	"os/user"
	"strconv"
	"strings"

	"azimds/config"
	"azimds/imds/policy"
	"azimds/imds/token"
	"azimds/netsetup"
	"azimds/netsetup/holder"
)

// admission is who may talk to an agent of owner's, with names as numbers.
func admission(c config.Config, owner uint32) (policy.Admission, error) {
	a := policy.Admission{
		Owner: owner, AnyLocal: c.Callers.AnyLocal, Containers: c.Callers.Containers, Relays: c.Callers.Relays,
	}
	var err error
	if a.Users, err = uids("callers.users", c.Callers.Users); err != nil {
		return a, err
	}
	a.Groups, err = gids("callers.groups", c.Callers.Groups)
	return a, err
}

// policyOf is what callers get, with names as numbers.
func policyOf(c config.Config) (*policy.Policy, error) {
	var rules []policy.Rule
	for i, r := range c.Policy {
		key := fmt.Sprintf("policy[%d].", i)
		users, err := uids(key+"users", r.Users)
		if err != nil {
			return nil, err
		}
		groups, err := gids(key+"groups", r.Groups)
		if err != nil {
			return nil, err
		}
		rules = append(rules, policy.Rule{
			Name: r.Name, Users: users, Groups: groups, Cgroups: r.Cgroups, Containers: r.Containers, Zones: r.Zones,
			Executables: r.Executables, Deny: r.Deny, Identities: r.Identities, NotIdentities: r.NotIdentities,
			Resources: r.Resources, NotResources: r.NotResources, Choice: chosen(r.Identity), Rate: r.Rate,
		})
	}
	var zones []policy.Zone
	for _, z := range c.Zones {
		zones = append(zones, policy.Zone{Bridge: z.Bridge, Identities: z.Identities, Resources: z.Resources})
	}
	p, err := policy.New(rules, zones)
	if err != nil {
		return nil, &configError{err: err}
	}
	return p, nil
}

func chosen(c config.Choice) policy.Choice {
	choice := policy.Choice{Tenant: c.Tenant}
	for _, s := range []token.Selector{
		{Kind: token.ClientID, Value: c.ClientID}, {Kind: token.ObjectID, Value: c.ObjectID}, {Kind: token.ResourceID, Value: c.ResourceID},
	} {
		if s.Value != "" {
			choice.Identity = s
		}
	}
	return choice
}

// uids are the numbers of users. key is where they stand.
func uids(key string, names []string) ([]uint32, error) {
	ids := make([]uint32, len(names))
	for i, name := range names {
		found, err := holder.LookupOwner(name)
		if err != nil {
			return nil, &config.Mendable{Err: fmt.Errorf("%s[%d]: %w", key, i, err), With: "getent passwd"}
		}
		ids[i] = found.UID
	}
	return ids, nil
}

// gids are the numbers of groups.
func gids(key string, names []string) ([]uint32, error) {
	ids := make([]uint32, len(names))
	for i, name := range names {
		number := name
		if found, err := user.LookupGroup(name); err == nil {
			number = found.Gid
		}
		id, err := strconv.ParseUint(number, 10, 32)
		if err != nil {
			return nil, &config.Mendable{Err: fmt.Errorf("%s[%d]: there is no group %q", key, i, name), With: "getent group"}
		}
		ids[i] = uint32(id)
	}
	return ids, nil
}

// wanted is what the network has to be like for a configuration: who is let through, and which bridges are zones. A container
// that shares the network may have any uid; the server, which knows its control group, turns others away.
func wanted(c config.Config) (netsetup.Want, error) {
	if alone(c) {
		return netsetup.Want{}, &config.Mendable{Err: errAlone, With: runEndpoint(c.Endpoint.Kind)}
	}
	a, err := admission(c, 0)
	if err != nil {
		return netsetup.Want{}, err
	}
	w := netsetup.Want{Mode: netsetup.Mode(c.Mode), ShadowMetadata: c.ShadowMetadata}
	w.Admitted, w.Groups, w.AnyLocal = a.Users, a.Groups, a.AnyLocal || len(a.Containers) > 0
	w.Bridges, w.Networks = bridges(c)
	return w, nil
}

// bridges are the names and patterns of the bridges that are zones, and the networks of container engines that are.
func bridges(c config.Config) (names, networks []string) {
	for _, z := range c.Zones {
		if network, ok := strings.CutPrefix(z.Bridge, config.NetworkPrefix); ok {
			networks = append(networks, network)
		} else {
			names = append(names, z.Bridge)
		}
	}
	return names, networks
}
