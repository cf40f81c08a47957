package failures

import (
	"os"
	"path/filepath"
)

// noNetfilter is an iptables on a kernel without netfilter.
const noNetfilter = `#!/bin/sh
[ "$1" = --version ] && exec echo 'iptables v1.8.9 (nf_tables)'
echo 'iptables: Failed to initialize nft: Protocol not supported' >&2
exit 1
`

// noPermission is one that may not do anything, as in a container with other restrictions than usual.
const noPermission = `#!/bin/sh
[ "$1" = --version ] && exec echo 'iptables v1.8.9 (nf_tables)'
echo 'iptables v1.8.9 (nf_tables): Could not fetch rule set generation id: Permission denied (you must be root)' >&2
exit 4
`

// networks are what keeps the interception from being made.
func networks() []failure {
	emulated := []string{"AZIMDS_CREDENTIAL=emulated"}
	start := func(name, args string, given func(*world)) failure {
		return failure{name: name, env: emulated, given: given, does: "azimds run --detach" + args}
	}
	down := start("loopback device down", "", func(w *world) { w.ns.Run(w.t, "ip", "link", "set", "lo", "down") })
	address := start("address there already", " --mode loopback", func(w *world) {
		w.ns.Run(w.t, "ip", "address", "add", "169.254.169.254/32", "dev", "lo")
	})
	rule := start("a rule of somebody's in our chain", " --mode iptables", func(w *world) {
		w.ns.Run(w.t, "iptables", "-t", "nat", "-N", "AZIMDS")
		w.ns.Run(w.t, "iptables", "-t", "nat", "-A", "AZIMDS", "-j", "ACCEPT")
	})
	wall := start("a firewall in between", "", func(w *world) {
		w.ns.Run(w.t, "iptables", "-A", "OUTPUT", "-o", "lo", "-p", "tcp", "!", "--dport", "443", "-j", "DROP")
	})
	route := start("a route that prohibits", "", func(w *world) { w.ns.Run(w.t, "ip", "route", "add", "prohibit", "169.254.169.254") })
	down.mends, address.mends, rule.mends, route.mends = true, true, true, true
	sudoless := start("no sudo", "", func(w *world) { w.cover("/usr/bin/sudo", "/dev/null") })
	refused := start("sudo refuses", "", func(w *world) {
		if err := os.WriteFile(filepath.Join(w.etc, "sudoers"), []byte("root ALL=(ALL) ALL\n"), 0o440); err != nil {
			w.t.Fatal(err)
		}
	})
	sudoless.hintAs, refused.hintAs = rootUID, rootUID
	both := start("port taken, and no iptables", "", func(w *world) {
		w.cover("/usr/sbin/iptables", "/dev/null")
		w.write("apt-get", "#!/bin/sh\n[ \"$*\" = 'install iptables' ]\n", 0o755) // the machine's own stays as it is
		w.cover("/usr/bin/apt-get", filepath.Join(w.home, "apt-get"))
		w.listens("0.0.0.0:80")
	})
	both.mends, both.then = true, func(w *world, _ string) { delete(w.covers, "/usr/sbin/iptables") }
	return []failure{
		sudoless, refused, start("for another user", " --user sam", nil),
		start("port taken", " --mode loopback", func(w *world) { w.listens("0.0.0.0:80") }),
		both,
		address, rule, wall, route,
		start("metadata service", "", func(w *world) {
			w.firstNamespace()
			w.ns.Run(w.t, "ip", "link", "add", "cloud", "type", "veth", "peer", "name", "cloud-peer")
			w.ns.Run(w.t, "ip", "address", "add", "169.254.169.254/32", "dev", "cloud")
			w.ns.Run(w.t, "ip", "link", "set", "cloud", "up")
			w.listens("169.254.169.254:80")
		}),
		start("no iptables", " --mode iptables", func(w *world) { w.cover("/usr/sbin/iptables", "/dev/null") }),
		start("no netfilter", " --mode iptables", func(w *world) {
			w.write("iptables", noNetfilter, 0o755)
			w.cover("/usr/sbin/iptables", filepath.Join(w.home, "iptables"))
		}),
		start("iptables that does not work", " --mode iptables", func(w *world) {
			w.write("iptables", noPermission, 0o755)
			w.cover("/usr/sbin/iptables", filepath.Join(w.home, "iptables"))
		}),
		down,
		{name: "net up without root", env: emulated, does: "azimds net up"},
		{name: "net down without root", env: emulated, does: "azimds net down"},
		{name: "net show without root", env: emulated, does: "azimds net show"},
		{name: "cleanup without root", env: emulated, does: "azimds cleanup"},
	}
}

// firstNamespace makes the network namespace look like the machine's own, by the sysctls that only that one has.
func (w *world) firstNamespace() {
	w.t.Helper()
	dir := filepath.Join(w.etc, "core")
	if err := os.Mkdir(dir, 0o755); err != nil {
		w.t.Fatal(err)
	}
	for _, name := range []string{"somaxconn", "netdev_max_backlog"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("4096\n"), 0o644); err != nil {
			w.t.Fatal(err)
		}
	}
	w.cover("/proc/sys/net/core", dir)
}

// cover puts something else where a file of the machine's is.
func (w *world) cover(path, with string) {
	if w.covers == nil {
		w.covers = map[string]string{}
	}
	w.covers[path] = with
}
