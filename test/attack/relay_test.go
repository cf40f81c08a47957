package attack

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"azimds/test/agent"
	"azimds/test/netns"
)

// relays carry what a rootless container sends: they dial as the user who started them, who is the owner.
var relays = []struct {
	name    string // to be allowed by
	program string // shell words; the container's process follows
}{
	{"slirp4netns", "slirp4netns --configure --mtu=65520"},
	{"slirp4netns", "slirp4netns --configure --mtu=65520 --enable-sandbox --enable-seccomp"}, // as Podman starts it
	{"pasta", "pasta --config-net --foreground"},                                             // has itself made undumpable
}

// TestRelays has a container, which the owner has started without being root, ask through a relay.
func TestRelays(t *testing.T) {
	netns.Root(t)
	for _, mode := range []string{"iptables", "loopback"} {
		for _, r := range relays {
			need(t, strings.Fields(r.program)[0], "unshare", "setpriv")
			attack{
				name: r.program, mode: mode, user: owner, checks: []string{"relay"}, named: []string{"--allow-relays", r.name},
				prepare: uplink,
				open:    func(s *scene) { s.container(r.program) },
				attempt: func(s *scene) string { return carried(s.other.ask(endpoint)) },
			}.run(t)
		}
	}
}

// container makes a container, in which the scene's other is, with a relay.
func (s *scene) container(relay string) {
	s.t.Helper()
	s.other = s.puppet(owner, "unshare", "--user", "--map-root-user", "--net")
	s.other.must("ready")
	relay += fmt.Sprintf(" %d", s.other.cmd.Process.Pid)
	if strings.HasPrefix(relay, "slirp4netns") {
		relay += " tap0"
	}
	s.background(relay)
	s.other.must("await", endpoint)
}

// TestRelayOutOfSight has a relay that the server may not look at, while the holder, which may, does not answer: as when there is
// more to look for than it can.
func TestRelayOutOfSight(t *testing.T) {
	netns.Root(t)
	attack{
		name: "pasta", mode: "loopback", user: owner, checks: []string{"relay"}, prepare: uplink,
		open: func(s *scene) { s.container("pasta --config-net --foreground") },
		attempt: func(s *scene) (outcome string) {
			s.without("holder", func() { outcome = carried(s.other.ask(endpoint)) })
			return outcome
		},
	}.run(t)
}

// uplink gives the scene a default route, without which pasta has nothing to copy.
func uplink(s *scene) {
	s.link()
	s.ns.Run(s.t, "ip", "route", "add", "default", "via", "192.0.2.2")
}

// carried is what came out of a relay: a reset at its other end may be an ordinary end at this one.
func carried(outcome string) string {
	if outcome == "closed" {
		return reset
	}
	return outcome
}

// TestForwards has another user ask through a port that the owner has forwarded with ssh: to where sshd runs, and from there to
// where ssh does. Both ends are this machine here.
func TestForwards(t *testing.T) {
	netns.Root(t)
	need(t, "ssh", "sshd", "ssh-keygen", "unshare", "setpriv")
	for _, mode := range []string{"iptables", "loopback"} {
		for program, port := range map[string]string{"sshd": "8000", "ssh": "8001"} {
			address := "127.0.0.1:" + port
			attack{
				name: program, mode: mode, user: owner, checks: []string{"relay"}, named: []string{"--allow-relays", "ssh"},
				open: func(s *scene) {
					forward(s)
					visitor := s.puppet(stranger)
					eventually(s.t, func() bool { return visitor.do("dial", address) == done })
					visitor.must("drop")
				},
				attempt: func(s *scene) string { return carried(s.puppet(stranger).ask(address)) },
			}.run(t)
		}
	}
}

// forward starts an sshd of the machine's and an ssh of the owner's.
func forward(s *scene) {
	s.t.Helper()
	dir := s.t.TempDir()
	agent.OpenUp(s.t, filepath.Join(dir, "x"))
	keys := exec.Command("sh", "-c", `ssh-keygen -q -t ed25519 -N '' -f host && ssh-keygen -q -t ed25519 -N '' -f user &&
		mv user.pub authorized_keys && chown `+fmt.Sprint(owner)+` user authorized_keys`)
	keys.Dir = dir
	if out, err := keys.CombinedOutput(); err != nil {
		s.t.Fatalf("making keys: %v\n%s", err, out)
	}
	s.rooted(`mkdir -p /run/sshd && exec $(command -v sshd) -D -e -f /dev/null -o ListenAddress=127.0.0.1:2222 -o UsePAM=no -o PidFile=none ` +
		`-o StrictModes=no -o HostKey=` + dir + `/host -o AuthorizedKeysFile=` + dir + `/authorized_keys`)
	s.background(`ssh -N -F /dev/null -o ConnectionAttempts=600 -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -i ` + dir + `/user ` +
		`-L 8000:169.254.169.254:80 -R 8001:169.254.169.254:80 -p 2222 pat@127.0.0.1`)
}

// background runs a program of the owner's until the test ends.
func (s *scene) background(program string) {
	s.t.Helper()
	s.rooted(fmt.Sprintf("exec setpriv --reuid %d --regid %[1]d --clear-groups %s", owner, program))
}

// rooted runs a shell script of root's until the test ends, on a machine where the owner has a login, pat, and everybody may make
// a network device, as is usual.
func (s *scene) rooted(script string) {
	s.t.Helper()
	dir := s.t.TempDir()
	agent.OpenUp(s.t, filepath.Join(dir, "x"))
	for file, line := range map[string]string{
		"passwd": fmt.Sprintf("pat:x:%d:%[1]d::%s:/bin/sh\n", owner, dir),
		"group":  fmt.Sprintf("pat:x:%d:\n", owner),
		"shadow": "pat:*:19000:0:99999:7:::\n",
	} {
		text, err := os.ReadFile("/etc/" + file)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, file), append(text, line...), 0o644)
		}
		if err != nil {
			s.t.Fatal(err)
		}
		script = fmt.Sprintf("mount --bind %s/%s /etc/%[2]s && ", dir, file) + script
	}
	script = "mount -t tmpfs tmpfs /dev/net && mknod -m 666 /dev/net/tun c 10 200 && " + script
	cmd := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", script)
	cmd.Env = append(agent.CleanEnv(), "USER=pat")
	cmd.Dir = "/"
	said := new(agent.Text)
	cmd.Stdout, cmd.Stderr = said, said
	if err := s.ns.Start(cmd); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		cmd.Process.Kill()
		_ = cmd.Wait() // it has been killed
		if s.t.Failed() {
			s.t.Logf("%s\nsaid:\n%s", script, said)
		}
	})
}

// need needs programs on the machine.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, program := range programs {
		_, err := exec.LookPath(program)
		if err != nil {
			_, err = os.Stat("/usr/sbin/" + program)
		}
		netns.Need(t, program, err)
	}
}
