package policy

import "net/netip"

// Local is the zone of this machine's own processes. Every other zone is a bridge's and has its name, or that of a container engine's
// network after [Network].
const Local = "local"

// Network is what the name of a zone begins with that is named by a container engine's network; no device's name has a colon.
const Network = "network:"

// Caller is what a decision may depend on. What is not known is empty.
type Caller struct {
	Zone       string     // [Local], a bridge's name, or a network's after [Network]
	Bridge     string     // the bridge of a network; else ""
	Address    netip.Addr // of the client, in a bridge's zone; there nothing below is known
	UID        uint32     // who made the socket
	Groups     []uint32   // of that user
	Cgroup     string     // path of the socket's control group (v2) below the root, without a leading slash; "" is the root
	Container  string     // its id or name; "" for what is in none
	Executable string     // path of the program; code of the same user can forge it
}
