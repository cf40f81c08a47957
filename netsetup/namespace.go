package netsetup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// Two sysctls as files, of the network namespace of the thread that looks.
const (
	everySysctl = "/proc/sys/net/core/somaxconn"          // is in every network namespace
	hostsSysctl = "/proc/sys/net/core/netdev_max_backlog" // is the whole machine's, so in its first one alone
)

// hostNamespace tells whether the calling thread is in the machine's first network namespace, in which the kernel started
// init, and not in that of a container or a sandbox. Where it cannot tell, it says so.
//
// It goes by the sysctls that the kernel shows there only (net_core_table in net/core/sysctl_net_core.c), which everybody may
// see. Looking at /proc/1/ns/net takes ptrace rights over pid 1, and in a container pid 1 is the container's own. The
// namespace's inode and SO_NETNS_COOKIE have other values from kernel to kernel.
var hostNamespace = func() (bool, error) { return hasSysctl(everySysctl, hostsSysctl) }

// OnHost tells whether the calling thread is in the host's network namespace, and not in that of a container or a sandbox. It
// changes nothing and needs no rights; the error is that it cannot tell.
func OnHost() (bool, error) { return hostNamespace() }

func hasSysctl(every, hosts string) (bool, error) {
	if _, err := os.Stat(every); err != nil {
		return true, fmt.Errorf("looking for a sysctl: %w", err) // no /proc: nothing can be told
	}
	switch _, err := os.Stat(hosts); {
	case err == nil:
		return true, nil
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	default:
		return true, fmt.Errorf("looking for a sysctl: %w", err)
	}
}

// elsewhere tells whether this is a network namespace other than the host's: its programs are this one's alone. One that
// cannot be told apart is taken for the host's.
func elsewhere() bool {
	host, err := hostNamespace()
	return err == nil && !host
}
