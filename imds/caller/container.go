package caller

import (
	"regexp"
	"slices"
	"strings"
)

// Container is the id or name of the outermost container that a control group belongs to, as its path tells; "" where it tells
// of none: what is further in, the container may have named itself. Container engines name the groups that they make:
//
//	system.slice/docker-ID.scope                                    Docker and its kin, with systemd
//	docker/ID                                                       without
//	machine.slice/libpod-ID.scope/container                         Podman
//	user.slice/user-1000.slice/…/user.slice/libpod-ID.scope         Podman, rootless
//	kubepods.slice/…/cri-containerd-ID.scope, kubepods/podUID/ID    Kubernetes
//	machine.slice/systemd-nspawn@NAME.service, machine-NAME.scope   systemd
//	lxc.payload.NAME, lxc/NAME                                      LXC, Incus
//	buildkit/ID                                                     BuildKit
//
// An ID has 64 hexadecimal digits with nearly all of them, and such a group is a container's whatever it is called besides.
func Container(path string) string {
	parent := ""
	for part := range strings.SplitSeq(path, "/") {
		if id := containerOf(parent, part); id != "" {
			return id
		}
		parent = part
	}
	return ""
}

// ContainerGroup is the control group of the innermost container that a group belongs to: the beginning of its path. "" is none.
func ContainerGroup(path string) string {
	parts := strings.Split(path, "/")
	for i, part := range slices.Backward(parts) {
		parent := ""
		if i > 0 {
			parent = parts[i-1]
		}
		if containerOf(parent, part) != "" {
			return strings.Join(parts[:i+1], "/")
		}
	}
	return ""
}

var (
	// monitor is a program of the engine's that stands beside the container.
	monitor = regexp.MustCompile(`^(libpod|crio)-conmon-|^lxc\.monitor`)
	long    = regexp.MustCompile(`^(?:.*[-:])?([0-9a-f]{64})(?:\.scope|\.slice)?$`)
	engine  = regexp.MustCompile(`^(?:docker|libpod|nerdctl|crio|cri-containerd|buildkit|podman-container)-(.+)\.scope$`)
	machine = regexp.MustCompile(`^(?:machine-(.+)\.scope|systemd-nspawn@(.+)\.service|lxc\.payload[.](.+))$`)
	// below are groups whose children are containers each.
	below = map[string]bool{"docker": true, "lxc": true, "buildkit": true, "libpod_parent": true, "garden": true}
)

// containerOf is the container that one part of a path is about.
func containerOf(parent, part string) string {
	if monitor.MatchString(part) {
		return ""
	}
	for _, form := range []*regexp.Regexp{long, engine, machine} {
		for i, group := range form.FindStringSubmatch(part) {
			if i > 0 && group != "" {
				return group
			}
		}
	}
	if below[parent] && part != "" {
		return strings.TrimPrefix(part, "libpod-")
	}
	return ""
}

// Unit is the innermost unit of systemd that a control group is of: "sshd.service", "session-3.scope"; "" where it is of none.
func Unit(path string) string {
	parts := strings.Split(path, "/")
	for _, part := range slices.Backward(parts) {
		if strings.HasSuffix(part, ".service") || strings.HasSuffix(part, ".scope") {
			return part
		}
	}
	return ""
}
