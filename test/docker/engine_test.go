package docker

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestEngine: a container runs in the engine's own network and control group; nothing is left of either after the test, also of a
// container that still ran.
func TestEngine(t *testing.T) {
	before := remains(t)
	t.Run("", func(t *testing.T) {
		e := Start(t)
		e.Import("puppet", map[string]string{"/puppet": filepath.Join(bin, "puppet")}, `ENTRYPOINT ["/puppet"]`)
		id := e.Run("--interactive", "--network", "host", "puppet")
		e.Await(id, "{{.State.Status}}", "running")
		if got := e.Network(id).Inode(); got != e.NS.Inode() {
			t.Errorf("a container on the machine's network is in namespace %d, want %d", got, e.NS.Inode())
		}
		root, err := unified()
		if err != nil {
			t.Fatal(err)
		}
		if found := processes(filepath.Join(root, e.group, "containers", id)); found[e.PID(id)] != "/puppet " {
			t.Errorf("the container's control group has %v", found)
		}
	})
	if diff := cmp.Diff(before, remains(t)); diff != "" {
		t.Errorf("the engine has left something (-before +after):\n%s", diff)
	}
}

// remains is what an engine could leave behind: mounts and control groups, and folders of its own.
func remains(t *testing.T) map[string][]string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]string{}
	own := fmt.Sprintf("azimds-docker-%d-", os.Getpid())
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, own) {
			found["mounts"] = append(found["mounts"], line)
		}
	}
	for _, pattern := range []string{
		"/run/docker*", "/run/containerd*", "/etc/docker*", "/opt/containerd*", "/var/lib/docker*", "/var/lib/containerd*",
		"/sys/fs/cgroup/" + own + "*", "/sys/fs/cgroup/*/" + own + "*", filepath.Join(os.TempDir(), own+"*"),
	} {
		if found[pattern], err = filepath.Glob(pattern); err != nil {
			t.Fatal(err)
		}
	}
	return found
}
