package attack

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"azimds/test/agent"
	"azimds/test/netns"
)

// sought is what a client asks for that is dead by the time it is accepted. The log tells whether a token was made out, in the name
// of somebody else: nobody is left to take it.
const sought = "https://attacker.example/"

// frozen stops the server while f makes connections, which then wait in the listener's queue, and lets it go on.
func (s *scene) frozen(f func()) {
	s.t.Helper()
	s.without("server", f)
}

// without stops one of the agent's processes while f runs, and lets it go on.
func (s *scene) without(process string, f func()) {
	s.t.Helper()
	pid, ok := s.agent.Family()[process]
	if !ok {
		s.t.Fatalf("there is no %s\n%s", process, s.agent.Said)
	}
	stop(s.t, pid)
	defer syscall.Kill(pid, syscall.SIGCONT)
	f()
}

// stop stops a process, and returns when each thread of it has stopped.
func stop(t testing.TB, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatalf("stopping process %d: %v", pid, err)
	}
	eventually(t, func() bool {
		tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		for _, task := range tasks {
			stat, readErr := os.ReadFile(task)
			_, state, _ := strings.Cut(string(stat), ") ")
			if readErr != nil || !strings.HasPrefix(state, "T") {
				return false
			}
		}
		return err == nil && len(tasks) > 0
	})
}

// eventually waits until something holds of which nobody tells.
func eventually(t testing.TB, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(agent.Patience); !holds(); {
		if time.Now().After(deadline) {
			t.Fatal("it does not come to pass")
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// decided waits until the agent has refused the client at a port, or has answered what it sought, and says which. Somebody else
// has got the same before.
func (s *scene) decided(port string) string {
	s.t.Helper()
	outcome := ""
	eventually(s.t, func() bool {
		said := s.agent.Said.String()
		switch {
		case strings.Count(said, "resource="+sought+port) == 2:
			outcome = token
		case strings.Contains(said, ":"+port+" "):
			outcome = reset
		}
		return outcome != ""
	})
	return outcome
}

// awaitTimeWait waits until the server's kernel has acknowledged the end of a client's connection: of the socket, only what the
// kernel keeps for TIME_WAIT is left then (tcp_time_wait, in the substate FIN_WAIT2 as long as the server does not close).
func (s *scene) awaitTimeWait(port string) {
	s.t.Helper()
	eventually(s.t, func() bool {
		return strings.HasPrefix(s.ns.Run(s.t, "ss", "-Htan", "sport = :"+port), "FIN-WAIT-2")
	})
}

// TestDead are connections of another user's that wait until their client is gone. Who is asked for the client's socket then gets
// that of nobody, which is uid 0's, or of whoever has come to the port since. In each case that is somebody who is allowed. A
// client that is gone has no program either, which may then be a relay.
func TestDead(t *testing.T) {
	netns.Root(t)
	tests := []struct {
		name     string
		user     uint32 // whom the agent is for
		checks   []string
		then     []string // what the client does after its request
		timeWait bool     // and that its socket is in TIME_WAIT then
		heir     string   // what the agent's owner does then, with the client's port
	}{
		{"closed", owner, []string{"inode", "owner", "relay"}, []string{"drop"}, false, ""},
		{"in TIME_WAIT", root, []string{"inode", "relay"}, []string{"drop"}, true, ""},
		{"in TIME_WAIT, its port listened on", root, []string{"inode", "relay"}, []string{"drop"}, true, "listen 0.0.0.0:"},
		{"reset", root, []string{"unknown", "relay"}, []string{"reset"}, false, ""},
		{"reset, its port listened on", owner, []string{"socket", "alive"}, []string{"reset"}, false, "listen 0.0.0.0:"},
		{"reset, its port used again", owner, []string{"alive"}, []string{"reset"}, false, "dial " + endpoint + " "},
	}
	for _, test := range tests {
		attack{
			name: test.name, mode: "loopback", user: test.user, checks: test.checks, alone: true, hidden: []string{"reject"},
			attempt: func(s *scene) string {
				port := s.freshPort()
				dead, heir := s.puppet(stranger), s.puppet(s.user)
				heir.must("dial", endpoint)
				heir.must("request", sought+port)
				if got := heir.do("read"); got != token {
					s.t.Fatalf("who is allowed got %s", got)
				}
				s.frozen(func() {
					dead.must("dial", endpoint, port)
					dead.must("request", sought+port)
					for _, step := range test.then {
						dead.must(step)
					}
					if test.timeWait {
						s.awaitTimeWait(port)
					}
					if test.heir != "" {
						heir.must(test.heir + port)
					}
				})
				outcome := s.decided(port)
				if strings.HasPrefix(test.heir, "dial") { // whose connection is good
					heir.must("request", "https://vault.azure.net")
					if got := heir.do("read"); got != token {
						s.t.Errorf("who came to the port got %s", got)
					}
				}
				return outcome
			},
		}.run(t)
	}
}

// TestHalfClosed has clients that send no more before they are accepted. That is no way to be somebody else, and no reason to
// refuse who is allowed. The agent has the token already: for one that it would have to get first, a client that sends no more
// counts as gone.
func TestHalfClosed(t *testing.T) {
	netns.Root(t)
	halfClosed := func(s *scene, uid uint32) string {
		client := s.puppet(uid)
		if got := s.owner(); got != token {
			s.t.Errorf("who is allowed got %s", got)
		}
		s.frozen(func() {
			client.must("dial", endpoint)
			client.must("request", "https://vault.azure.net")
			client.must("shut")
		})
		return client.do("read")
	}
	for _, mode := range []string{"iptables", "loopback"} {
		a := attack{
			name: "another user", mode: mode, user: owner, checks: []string{"owner"}, hidden: []string{"reject"},
			allowed: func(s *scene) string { return halfClosed(s, owner) },
			attempt: func(s *scene) string { return halfClosed(s, stranger) },
		}
		if mode == "iptables" {
			a.hidden, a.prepare, a.open = nil, (*scene).link, redirectEverybody
		}
		a.run(t)
	}
}
