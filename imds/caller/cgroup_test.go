package caller

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"azimds/test/netns"
)

// mountedProc writes a /proc with the mounts given.
func mountedProc(t *testing.T, mounts, cgroup string) string {
	t.Helper()
	proc := t.TempDir()
	if err := os.Mkdir(filepath.Join(proc, "self"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"mounts": mounts, "cgroup": cgroup} {
		if err := os.WriteFile(filepath.Join(proc, "self", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return proc
}

func openCgroups(t *testing.T, proc string) *Cgroups {
	t.Helper()
	g, err := OpenCgroups(proc)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// inodeOf is a folder's number, as that of a control group is its id.
func inodeOf(t *testing.T, path string) uint64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Ino
}

func TestCgroupPath(t *testing.T) {
	root := filepath.Join(t.TempDir(), "c group")
	if err := os.MkdirAll(filepath.Join(root, "system.slice", "a.service"), 0o755); err != nil {
		t.Fatal(err)
	}
	escaped := filepath.Join(filepath.Dir(root), `c\040group`)
	g := openCgroups(t, mountedProc(t, "proc /proc proc rw 0 0\ncgroup2 "+escaped+" cgroup2 rw 0 0\n", "1:name=systemd:/x\n0::/system.slice/a.service\n"))
	now := time.Unix(1000, 0)
	g.now = func() time.Time { return now }
	for _, path := range []string{"", "system.slice", "system.slice/a.service"} {
		if got, ok := g.Path(inodeOf(t, filepath.Join(root, path))); got != path || !ok {
			t.Errorf("Path = %q, %t; want %q", got, ok, path)
		}
	}
	if _, ok := g.Path(0); ok {
		t.Error("the id that the kernel did not tell has a path")
	}

	late := filepath.Join(root, "late.scope")
	if err := os.Mkdir(late, 0o755); err != nil {
		t.Fatal(err)
	}
	if got, ok := g.Path(inodeOf(t, late)); got != "late.scope" || !ok {
		t.Errorf("a group made later: Path = %q, %t", got, ok)
	}

	// One that is not there is looked for again only after a while.
	hidden := filepath.Join(filepath.Dir(root), "hidden")
	if err := os.Mkdir(hidden, 0o755); err != nil {
		t.Fatal(err)
	}
	id := inodeOf(t, hidden)
	if _, ok := g.Path(id); ok {
		t.Error("a folder elsewhere has a path")
	}
	if err := os.Rename(hidden, filepath.Join(root, "shown")); err != nil {
		t.Fatal(err)
	}
	if _, ok := g.Path(id); ok {
		t.Error("the hierarchy was searched again at once")
	}
	now = now.Add(absent)
	if got, ok := g.Path(id); got != "shown" || !ok {
		t.Errorf("after a while: Path = %q, %t", got, ok)
	}
}

// A user who makes more groups than are remembered hides nobody's behind them.
func TestCgroupBeyondMemory(t *testing.T) {
	root := t.TempDir()
	for i := range maxGroups {
		if err := os.Mkdir(filepath.Join(root, strconv.Itoa(i)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	last := filepath.Join(root, "user.slice")
	if err := os.Mkdir(last, 0o755); err != nil {
		t.Fatal(err)
	}
	g := openCgroups(t, mountedProc(t, "cgroup2 "+root+" cgroup2 rw 0 0\n", ""))
	if got, ok := g.Path(inodeOf(t, last)); got != "user.slice" || !ok {
		t.Errorf("Path = %q, %t", got, ok)
	}
}

// A group that is remembered is found while somebody searches for another.
func TestCgroupWhileSearching(t *testing.T) {
	root := t.TempDir()
	g := openCgroups(t, mountedProc(t, "cgroup2 "+root+" cgroup2 rw 0 0\n", ""))
	id := inodeOf(t, root)
	g.Path(id)
	g.searching.Lock()
	defer g.searching.Unlock()
	if got, ok := g.Path(id); got != "" || !ok { // hangs where it waits
		t.Errorf("Path = %q, %t", got, ok)
	}
}

// Whose a group may be says the first one above it that is not root's: what is below, that user has made or could have.
func TestMadeBy(t *testing.T) {
	netns.Root(t)
	root := t.TempDir()
	for _, dir := range []struct {
		path string
		uid  int
	}{
		{"system.slice", 0}, {"system.slice/docker-x.scope", 0}, {"system.slice/docker-x.scope/docker", 65533},
		{"user.slice", 0}, {"user.slice/user@1001.service", 1001}, {"user.slice/user@1001.service/docker", 1001},
		{"user.slice/user@1001.service/docker/web", 0},
	} {
		path := filepath.Join(root, dir.path)
		if err := errors.Join(os.Mkdir(path, 0o755), os.Chown(path, dir.uid, 0)); err != nil {
			t.Fatal(err)
		}
	}
	g := openCgroups(t, mountedProc(t, "cgroup2 "+root+" cgroup2 rw 0 0\n", ""))
	for path, want := range map[string]uint32{
		"system.slice": 0, "system.slice/docker-x.scope": 0, "system.slice/docker-x.scope/docker": 0,
		"system.slice/docker-x.scope/docker/web": 65533, "user.slice/user@1001.service": 0,
		"user.slice/user@1001.service/docker": 1001, "user.slice/user@1001.service/docker/web": 1001,
	} {
		if got, err := g.MadeBy(path); got != want || err != nil {
			t.Errorf("MadeBy(%q) = %d, %v; want %d", path, got, err, want)
		}
	}
	if _, err := g.MadeBy("user.slice/gone/web"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("MadeBy below a group that is not there: %v", err)
	}
}

func TestCgroupDoubt(t *testing.T) {
	tests := map[string]string{
		"cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n":                                                             "",
		"cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n":            "control groups of version 1 are in use beside version 2",
		"tmpfs /sys/fs/cgroup tmpfs rw 0 0\n":                                                                 "no cgroup2 file system is mounted",
		"cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\n":                                                           "no cgroup2 file system is mounted",
		"overlay / overlay rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 ro 0 0\ncgroup2 /other cgroup2 rw 0 0\nx\n": "",
	}
	for mounts, want := range tests {
		if got := openCgroups(t, mountedProc(t, mounts, "")).Doubt(); got != want {
			t.Errorf("with mounts %q: doubt %q, want %q", mounts, got, want)
		}
	}
}

func TestOwnCgroup(t *testing.T) {
	for text, want := range map[string]string{
		"0::/system.slice/a.service\n":                  "system.slice/a.service",
		"0::/\n":                                        "",
		"4:cpu:/docker/x\n0::/docker/y\n":               "docker/y",
		"4:cpu:/docker/x\n1:name=systemd:/init.scope\n": "",
	} {
		proc := mountedProc(t, "", text)
		if got, err := openCgroups(t, proc).Own(proc); got != want || err != nil {
			t.Errorf("Own of %q = %q, %v; want %q", text, got, err, want)
		}
	}
}

// The id that sock_diag tells of a socket leads to the path of the group that its process is in.
func TestResolvedCgroupHasItsPath(t *testing.T) {
	root := cgroup2(t)
	dir, err := os.MkdirTemp(root, "azimds-test-")
	netns.Need(t, "a control group of one's own", err)
	t.Cleanup(func() {
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z := newZone(t)
	client := start(t, z.NS, &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(f.Fd())}, "dial", imds.String())
	defer client.end()
	who, err := z.Resolve(remote(z.accept(t)), imds)
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := openCgroups(t, "/proc").Path(who.Cgroup); got != filepath.Base(dir) || !ok {
		t.Errorf("Path(%d) = %q, %t; want %q", who.Cgroup, got, ok, filepath.Base(dir))
	}
}
