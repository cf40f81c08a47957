package main

import (
	"os"
	"slices"
	"strconv"
	"strings"

	"azimds/netsetup/holder"
)

// ownerFor is whose programs are served: the user named, else who started sudo, else who started this process.
func ownerFor(name string) (holder.Owner, error) {
	switch {
	case name != "":
	case os.Geteuid() == 0 && os.Getenv("SUDO_UID") != "":
		name = os.Getenv("SUDO_UID")
	default:
		name = strconv.Itoa(os.Getuid())
	}
	return holder.LookupOwner(name)
}

// environFor is environ for a process of the owner's: as it is when the owner started this process, else without what
// says who the person is, and with the owner's own where it is known.
func environFor(o holder.Owner, environ []string) []string {
	if o.UID == uint32(os.Getuid()) {
		return environ
	}
	kept := slices.DeleteFunc(slices.Clone(environ), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return name == "HOME" || name == "USER" || name == "LOGNAME" || name == "MAIL" || strings.HasPrefix(name, "XDG_")
	})
	if o.Home == "" {
		return kept
	}
	return append(kept, "HOME="+o.Home, "USER="+o.Name, "LOGNAME="+o.Name)
}
