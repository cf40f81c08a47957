package policy

import (
	"fmt"
	"slices"
	"strings"
)

// Any stands for every container, relay, identity or resource where they are listed.
const Any = "*"

// idPrefix is how much of a container's id names it: what container engines print, in hexadecimal digits.
const idPrefix = 12

// Admission says who may talk to the agent. The zero Admission admits root alone: set Owner.
type Admission struct {
	Owner      uint32
	Users      []uint32 // others, by uid
	Groups     []uint32 // whose members may, by gid
	AnyLocal   bool     // every local user
	Containers []string // that share this machine's network: an id or the beginning of one, a name, or [Any]
	Relays     []string // programs that dial for somebody else: a name, or [Any]
}

// Refusal is why a caller may not talk to the agent.
type Refusal struct {
	Reason string // for a person
	Allow  string // the line of configuration that would admit it
}

// Error implements error.
func (r *Refusal) Error() string { return r.Reason }

// Possible reports whether some process of this uid could be admitted, before anything else is known of it.
func (a Admission) Possible(uid uint32) bool {
	return a.user(uid) || len(a.Groups) > 0 || len(a.Containers) > 0
}

// NeedsGroups reports whether the groups of a uid matter.
func (a Admission) NeedsGroups(uid uint32) bool { return !a.user(uid) && len(a.Groups) > 0 }

// Names reports whether a uid is one of those listed: the owner's is not by itself.
func (a Admission) Names(uid uint32) bool { return slices.Contains(a.Users, uid) }

// RefuseNeighbour is why a process of another container that shares the agent's network is refused, whose uid [Admission.Names] does
// not.
func (a Admission) RefuseNeighbour(uid uint32, name string) *Refusal {
	return &Refusal{
		Reason: fmt.Sprintf("a process of another container on this network, with uid %d", uid),
		Allow:  "callers.users: [" + name + "]",
	}
}

func (a Admission) user(uid uint32) bool {
	return uid == a.Owner || a.AnyLocal || a.Names(uid)
}

// Admit says whether a local caller may talk to the agent; the error is a [*Refusal]. name is what to call its user.
func (a Admission) Admit(c Caller, name string) error {
	switch {
	case c.Container != "":
		if a.container(c.Container) {
			return nil
		}
		return &Refusal{
			Reason: fmt.Sprintf("a process of container %s is not user %s, although it has uid %d", short(c.Container), name, c.UID),
			Allow:  containersLine(c.Container),
		}
	case a.user(c.UID), slices.ContainsFunc(c.Groups, func(g uint32) bool { return slices.Contains(a.Groups, g) }):
		return nil
	}
	return &Refusal{
		Reason: fmt.Sprintf("user %s (uid %d) is not the owner", name, c.UID),
		Allow:  "callers.users: [" + name + "]",
	}
}

// AdmitMade says whether a container may talk to the agent whose control group uid could have made; the error is a [*Refusal]. Any
// user can give a group below their own the name of somebody else's container, so that only one of root's or the owner's is
// believed.
func (a Admission) AdmitMade(container string, uid uint32, name string) error {
	if uid == 0 || uid == a.Owner {
		return nil
	}
	return &Refusal{
		Reason: fmt.Sprintf("the control group of container %s is one that user %s (uid %d) could have made", short(container), name, uid),
	}
}

// AdmitUnseen says whether a caller may talk to the agent whose program could not be found, and so may be a relay; the error is a
// [*Refusal].
func (a Admission) AdmitUnseen() error {
	if slices.Contains(a.Relays, Any) {
		return nil
	}
	return &Refusal{
		Reason: "the program that has its socket open was not found, and may dial for somebody else",
		Allow:  "callers.relays: ['*']",
	}
}

// AdmitRelay says whether a program that dials for others may talk to the agent, although its user may; the error is a
// [*Refusal].
func (a Admission) AdmitRelay(program string) error {
	if slices.Contains(a.Relays, Any) || slices.Contains(a.Relays, program) {
		return nil
	}
	return &Refusal{
		Reason: fmt.Sprintf("%s dials for somebody else, such as a container", program),
		Allow:  "callers.relays: [" + program + "]",
	}
}

func (a Admission) container(id string) bool {
	return slices.ContainsFunc(a.Containers, func(named string) bool { return namesContainer(named, id) })
}

// namesContainer tells whether a container with this id or name is meant.
func namesContainer(named, id string) bool {
	return named == Any || named == id || len(named) >= idPrefix && hexadecimal(named) && strings.HasPrefix(id, named)
}

// short is what container engines call a container: the beginning of its id, or its name.
func short(container string) string {
	if len(container) > idPrefix && hexadecimal(container) {
		return container[:idPrefix]
	}
	return container
}

// containersLine is the line that would admit a container; "" for one that cannot be listed: control groups have names that nobody
// should copy into a configuration.
func containersLine(container string) string {
	name := short(container)
	if strings.Trim(name, listable) != "" || strings.IndexAny(name, "_.-") == 0 {
		return ""
	}
	return "callers.containers: [" + name + "]"
}

// listable are the characters of a name that can be listed as it is.
const listable = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_.-"

func hexadecimal(s string) bool { return strings.Trim(s, "0123456789abcdef") == "" }
