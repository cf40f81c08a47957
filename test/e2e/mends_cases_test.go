package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"azimds/test/entra"
	"azimds/test/netns"
)

// having is a world with variables.
func having(entries ...string) func(*testing.T, *world) {
	return func(_ *testing.T, w *world) { w.env = append(w.env, entries...) }
}

// after is a world in which a script has run.
func after(script string) func(*testing.T, *world) {
	return func(t *testing.T, w *world) { w.must(t, script) }
}

func variableIllnesses() []illness {
	sessions := func(lines string) func(*testing.T, *world) {
		return func(t *testing.T, w *world) {
			w.overlay(t, "/etc")
			w.must(t, fmt.Sprintf("printf '%s' > /etc/environment", lines))
		}
	}
	return []illness{
		{id: "configuration", given: having("AZIMDS_MODE=nat"), args: []string{"--offline"}},
		{id: "endpoint-variable", given: having("IDENTITY_ENDPOINT=http://127.0.0.1:41741", "IDENTITY_HEADER=x")},
		{id: "endpoint-variable", name: "of sessions", given: sessions(`LANG=C.UTF-8\nMSI_ENDPOINT="http://localhost"\n`)},
		{id: "secret-variable", given: having("MSI_SECRET=x")},
		{id: "pod-identity-variable", given: having("AZURE_POD_IDENTITY_AUTHORITY_HOST=http://localhost")},
		{id: "token-credentials-variable", given: having("AZURE_TOKEN_CREDENTIALS=dev")},
		{id: "client-id-variable", given: having("AZURE_CLIENT_ID=11111111-2222-3333-4444-555555555555")},
		{id: "proxy", given: having("HTTPS_PROXY=http://proxy.example:3128", "NO_PROXY=localhost,169.254.0.0/16")},
		{id: "proxy", name: "of sessions", given: sessions(`http_proxy=http://proxy.example:3128\nno_proxy=localhost\n`)},
	}
}

// Stand-ins for az: what it does to its files.
const (
	azSigned  = `{"subscriptions":[{"id":"11111111-1111-1111-1111-111111111111","isDefault":true,"tenantId":"22222222-2222-2222-2222-222222222222","user":{"name":"%s","type":"%s"}}]}`
	azScript  = `case "$1" in login) mkdir -p "$HOME/.azure"; printf '%s' '` + `PROFILE` + `' > "$HOME/.azure/azureProfile.json" ;; account) [ ! -p "$HOME/gate" ] || read -r line < "$HOME/gate" ;; esac`
	azProfile = ".azure/azureProfile.json"
)

func azIllnesses() []illness {
	cli := []string{"--offline", "--credential", "azure-cli"}
	person := fmt.Sprintf(azSigned, "pat@contoso.example", "user")
	az := strings.ReplaceAll(azScript, "PROFILE", person)
	having := func(profile string) func(*testing.T, *world) {
		return func(t *testing.T, w *world) {
			w.program(t, "az", az)
			w.file(t, filepath.Join(w.home, azProfile), profile, 0o600)
		}
	}
	// The installer that the command fetches is a stand-in, too: it puts an az where the real one may.
	installer := func(t *testing.T, w *world) {
		w.program(t, "curl", `[ "$2" = https://aka.ms/InstallAzureCli ] && cat <<'END'
mkdir -p "$HOME/bin"; printf '#!/bin/sh\n' > "$HOME/bin/az"; chmod +x "$HOME/bin/az"
END`)
	}
	var gate *os.File
	return []illness{
		{id: "az-missing", args: cli, given: installer},
		{id: "az-broken", args: cli, given: func(t *testing.T, w *world) {
			installer(t, w)
			w.file(t, filepath.Join(w.home, "bin/az"), "#!/nowhere/python3\n", 0o755)
		}},
		{id: "az-signed-out", args: cli, given: having("{}")},
		{id: "az-managed-identity", args: cli, given: having(fmt.Sprintf(azSigned, "systemAssignedIdentity", "servicePrincipal"))},
		{id: "az-timeout", args: cli, given: func(t *testing.T, w *world) {
			having(person)(t, w)
			w.env = append(w.env, "AZIMDS_AZURE_CLI_TIMEOUT=1s")
			path := filepath.Join(w.home, "gate")
			if err := syscall.Mkfifo(path, 0o600); err != nil {
				t.Fatal(err)
			}
			var err error
			if gate, err = os.OpenFile(path, os.O_RDWR, 0); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { gate.Close() })
		}, between: func(t *testing.T, _ *world) {
			if _, err := gate.WriteString("\n"); err != nil { // the next az need not wait
				t.Fatal(err)
			}
		}},
		{id: "az", args: cli, given: having(person), reason: "it is how things are",
			byHand: func(t *testing.T, w *world) { w.file(t, filepath.Join(w.home, azProfile), "{}", 0o600) }},
		{id: "clock", given: wrongClock, args: []string{"--config", "entra.yaml"}},
	}
}

// wrongClock is an Entra whose clock is two hours on, until timedatectl has had this machine's set from the network.
func wrongClock(t *testing.T, w *world) {
	set := filepath.Join(w.home, "set")
	w.program(t, "timedatectl", `[ "$*" = "set-ntp true" ] && : > "$HOME/set"`)
	s, err := entra.New(entra.Options{Now: func() time.Time {
		if _, err := os.Stat(set); err == nil {
			return time.Now()
		}
		return time.Now().Add(2 * time.Hour)
	}})
	if err != nil {
		t.Fatal(err)
	}
	var ln net.Listener
	if err := w.ns.Do(func() (err error) {
		ln, err = net.Listen("tcp", "127.0.0.1:0")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(ln); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	w.file(t, filepath.Join(w.home, "ca.pem"), string(s.CAPEM()), 0o644)
	w.file(t, filepath.Join(w.home, "entra.yaml"), fmt.Sprintf("credential: device-code\ntenant: %s\nauthority-host: %s\nca-file: %s/ca.pem\n",
		entra.DefaultTenant, s.URL(), w.home), 0o644)
}

func networkIllnesses() []illness {
	loopback := []string{"--offline", "--credential", "emulated", "--mode", "loopback"}
	bridged := []string{"--offline", "--credential", "emulated", "--zones", "br0"}
	const bridge = "ip link add br0 type bridge; ip address add 10.8.0.1/24 dev br0; ip link set br0 up; "
	return []illness{
		{id: "interception", args: loopback, given: after("ip address add 169.254.169.254/32 dev lo")},
		{id: "interception", name: "loopback down", args: loopback, given: after("ip link set lo down")},
		{id: "residue", given: after("iptables -t nat -N AZIMDS")},
		{id: "prohibit-route", given: after("ip route add prohibit 169.254.169.254")},
		{id: "prohibit-route", name: "a rule, and a route behind it", given: after(
			"ip rule add pref 60 to 169.254.0.0/16 unreachable; ip route add blackhole 169.254.0.0/16 metric 5")},
		{id: "iptables-backends", given: after("iptables-nft -A INPUT -p udp -j ACCEPT; iptables-legacy -P FORWARD DROP; " +
			"iptables-legacy -t nat -N mine; iptables-legacy -t nat -A mine -p udp -j ACCEPT")},
		{id: "bridge-firewall", args: bridged, given: after(bridge + "iptables -P INPUT DROP")},
		{id: "bridge-firewall", name: "of the other back end", args: bridged, given: after(bridge +
			"iptables-legacy -A INPUT -i lo -j ACCEPT; iptables-legacy -A INPUT -j REJECT")},
		{id: "unprivileged-ports", given: after("sysctl -qw net.ipv4.ip_unprivileged_port_start=0")},
		{id: "network-namespace", reason: "the command is for another network", byHand: after(
			"mount -t tmpfs none /proc/sys/net/core; touch /proc/sys/net/core/somaxconn /proc/sys/net/core/netdev_max_backlog")},
	}
}

// serving is a world where azimds runs.
func serving(args string, then string) func(*testing.T, *world) {
	return func(t *testing.T, w *world) {
		w.background(t, "azimds run "+args, "azimds answers at", "azimds stop || true")
		w.must(t, then)
	}
}

func agentIllnesses() []illness {
	az := strings.ReplaceAll(azScript, "PROFILE", fmt.Sprintf(azSigned, "pat@contoso.example", "user"))
	const answers = "azimds answers at"
	return []illness{
		{id: "missing", serves: answers, end: "azimds stop", given: func(t *testing.T, w *world) {
			w.background(t, "AZIMDSTEST_WITHOUT=heal "+filepath.Join(bin, "azimds-stop")+" run --credential emulated --mode iptables", answers, "azimds stop || true")
			w.must(t, "iptables -t nat -F AZIMDS")
		}},
		{id: "contested", reason: "who takes it away is to be found with the commands, and ended", given: serving("--credential emulated --mode iptables",
			"for n in $(seq 600); do ! azimds status | grep -q contested || exit 0; "+
				"! iptables -t nat -S AZIMDS | grep -q REDIRECT || iptables -t nat -F AZIMDS; sleep 0.1; done; exit 1"),
			byHand: after("azimds stop")},
		{id: "not-mended", later: true, given: serving("--credential emulated --mode loopback",
			"ip address delete 169.254.169.254/32 dev lo; ip address add 169.254.169.254/32 dev lo; "+
				"for n in $(seq 600); do ! azimds status | grep -q 'not mended' || exit 0; sleep 0.1; done; exit 1")},
		{id: "no-server", serves: answers, end: "azimds net down", given: func(t *testing.T, w *world) {
			w.background(t, "azimds net up --mode loopback --credential emulated", "held for", "azimds net down")
		}},
		{id: "no-tokens", later: true, given: func(t *testing.T, w *world) {
			w.program(t, "az", az)
			w.file(t, filepath.Join(w.home, azProfile), "{}", 0o600)
			serving("--mode loopback --credential azure-cli", "true")(t, w)
		}},
		{id: "paused", given: serving("--credential emulated --mode loopback", "azimds pause 1h")},
		{id: "zone", name: "a port that leads away", later: true, given: func(t *testing.T, w *world) {
			w.must(t, "for b in br0 br1; do ip link add $b type bridge; ip link set $b up; done; ip address add 10.8.0.1/24 dev br0; "+
				"ip link add p0 type veth peer name p1; ip link set p0 master br0 up; ip link set p1 master br1 up")
			serving("--credential emulated --mode iptables --zones br0", "true")(t, w)
		}},
		{id: "zone", name: "no address", later: true, given: func(t *testing.T, w *world) {
			w.must(t, "ip link add br0 type bridge; ip link set br0 up")
			serving("--credential emulated --mode iptables --zones br0", "true")(t, w)
		}},
	}
}

func machineIllnesses() []illness {
	return []illness{
		{id: "arc-agent", given: func(t *testing.T, w *world) {
			w.overlay(t, "/etc", "/opt", "/usr", "/var")
			w.must(t, `mkdir -p arc/DEBIAN arc/opt/azcmagent/bin; : > arc/opt/azcmagent/bin/himds
printf 'Package: azcmagent\nVersion: 1\nArchitecture: all\nMaintainer: Test <test@example.com>\nDescription: stand-in\n' > arc/DEBIAN/control
dpkg-deb --build arc arc.deb >&2; dpkg --install arc.deb >&2`)
		}},
		{id: "cgroup", reason: "it takes effect with the next start of the machine", given: func(t *testing.T, w *world) {
			w.must(t, "mkdir old; mount -t cgroup -o none,name=azimdstest old old")
		}, byHand: after("umount old; umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup")},
		{id: "wsl", reason: "the command is Windows's", given: func(t *testing.T, w *world) {
			w.shows(t, "/proc/sys/kernel/osrelease", "6.6.87.2-microsoft-standard-WSL2\n")
		}, byHand: after("umount /proc/sys/kernel/osrelease")},
		{id: "docker-desktop", given: func(t *testing.T, w *world) {
			_, err := exec.LookPath("docker")
			netns.Need(t, "docker", err)
			w.file(t, filepath.Join(w.home, ".docker/config.json"), `{"currentContext":"desktop-linux"}`, 0o600)
		}},
		{id: "docker-desktop", name: "by a variable", given: having("DOCKER_CONTEXT=desktop-linux")},
		{id: "rootless-engine", given: func(t *testing.T, w *world) {
			w.file(t, filepath.Join(w.home, ".local/share/containers/storage/here"), "", 0o644)
			w.as = ownerUID
		}},
	}
}
