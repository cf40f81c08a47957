package caller

import "errors"

// ErrUnknown means that nobody can be named for a connection, so that it must be refused. An error that wraps it says
// why.
var ErrUnknown = errors.New("unknown caller")

// Caller is the owner of a client's socket as the kernel knows it.
type Caller struct {
	// UID made the socket, as the user namespace of this process numbers it. It is never the overflow uid.
	UID uint32
	// Inode is the socket's inode number, as in the link "socket:[INODE]" under /proc/PID/fd. It is never 0.
	Inode uint64
	// Cgroup is the id of the socket's control group (v2), the inode number of its directory; 0 where the kernel does not
	// say (before Linux 5.8).
	Cgroup uint64
}
