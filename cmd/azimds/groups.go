package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"azimds/netsetup/holder"
)

// groupIDs tells which supplementary groups this process can give to another; in the first user namespace, any.
type groupIDs struct {
	denied bool   // setgroups(2) may not be called, as where an unprivileged user made the namespace
	known  string // the namespace's groups, as /proc/self/gid_map lists them
}

// readGroupIDs asks the kernel (user_namespaces(7)).
func readGroupIDs() (groupIDs, error) {
	setgroups, err := os.ReadFile("/proc/self/setgroups")
	if errors.Is(err, os.ErrNotExist) { // a kernel without user namespaces
		return groupIDs{known: "0 0 4294967295"}, nil
	}
	known, mapErr := os.ReadFile("/proc/self/gid_map")
	if err := errors.Join(err, mapErr); err != nil {
		return groupIDs{}, fmt.Errorf("reading the groups of the user namespace: %w", err)
	}
	return groupIDs{denied: strings.TrimSpace(string(setgroups)) == "deny", known: string(known)}, nil
}

// can reports whether a group can be given.
func (g groupIDs) can(gid uint32) bool {
	for line := range strings.Lines(g.known) {
		var first, outside, count uint64
		if _, err := fmt.Sscan(line, &first, &outside, &count); err == nil && uint64(gid) >= first && uint64(gid)-first < count {
			return !g.denied
		}
	}
	return false
}

// exemption is [exemptGroup], or 0 where it cannot be given.
func (g groupIDs) exemption() uint32 {
	if g.can(exemptGroup) {
		return exemptGroup
	}
	return 0
}

// credential is the owner, with those of its groups and of more that can be given.
func (g groupIDs) credential(o holder.Owner, more ...uint32) *syscall.Credential {
	c := &syscall.Credential{Uid: o.UID, Gid: o.GID, NoSetGroups: g.denied}
	for _, groups := range [][]uint32{more, o.Groups} {
		for _, gid := range groups {
			if g.can(gid) {
				c.Groups = append(c.Groups, gid)
			}
		}
	}
	return c
}
