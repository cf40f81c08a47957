package netsetup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// portStart is the sysctl as a file: that of the network namespace of the thread that reads it.
const portStart = "/proc/sys/net/ipv4/ip_unprivileged_port_start"

// UnprivilegedPortStart is the first port that any user may listen on in the calling thread's network namespace: 1024
// unless somebody has set net.ipv4.ip_unprivileged_port_start, as Docker does, to 0, in its containers. When a plan's
// backend port is not below it, another user can take the place of a server that was killed together with everything that
// would have cleaned up after it.
func UnprivilegedPortStart() (int, error) {
	text, err := os.ReadFile(portStart)
	if errors.Is(err, fs.ErrNotExist) {
		return maxPrivileged + 1, nil // before Linux 4.11, and without /proc
	}
	if err != nil {
		return 0, fmt.Errorf("reading the first unprivileged port: %w", err)
	}
	start, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, fmt.Errorf("reading the first unprivileged port from %q: %w", portStart, err)
	}
	return start, nil
}

// exposure adds to a mode's reason that its port is not root's alone.
func exposure(m Mode, start int) string {
	port := int(Endpoint.Port())
	if m == IPTables {
		port = firstBackendPort
	}
	if start > port {
		return ""
	}
	return fmt.Sprintf("; any user may listen on port %d (ip_unprivileged_port_start is %d)", port, start)
}
