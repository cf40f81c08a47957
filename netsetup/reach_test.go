package netsetup

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"azimds/test/netns"

	"github.com/vishvananda/netlink"
)

// connect joins two namespaces by a veth pair: 10.9.0.1/24 at host, 10.9.0.2/24 at neighbour, who routes the endpoint to
// the host.
func connect(t *testing.T, host, neighbour *netns.NS) {
	t.Helper()
	pid := os.Getpid()
	do(t, host, func() error {
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "veth0"}, PeerName: "veth1"})
	})
	do(t, neighbour, func() error {
		// The thread's own entry in /proc names the namespace to move the peer into.
		ns, err := os.Open(fmt.Sprintf("/proc/%d/task/%d/ns/net", pid, syscall.Gettid()))
		if err != nil {
			return err
		}
		defer ns.Close()
		return host.Do(func() error {
			peer, err := netlink.LinkByName("veth1")
			if err != nil {
				return err
			}
			return netlink.LinkSetNsFd(peer, int(ns.Fd()))
		})
	})
	host.Run(t, "sh", "-ec", "ip addr add 10.9.0.1/24 dev veth0; ip link set veth0 up")
	neighbour.Run(t, "sh", "-ec", "ip addr add 10.9.0.2/24 dev veth1; ip link set veth1 up; ip route add 169.254.169.254 via 10.9.0.1")
}

// Local clients are served, in every mode, with and without a route to the endpoint; a neighbour is not, and it does not
// get at some other server of this machine by way of the endpoint either.
func TestReach(t *testing.T) {
	for _, p := range append(addressPlans(), rootPlan) {
		for _, way := range []string{"no default route", "default route"} {
			t.Run(string(p.Mode)+", "+way, func(t *testing.T) {
				_, err := exec.LookPath("iptables")
				netns.Need(t, "iptables", err)
				host, neighbour := netns.New(t), netns.New(t)
				connect(t, host, neighbour)
				if way == "default route" {
					host.Run(t, "ip", "route", "add", "default", "via", "10.9.0.2")
				}
				// A server of somebody else. Mode iptables leaves port 80 to it; in the others it can be on another port only.
				other := map[Mode]string{Loopback: "0.0.0.0:8080", Dummy: "0.0.0.0:8080", IPTables: "0.0.0.0:80"}[p.Mode]
				serve(t, host, other)
				_, otherPort, _ := strings.Cut(other, ":")
				if said := dialIn(t, neighbour, "10.9.0.1:"+otherPort); said != "connected" {
					t.Fatalf("the neighbour cannot reach this machine at all: %s", said)
				}

				guard(t, host, p)
				listen(t, host, p)
				up(t, host, p)
				if said := dialIn(t, host, Endpoint.String()); said != "connected" {
					t.Errorf("a local client: %s", said)
				}
				for _, addr := range []string{Endpoint.String(), fmt.Sprintf("10.9.0.1:%d", p.Backend.Port())} {
					if said := dialIn(t, neighbour, addr); said == "connected" {
						t.Errorf("the neighbour connected to %s", addr)
					}
				}
			})
		}
	}
}

// Our route leads local packets only, and a route that appears later wins over it: a real metadata service is found again
// once the interception is gone.
func TestRouteYields(t *testing.T) {
	_, err := exec.LookPath("iptables")
	netns.Need(t, "iptables", err)
	host, neighbour := netns.New(t), netns.New(t)
	connect(t, host, neighbour)
	up(t, host, rootPlan)
	get := func(from string) string {
		return host.Run(t, "sh", "-c", "ip route get 169.254.169.254 "+from+" ipproto tcp dport 80 2>&1 || true")
	}
	if got := get(""); !strings.HasPrefix(got, "local 169.254.169.254 dev lo table 169254 src 127.0.0.1") {
		t.Errorf("from here, without a route: %q, want our route", got)
	}
	if got := get("from 10.9.0.2 iif veth0"); !strings.Contains(got, "No route to host") {
		t.Errorf("from the neighbour: %q, want none", got)
	}
	host.Run(t, "ip", "route", "add", "default", "via", "10.9.0.2")
	if got := get(""); !strings.HasPrefix(got, "169.254.169.254 via 10.9.0.2 dev veth0") {
		t.Errorf("from here, with a default route: %q, want by way of it", got)
	}
}

// dialAs dials the endpoint from a process of another uid with a supplementary group.
func dialAs(t *testing.T, ns *netns.NS, binary string, uid, group uint32) string {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.Command(binary)
	cmd.Env = append(os.Environ(), dialVariable+"="+Endpoint.String())
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid, Groups: []uint32{group}}}
	if err := ns.Start(cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("client of uid %d: %v\n%s", uid, err, out.String())
	}
	return out.String()
}

// testBinary is this binary where any uid can run it: go test builds it in a directory that only root enters.
func testBinary(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "netsetup")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	binary, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "client")
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(path, binary, 0o755)); err != nil {
		t.Fatal(err)
	}
	return path
}

// Mode iptables intercepts its owner and nobody else, and not the exempt group.
func TestOwnerAlone(t *testing.T) {
	netns.Root(t)
	binary := testBinary(t)
	backends(t, func(t *testing.T, ns *netns.NS) {
		p := exemptPlan
		listen(t, ns, p)
		up(t, ns, p)
		if said := dialAs(t, ns, binary, p.Owner, 7); said != "connected" {
			t.Errorf("the owner: %s", said)
		}
		if said := dialAs(t, ns, binary, p.Owner+1, 7); !strings.Contains(said, "network is unreachable") {
			t.Errorf("another uid: %s, want what it was before", said)
		}
		if said := dialAs(t, ns, binary, p.Owner, p.ExemptGroup); said == "connected" {
			t.Error("the owner in the exempt group connected")
		}
	})
}

func TestListenBeforeAddress(t *testing.T) {
	for _, p := range addressPlans() {
		ns := netns.New(t)
		guard(t, ns, p)
		listen(t, ns, p)
		if said := dialIn(t, ns, Endpoint.String()); said == "connected" {
			t.Errorf("%s: connected before the address was there", p.Mode)
		}
		up(t, ns, p)
		if said := dialIn(t, ns, Endpoint.String()); said != "connected" {
			t.Errorf("%s, with the address: %s", p.Mode, said)
		}
	}
}

// A server on every address excludes the modes with the address on a device, and the error names it.
func TestListenInUse(t *testing.T) {
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	self := fmt.Sprintf("%s (pid %d)", strings.TrimSpace(string(comm)), os.Getpid())
	for _, server := range []string{"0.0.0.0:80", "[::]:80"} {
		for _, p := range addressPlans() {
			t.Run(server+", "+string(p.Mode), func(t *testing.T) {
				ns := netns.New(t)
				guard(t, ns, p)
				serve(t, ns, server)
				err := ns.Do(func() error {
					_, err := Listen(t.Context(), p)
					return err
				})
				inUse, ok := errors.AsType[*InUseError](err)
				if !ok || !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(inUse.Holder, self+" on ") {
					t.Errorf("Listen: %v, want an InUseError that names %s", err, self)
				}
			})
		}
	}
}

func TestFreeBackendPort(t *testing.T) {
	ns := netns.New(t)
	find := func() (found netip.AddrPort) {
		t.Helper()
		do(t, ns, func() (err error) {
			found, err = FreeBackendPort(t.Context())
			return err
		})
		return found
	}
	first := find()
	if want := netip.MustParseAddrPort("127.0.0.1:981"); first != want {
		t.Errorf("first: %s, want %s", first, want)
	}
	serve(t, ns, "0.0.0.0:981")
	if got, want := find(), netip.MustParseAddrPort("127.0.0.1:980"); got != want {
		t.Errorf("beside a server on 981: %s, want %s", got, want)
	}
}
