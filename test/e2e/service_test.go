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

	"golang.org/x/sys/unix"

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

// TestServiceRestart restarts holder and server as systemd does, which keeps the listener meanwhile: who connects in between waits
// and is answered, by the new server, and a stranger still is not. Nothing is taken down before the service is stopped.
func TestServiceRestart(t *testing.T) {
	netns.Root(t)
	for _, mode := range []string{"iptables", "loopback"} {
		t.Run(mode, func(t *testing.T) {
			ns := netns.New(t)
			before := state(t, ns)
			s := newService(t, ns, mode)
			holding, serving := s.hold(), s.serve()
			served(t, ns, ownerUID)
			held := state(t, ns)

			s.job(t, "restart")
			serving.Stop()
			holding.Stop()
			same(t, held, state(t, ns))
			s.cleanup()
			same(t, held, state(t, ns))
			waiting := raw(t, ownerUID, "read")
			var answer strings.Builder
			waiting.Stdout = &answer
			if err := ns.Start(waiting); err != nil {
				t.Fatal(err)
			}
			holding, serving = s.hold(), s.serve()
			if err := waiting.Wait(); err != nil || !strings.Contains(answer.String(), `"access_token"`) {
				t.Errorf("who waited got %q, %v", answer.String(), err)
			}
			refused(t, ns, strangerUID)
			if out := holding.Said.String(); !strings.Contains(out, "going on with what the holder before this one held") {
				t.Errorf("the second holder said %s", out)
			}

			s.job(t, "stop")
			serving.Stop()
			holding.Stop()
			same(t, before, state(t, ns))
			s.cleanup()
		})
	}
}

// TestServiceCrash kills the holder of a service: what ExecStopPost= does then waits for the janitor, and leaves nothing. A server
// that waits for its holder gets the next one's listener. Beside somebody else's agent ExecStopPost= does nothing.
func TestServiceCrash(t *testing.T) {
	netns.Root(t)
	ns := netns.New(t)
	before := state(t, ns)
	s := newService(t, ns, "iptables")
	s.job(t, "")
	holding := s.hold()
	held := state(t, ns)
	s.cleanup()
	same(t, held, state(t, ns))
	if err := holding.Cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := holding.Wait(); err == nil {
		t.Error("the killed holder ended well")
	}
	s.cleanup()
	same(t, before, state(t, ns))

	serve := agent.As(t, ownerUID, command("serve", "--credential", "emulated", "--wait", "10m"))
	serve.Env = append(serve.Env, "NOTIFY_SOCKET="+s.ofServer.path)
	early := agent.Start(t, ns, serve)
	eventually(t, early.Said.String, func() bool { return strings.Contains(early.Said.String(), "waiting for azimds net up") })
	again := s.hold()
	s.ofServer.await(t, "READY=1")
	served(t, ns, ownerUID)
	early.Stop()
	again.Stop()

	unheld := agent.As(t, ownerUID, command("serve", "--credential", "emulated", "--wait", "10m"))
	stopped := agent.Start(t, ns, unheld)
	eventually(t, stopped.Said.String, func() bool { return strings.Contains(stopped.Said.String(), "waiting for azimds net up") })
	stopped.Stop()
	same(t, before, state(t, ns))
}

// service is an azimds that systemd runs: a stand-in for systemctl(1) says which job there is.
type service struct {
	t                  *testing.T
	ns                 *netns.NS
	mode, bin          string
	ofHolder, ofServer manager
}

func newService(t *testing.T, ns *netns.NS, mode string) *service {
	t.Helper()
	s := &service{t: t, ns: ns, mode: mode, bin: t.TempDir(), ofHolder: newManager(t), ofServer: newManager(t)}
	const systemctl = `#!/bin/sh
case "$*" in
"show --property=Job --value azimds-net.service") test ! -s "${0%/*}/job" || echo 4711 ;;
"show --property=JobType --value 4711") cat "${0%/*}/job" ;;
*) echo "systemctl $*?" >&2; exit 1 ;;
esac
`
	if err := os.WriteFile(filepath.Join(s.bin, "systemctl"), []byte(systemctl), 0o755); err != nil {
		t.Fatal(err)
	}
	return s
}

// job is the kind of job that the unit has; "" is none.
func (s *service) job(t *testing.T, kind string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.bin, "job"), []byte(kind), 0o644); err != nil {
		t.Fatal(err)
	}
}

// hold starts the holder, with the listener that was kept of the last one.
func (s *service) hold() *agent.Agent {
	s.t.Helper()
	up := command("net", "up", "--mode", s.mode, "--user", fmt.Sprint(ownerUID))
	if kept := s.ofHolder.files["endpoint"]; kept != nil {
		up.ExtraFiles = []*os.File{kept}
		up.Args = append([]string{"sh", "-c", `LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=endpoint exec "$@"`, "sh", up.Path}, up.Args[1:]...)
		up.Path = "/bin/sh"
	}
	up.Env = s.environ(up.Env, s.ofHolder)
	holding := agent.Start(s.t, s.ns, up)
	s.ofHolder.await(s.t, "READY=1")
	return holding
}

func (s *service) serve() *agent.Agent {
	s.t.Helper()
	serve := agent.As(s.t, ownerUID, command("serve", "--credential", "emulated"))
	serve.Env = s.environ(serve.Env, s.ofServer)
	serving := agent.Start(s.t, s.ns, serve)
	s.ofServer.await(s.t, "READY=1")
	return serving
}

// cleanup is ExecStopPost=.
func (s *service) cleanup() {
	s.t.Helper()
	cmd := command("cleanup", "--service")
	cmd.Env = s.environ(cmd.Env, s.ofHolder)
	if out, code := agent.Output(s.t, s.ns, cmd); code != 0 {
		s.t.Errorf("cleanup got %d: %s", code, out)
	}
}

func (s *service) environ(env []string, m manager) []string {
	return append(env, "NOTIFY_SOCKET="+m.path, "PATH="+s.bin+":"+os.Getenv("PATH"))
}

// manager is a service manager's end of a socket.
type manager struct {
	path  string
	conn  *net.UnixConn
	files map[string]*os.File // that it keeps
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
	m := manager{path, conn, map[string]*os.File{}}
	t.Cleanup(func() {
		for _, f := range m.files {
			f.Close()
		}
	})
	return m
}

// await waits until the manager is told something, and reports whether it was told nothing before but that the service lives.
func (m manager) await(t *testing.T, want string) (first bool) {
	t.Helper()
	if err := m.conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	first = true
	for {
		said, err := m.next()
		if err != nil {
			t.Fatalf("waiting for %q: %v", want, err)
		}
		if strings.HasPrefix(said, want) {
			return first
		}
		first = first && said == "WATCHDOG=1"
	}
}

// next is what the manager is told next, but for what it is to keep, which it keeps.
func (m manager) next() (string, error) {
	for {
		buf, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
		n, rights, _, _, err := m.conn.ReadMsgUnix(buf, oob)
		if err != nil {
			return "", err
		}
		said := string(buf[:n])
		name, keep := strings.CutPrefix(said, "FDSTORE=1\nFDNAME=")
		if !keep {
			return said, nil
		}
		messages, err := unix.ParseSocketControlMessage(oob[:rights])
		if err != nil || len(messages) != 1 {
			return "", fmt.Errorf("keeping %q: %d messages, %w", name, len(messages), err)
		}
		fds, err := unix.ParseUnixRights(&messages[0])
		if err != nil || len(fds) != 1 {
			return "", fmt.Errorf("keeping %q: %d files, %w", name, len(fds), err)
		}
		m.files[name] = os.NewFile(uintptr(fds[0]), name)
	}
}
