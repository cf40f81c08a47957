package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"azimds/test/agent"
	"azimds/test/netns"
)

// TestServiceManager has a service manager's socket told by holder and server when they are ready, that the server lives, that the
// configuration is read anew, and that they end. The server is ready when tokens can be had, and not before.
func TestServiceManager(t *testing.T) {
	netns.Root(t)
	ns := netns.New(t)
	before := state(t, ns)
	ofHolder, ofServer := newManager(t), newManager(t)

	up := command("net", "up", "--mode", "iptables", "--user", fmt.Sprint(ownerUID))
	up.Env = append(up.Env, "NOTIFY_SOCKET="+ofHolder.path)
	holding := agent.Start(t, ns, up)
	ofHolder.await(t, "READY=1\nSTATUS=holds 169.254.169.254:80")

	serve := agent.As(t, ownerUID, command("serve", "--credential", "emulated"))
	serve.Env = append(serve.Env, "NOTIFY_SOCKET="+ofServer.path, "WATCHDOG_USEC=2000000")
	serving := agent.Start(t, ns, serve)
	if first := ofServer.await(t, "READY=1\nSTATUS=answers at 169.254.169.254:80"); !first {
		t.Error("the server said something else before READY=1 than that it lives")
	}
	served(t, ns, ownerUID)
	refused(t, ns, strangerUID)
	ofServer.await(t, "WATCHDOG=1")
	ofServer.await(t, "WATCHDOG=1")
	if err := serve.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	ofServer.await(t, "RELOADING=1\nMONOTONIC_USEC=")
	ofServer.await(t, "READY=1")

	serving.Stop()
	ofServer.await(t, "STOPPING=1")
	holding.Stop()
	ofHolder.await(t, "STOPPING=1")
	same(t, before, state(t, ns))
}

// manager is a service manager's end of a socket.
type manager struct {
	path string
	conn *net.UnixConn
}

func newManager(t *testing.T) manager {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	agent.OpenUp(t, path)
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := os.Chmod(path, 0o777); err != nil { // as systemd has it
		t.Fatal(err)
	}
	return manager{path, conn}
}

// await waits until the manager is told something, and reports whether it was told nothing before but that the service lives.
func (m manager) await(t *testing.T, want string) (first bool) {
	t.Helper()
	if err := m.conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	first = true
	for {
		buf := make([]byte, 4096)
		n, err := m.conn.Read(buf)
		if err != nil {
			t.Fatalf("waiting for %q: %v", want, err)
		}
		said := string(buf[:n])
		if strings.HasPrefix(said, want) {
			return first
		}
		first = first && said == "WATCHDOG=1"
	}
}
