package caller

import (
	"errors"
	"net/netip"
)

// ErrUnknown means that nobody can be named for a connection, so that it must be refused. An error that wraps it says
// why.
var ErrUnknown = errors.New("unknown caller")

// Caller is who is at the other end of a connection: the owner of a client's socket as the kernel knows it or, where the client
// is behind a bridge, its address there. It is comparable.
type Caller struct {
	// UID made the socket, as the user namespace of this process numbers it. It is never the overflow uid.
	UID uint32
	// Inode is the socket's inode number, as in the link "socket:[INODE]" under /proc/PID/fd. It is never 0, but behind a bridge.
	Inode uint64
	// Cgroup is the id of the socket's control group (v2), the inode number of its directory; 0 where the kernel does not
	// say (before Linux 5.8).
	Cgroup uint64
	// Client is where the socket is bound, the other end of the connection; whoever has accepted that fills it in.
	Client netip.AddrPort

	// Bridge is the device that the client is behind; "" for a process of this network namespace. Behind one nothing above is
	// known, and Address is the client's.
	Bridge  string
	Network string // of a container engine, where the bridge is served by that name; else ""
	Address netip.Addr
}

// Known reports whether anything is known of a caller.
func (c Caller) Known() bool { return c != (Caller{}) }

// Detail is what else can be found out about a local caller. What could not be is empty; of a caller that is no more, all of it.
type Detail struct {
	User      string // login name, or the number of one who has none
	Process          // that has the socket open
	Cgroup    string // path of the control group below the root of its hierarchy, without a leading slash
	Container string // id or name
	Unit      string // of systemd: a service or scope, such as "sshd.service"
}

// Process is a program that runs.
type Process struct {
	PID        int    `json:"pid,omitempty"`
	Executable string `json:"exe,omitempty"`     // its path; "" where it may not be read
	Command    string `json:"command,omitempty"` // where that is so, its name, which it can choose itself: comm in proc(5)
}
