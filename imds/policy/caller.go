package policy

import "net/netip"

// Local is the zone of this machine's own processes. Every other zone is a bridge's and has its name.
const Local = "local"

// Caller is what a decision may depend on. What is not known is empty.
type Caller struct {
	Zone       string     // [Local], or a bridge's name
	Address    netip.Addr // of the client, in a bridge's zone; there nothing below is known
	UID        uint32     // who made the socket
	Groups     []uint32   // of that user
	Cgroup     string     // path of the socket's control group (v2) below the root, without a leading slash; "" is the root
	Container  string     // its id or name; "" for what is in none
	Executable string     // path of the program; code of the same user can forge it
}
