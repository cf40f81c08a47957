package attack

import (
	"testing"

	"azimds/test/netns"
)

// TestLocalUsers are other users of the machine, in each way to be one.
//
// In mode iptables the kernel redirects nobody but the owner, and who is not redirected finds a closed port. There a rule of
// somebody else's redirects everybody, so that it is seen what the server does by itself.
func TestLocalUsers(t *testing.T) {
	netns.Root(t)
	ways := []struct {
		name    string
		uid     uint32
		address string
		by      []string
	}{
		{"another user", stranger, endpoint, nil},
		{"root", root, endpoint, nil},
		{"through an IPv6 socket", stranger, endpoint6, nil},
		{"as root of a user namespace", stranger, endpoint, []string{"unshare", "--user", "--map-root-user"}},
	}
	for _, mode := range []string{"iptables", "loopback"} {
		for _, w := range ways {
			dial := func(s *scene, uid uint32) string { return s.puppet(uid, w.by...).ask(w.address) }
			a := attack{
				name: w.name, mode: mode, user: owner, checks: []string{"owner"}, hidden: []string{"reject"},
				allowed: func(s *scene) string { return dial(s, owner) },
				attempt: func(s *scene) string { return dial(s, w.uid) },
			}
			if mode == "iptables" {
				a.hidden = nil
				a.prepare = (*scene).link
				a.open = redirectEverybody
			}
			a.run(t)
		}
	}
}

// redirectEverybody makes the endpoint routable for all, and leads all who dial it to the agent's listener.
func redirectEverybody(s *scene) {
	s.ns.Run(s.t, "ip", "route", "add", "169.254.169.254", "dev", "lan")
	s.ns.Run(s.t, "iptables", "-t", "nat", "-A", "OUTPUT", "-d", "169.254.169.254", "-p", "tcp", "--dport", "80",
		"-j", "REDIRECT", "--to-ports", "981")
}

// TestLocalUsersUnaided wants other users to find a closed port, or no network at all, where nobody has changed anything.
func TestLocalUsersUnaided(t *testing.T) {
	netns.Root(t)
	for _, mode := range []string{"iptables", "loopback"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			s := &scene{t: t, ns: netns.New(t), mode: mode, user: owner}
			s.start(nil)
			for range 2 {
				if got := s.owner(); got != token {
					t.Errorf("the owner got %s", got)
				}
				for _, uid := range []uint32{stranger, root} {
					if got := s.puppet(uid).ask(endpoint); !gotNothing(got) {
						t.Errorf("uid %d got %s", uid, got)
					}
				}
			}
			s.agent.Stop()
		})
	}
}

// TestBackendPort dials where the listener of mode iptables is, and not the endpoint. One rule of the filter table refuses that;
// the server would refuse what did not dial the endpoint, and a stranger for who it is. Besides, the holder
// tells of no program that did not dial the endpoint, and who is not found may be a relay.
func TestBackendPort(t *testing.T) {
	netns.Root(t)
	attack{
		name: "of the owner", mode: "iptables", user: owner, checks: []string{"reject", "dialed", "client"}, alone: true,
		attempt: func(s *scene) string { return s.puppet(owner).ask(backend) },
	}.run(t)
	attack{
		name: "of another user", mode: "iptables", user: owner, checks: []string{"reject", "dialed", "owner", "client"}, alone: true,
		attempt: func(s *scene) string { return s.puppet(stranger).ask(backend) },
	}.run(t)
}
