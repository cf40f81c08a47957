package attack

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"azimds/test/agent"
	"azimds/test/netns"
)

// The containers of these tests, by their ids.
var (
	containerID = strings.Repeat("c0ffee51", 8)
	anotherID   = strings.Repeat("5eed1234", 8)
)

// TestContainers are processes in the control group that a container engine makes, in the network namespace of the agent
// (docker run --network host): with the owner's uid, and as root where root is allowed.
func TestContainers(t *testing.T) {
	netns.Root(t)
	asRoot := []string{"--allow-users", "root"}
	tests := []struct {
		name  string
		uid   uint32
		group string   // below the hierarchy's root
		args  []string // of the agent
		named string   // in --allow-containers
	}{
		{"with the owner's uid", owner, "docker-" + containerID + ".scope", nil, "*"},
		{"with the owner's uid, by id", owner, "docker-" + containerID + ".scope", nil, containerID[:12]},
		{"as root", root, "docker-" + containerID + ".scope", asRoot, "*"},
		{"in a group of its own", owner, "docker-" + containerID + ".scope/init/user.slice", nil, "*"},
		{"of Podman", owner, "user.slice/libpod-" + containerID + ".scope/container", nil, "*"},
		{"of Docker without systemd", root, "docker/" + containerID, asRoot, "*"},
	}
	for _, mode := range []string{"iptables", "loopback"} {
		for i, test := range tests {
			if mode == "iptables" && i > 2 {
				break // which names there are is the same in each mode
			}
			attack{
				name: test.name, mode: mode, user: owner, args: test.args, checks: []string{"container"},
				named:   []string{"--allow-containers", test.named},
				allowed: func(s *scene) string { return s.puppet(test.uid).ask(endpoint) },
				attempt: func(s *scene) string { return s.contained(test.uid, test.group).ask(endpoint) },
			}.run(t)
		}
	}
}

// TestContainerPosesAsAnother has a container that has control groups of its own name one of them as that of a container which is
// allowed.
func TestContainerPosesAsAnother(t *testing.T) {
	netns.Root(t)
	allowed, poses := "docker-"+containerID+".scope", "docker-"+anotherID+".scope/docker-"+containerID+".scope"
	attack{
		name: "nested", mode: "loopback", user: owner, args: []string{"--allow-containers", containerID}, checks: []string{"container"},
		allowed: func(s *scene) string { return s.contained(owner, allowed).ask(endpoint) },
		attempt: func(s *scene) string { return s.contained(owner, poses).ask(endpoint) },
	}.run(t)
}

// groups counts the parents of control groups that tests have made.
var groups atomic.Int64

// contained is a puppet in a control group. The group is in one of this test's, so that tests do not meet.
func (s *scene) contained(uid uint32, group string) *puppet {
	s.t.Helper()
	hierarchy := hierarchy(s.t)
	top := filepath.Join(hierarchy, fmt.Sprintf("azimds-attack-%d-%d", os.Getpid(), groups.Add(1)))
	dir := filepath.Join(top, group)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		for ; dir != hierarchy; dir = filepath.Dir(dir) {
			if err := removeGroup(dir); err != nil {
				s.t.Error(err)
			}
		}
	})
	at, err := os.Open(dir)
	if err != nil {
		s.t.Fatal(err)
	}
	defer at.Close()
	cmd := agent.As(s.t, uid, exec.Command(filepath.Join(bin, "puppet")))
	cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(at.Fd())
	return startPuppet(s.t, s.ns, cmd)
}

// removeGroup removes a group, which the kernel says is busy as long as what was in it has not quite gone.
func removeGroup(dir string) error {
	err := os.Remove(dir)
	for deadline := time.Now().Add(agent.Patience); errors.Is(err, unix.EBUSY) && time.Now().Before(deadline); {
		err = os.Remove(dir)
	}
	return err
}

// hierarchy is where control groups of version 2 are mounted.
func hierarchy(t testing.TB) string {
	t.Helper()
	for _, dir := range []string{"/sys/fs/cgroup/unified", "/sys/fs/cgroup"} {
		var fs unix.Statfs_t
		if err := unix.Statfs(dir, &fs); err == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC {
			return dir
		}
	}
	netns.Need(t, "a hierarchy of control groups of version 2", os.ErrNotExist)
	return ""
}
