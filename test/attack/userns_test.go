package attack

import (
	"os/exec"
	"syscall"
	"testing"

	"azimds/test/netns"
)

// TestUnmappedUser has the agent in a user namespace that has a number for root and one for the owner. All others are the overflow
// uid there, which stands for nobody in particular, and then for uid 0, which is not the owner.
func TestUnmappedUser(t *testing.T) {
	netns.Root(t)
	for _, mode := range []string{"iptables", "loopback"} {
		a := attack{
			name: "another user", mode: mode, user: owner, checks: []string{"unknown", "owner"}, alone: true, hidden: []string{"reject"},
			args:    []string{"--allow-relays", "*"}, // from in there nobody's program can be looked at
			prepare: func(s *scene) { s.mapped = true },
			attempt: func(s *scene) string { return s.puppet(stranger).ask(endpoint) },
		}
		if mode == "iptables" {
			a.hidden = nil
			a.open = func(s *scene) {
				s.link()
				redirectEverybody(s)
			}
		}
		a.run(t)
	}
}

// inUserNamespace makes cmd, an agent, start in namespaces of its own.
func (s *scene) inUserNamespace(cmd *exec.Cmd) {
	s.t.Helper()
	cmd.Args = append([]string{"sh", "-c", `ip link set lo up && exec "$@"`, "sh"}, cmd.Args...)
	cmd.Path = "/bin/sh"
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}, {ContainerID: owner, HostID: owner, Size: 1}}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: ids, GidMappings: ids, GidMappingsEnableSetgroups: true,
	}
}
