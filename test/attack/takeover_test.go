package attack

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"azimds/test/agent"
	"azimds/test/netns"
)

// TestTakeover kills all of the agent's processes at once, which leaves what leads the owner to the agent's listener. Another user
// then takes the listener's place to answer the owner.
//
// The place is a port that no user may take. It is free for all where the port is not one below 1024 (check "privileged"), and
// where the machine's setting says that any user may take it, as in Docker's containers.
func TestTakeover(t *testing.T) {
	netns.Root(t)
	const open = "net.ipv4.ip_unprivileged_port_start=0"
	tests := []struct {
		name, mode string
		without    []string
		setting    string
		place      string
		taken      bool
	}{
		{"refused", "iptables", nil, "", backend, false},
		{"without privileged", "iptables", []string{"privileged"}, "", "127.0.0.1:8981", true},
		{"with the setting", "iptables", nil, open, backend, true},
		{"refused", "loopback", nil, "", endpoint, false},
		{"with the setting", "loopback", nil, open, endpoint, true},
	}
	for _, test := range tests {
		t.Run(test.mode+"/"+test.name, func(t *testing.T) {
			t.Parallel()
			s := &scene{t: t, ns: netns.New(t), mode: test.mode, user: owner}
			if test.setting != "" {
				s.ns.Run(t, "sysctl", "-q", "-w", test.setting)
			}
			s.start(test.without)
			if got := s.owner(); got != token {
				t.Errorf("the owner got %s", got)
			}
			s.killAll()
			thief, victim := s.puppet(stranger), s.puppet(owner)
			got := thief.do("listen", test.place)
			if test.taken {
				s.swindles(got, thief, victim)
			} else if asked := victim.ask(endpoint); got != noAccess || asked != refused {
				t.Errorf("another user who takes %s: %s; the owner then got %s", test.place, got, asked)
			}
			cleanup := exec.Command(filepath.Join(bin, "azimds"), "cleanup")
			cleanup.Env = agent.CleanEnv()
			if out, code := agent.Output(t, s.ns, cleanup); code != 0 {
				t.Errorf("cleanup ended with %d: %s", code, out)
			}
		})
	}
}

// swindles wants the owner to be answered by another user.
func (s *scene) swindles(listening string, thief, victim *puppet) {
	s.t.Helper()
	if listening != done {
		s.t.Fatalf("another user could not take the place: %s", listening)
	}
	victim.must("dial", endpoint)
	victim.must("request", "https://vault.azure.net")
	thief.must("answer", "swindle")
	if got := victim.do("read"); got != `answer "swindle"` {
		s.t.Errorf("the owner got %s", got)
	}
}

// killAll kills the agent's processes, none of which gets to see another's end.
func (s *scene) killAll() {
	s.t.Helper()
	family := s.agent.Family()
	if len(family) != 3 {
		s.t.Fatalf("the agent's processes: %v", family)
	}
	for _, pid := range family {
		stop(s.t, pid)
	}
	for _, pid := range family {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			s.t.Fatal(err)
		}
	}
	if err := s.agent.Wait(); err == nil {
		s.t.Error("the agent that was killed ended well")
	}
	for _, pid := range family {
		eventually(s.t, func() bool { // nobody waits for those that were not this test's children
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			return err != nil || strings.Contains(string(stat), ") Z ")
		})
	}
}
