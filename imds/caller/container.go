package caller

import (
	"regexp"
	"slices"
	"strings"
)

// Container is the id or name of the outermost container that a control group belongs to, as its path tells, and that
// container's own group; both are "" where it tells of none. What is in a container may make groups of any name below its own:
// by the names of those it could pass for another container. Container engines name the groups that they make:
//
//	system.slice/docker-ID.scope                                    Docker and its kin, with systemd
//	docker/ID                                                       without
//	machine.slice/libpod-ID.scope/container                         Podman
//	user.slice/user-1000.slice/…/user.slice/libpod-ID.scope         Podman, rootless
//	kubepods.slice/…/cri-containerd-ID.scope, kubepods/podUID/ID    Kubernetes
//	machine.slice/systemd-nspawn@NAME.service, machine-NAME.scope   systemd
//	lxc.payload.NAME, lxc.payload/NAME, lxc/NAME                    LXC, Incus
//	buildkit/ID                                                     BuildKit
//
// An ID has 64 hexadecimal digits with nearly all of them, and such a group is a container's whatever it is called besides.
func Container(path string) (id, group string) {
	parts, parent := strings.Split(path, "/"), ""
	for i, part := range parts {
		if id := containerOf(parent, part); id != "" {
			return id, strings.Join(parts[:i+1], "/")
		}
		parent = part
	}
	return "", ""
}

// Innermost is the group of the innermost container that a control group belongs to; "" where its path tells of none.
func Innermost(path string) (group string) {
	for rest := path; rest != ""; {
		id, below := Container(rest)
		if id == "" {
			break
		}
		rest = strings.TrimPrefix(rest[len(below):], "/")
		group = strings.TrimSuffix(strings.TrimSuffix(path, rest), "/")
	}
	return group
}

var (
	// monitor is a program of the engine's that stands beside the container.
	monitor = regexp.MustCompile(`^(libpod|crio)-conmon-|^lxc\.monitor`)
	long    = regexp.MustCompile(`^(?:.*[-:])?([0-9a-f]{64})(?:\.scope|\.slice)?$`)
	engine  = regexp.MustCompile(`^(?:docker|libpod|nerdctl|crio|cri-containerd|buildkit|podman-container)-(.+)\.scope$`)
	machine = regexp.MustCompile(`^(?:machine-(.+)\.scope|systemd-nspawn@(.+)\.service|lxc\.payload[.](.+))$`)
	// below are groups whose children are containers each.
	below = map[string]bool{"docker": true, "lxc": true, "lxc.payload": true, "buildkit": true, "libpod_parent": true, "garden": true}
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
	if below[parent] && part != "" && (parent != "docker" || part != "buildkit") { // docker/buildkit/ID
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
