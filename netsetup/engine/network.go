package engine

import (
	"context"
	"errors"
	"net/netip"
	"slices"
)

// Network is a network of an engine that has a bridge on this machine.
type Network struct {
	Name    string
	Bridge  string   // the device
	Engine  string   // "docker" or "podman"
	Members []Member // containers on it that run, where the engine tells
}

// Member is a container on a network.
type Member struct {
	Name    string
	Address netip.Addr // IPv4; zero where it has none
}

// Places are where engines are asked. A place that is not there has no networks.
type Places struct {
	Sockets []Socket // of Docker's API, which Podman has, too
	Folders []string // of Podman's networks: files of netavark and of CNI
}

// Socket is a unix socket on which an engine answers.
type Socket struct{ Engine, Path string }

// Usual is where engines that root runs have it by default.
func Usual() Places {
	return Places{
		Sockets: []Socket{{"docker", "/run/docker.sock"}, {"podman", "/run/podman/podman.sock"}},
		Folders: []string{"/etc/containers/networks", "/etc/cni/net.d"},
	}
}

// Networks lists the networks of all engines that are there. Those that could be listed come with the errors of the others.
func (p Places) Networks(ctx context.Context) ([]Network, error) {
	var all []Network
	var errs []error
	for _, s := range p.Sockets {
		found, err := s.networks(ctx)
		all, errs = append(all, found...), append(errs, err)
	}
	for _, folder := range p.Folders {
		found, err := readFolder(folder)
		errs = append(errs, err)
		for _, n := range found {
			if !slices.ContainsFunc(all, func(o Network) bool { return o.Name == n.Name && o.Bridge == n.Bridge }) {
				all = append(all, n) // Podman's socket has not told of it
			}
		}
	}
	return all, errors.Join(errs...)
}
