//go:build azimdsvm

package inside

import (
	"strings"
	"testing"
)

// TestFlushed: rules that somebody flushed are made again.
func TestFlushed(t *testing.T) {
	configure(t, "iptables")
	served(t)
	run(t, "iptables", "-t", "nat", "-F")
	healed(t)
}

// TestLinkDeleted: a link that somebody deleted is made again, with a listener.
func TestLinkDeleted(t *testing.T) {
	configure(t, "dummy")
	served(t)
	run(t, "ip", "link", "del", "azimds0")
	healed(t)
}

// TestFirewalld: firewalld, which makes all rules anew when it starts, reloads and stops, takes nothing away for long.
func TestFirewalld(t *testing.T) {
	for _, mode := range []string{"dummy", "iptables"} {
		t.Run(mode, func(t *testing.T) {
			configure(t, mode)
			served(t)
			for _, command := range []string{"systemctl start firewalld", "firewall-cmd --reload", "systemctl stop firewalld"} {
				words := strings.Fields(command)
				run(t, words[0], words[1:]...)
				healed(t)
			}
		})
	}
}
