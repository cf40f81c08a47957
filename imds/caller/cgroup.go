package caller

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// absent is how long the id of a control group that is not there is remembered: a client whose group is out of sight cannot
// have the hierarchy searched for each of its connections.
const absent = 2 * time.Second

// maxGroups bounds what is remembered. A machine has some hundreds of groups; those that are gone are forgotten with the rest.
const maxGroups = 16 << 10

// Cgroups finds the paths of control groups of version 2 by their ids, which sock_diag tells of a socket: an id is the inode
// number of the group's directory (cgroup_id in the kernel). It is safe for concurrent use. [OpenCgroups] makes one.
type Cgroups struct {
	root  string // where the hierarchy is mounted; "" for nowhere
	alone bool   // there is no other hierarchy
	now   func() time.Time

	searching sync.Mutex // held by who searches; who finds an id in memory does not wait

	mu    sync.Mutex
	paths map[uint64]string
	gone  map[uint64]time.Time
}

// OpenCgroups looks where this process has the hierarchy mounted. procRoot is where proc(5) is.
func OpenCgroups(procRoot string) (*Cgroups, error) {
	mounts, err := os.ReadFile(filepath.Join(procRoot, "self/mounts"))
	if err != nil {
		return nil, fmt.Errorf("looking for control groups: %w", err)
	}
	g := &Cgroups{alone: true, now: time.Now, paths: map[uint64]string{}, gone: map[uint64]time.Time{}}
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line) // device, mount point, type, …: fstab(5)
		switch {
		case len(f) < 3:
		case f[2] == "cgroup":
			g.alone = false
		case f[2] == "cgroup2" && g.root == "":
			g.root = unescape.Replace(f[1])
		}
	}
	return g, nil
}

// unescape reads a mount point as getmntent(3) does.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// Doubt says why a container's process cannot be told from others by its control group; "" where it can.
func (g *Cgroups) Doubt() string {
	switch {
	case g.root == "":
		return "no cgroup2 file system is mounted"
	case !g.alone:
		return "control groups of version 1 are in use beside version 2"
	}
	return ""
}

// Path is the path of a group below the root of the hierarchy, without a leading slash; "" is the root itself. ok is false for a
// group that is not in sight: outside the control group namespace of this process (cgroup_namespaces(7)), or no more.
func (g *Cgroups) Path(id uint64) (path string, ok bool) {
	if g.root == "" || id == 0 {
		return "", false
	}
	if path, ok, known := g.remembered(id); known {
		return path, ok
	}
	g.searching.Lock()
	defer g.searching.Unlock()
	if path, ok, known := g.remembered(id); known { // whoever searched meanwhile has seen it
		return path, ok
	}
	paths := g.search(id)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.paths = paths
	if path, ok = paths[id]; !ok {
		if len(g.gone) >= maxGroups {
			clear(g.gone)
		}
		g.gone[id] = g.now()
	}
	return path, ok
}

// Remembered is Path where the last search has left it; it reads no file and does not wait for a search.
func (g *Cgroups) Remembered(id uint64) (path string, ok bool) {
	path, ok, _ = g.remembered(id)
	return path, ok
}

// remembered is what the last search has left of an id; known is false where there has to be another.
func (g *Cgroups) remembered(id uint64) (path string, ok, known bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if path, ok := g.paths[id]; ok {
		return path, true, true
	}
	now := g.now()
	since, missed := g.gone[id]
	return "", false, missed && now.Sub(since) < absent && !now.Before(since)
}

// search reads the whole hierarchy: what is new is mostly more than one group. An id is never used again while the machine
// runs, but a group may be gone, so that what was known before is forgotten. The group that is looked for is found also where a
// user has made more groups than are remembered.
func (g *Cgroups) search(id uint64) map[uint64]string {
	paths := map[uint64]string{}
	_ = filepath.WalkDir(g.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV) || err == nil {
				return nil // it went while it was being read
			}
			return fs.SkipDir // what is below it is not in sight
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil || len(paths) >= maxGroups && st.Ino != id {
			return nil //nolint:nilerr // likewise
		}
		relative, err := filepath.Rel(g.root, path)
		if err == nil && relative == "." {
			relative = ""
		}
		paths[st.Ino] = relative
		return nil
	})
	return paths
}

// MadeBy is who else than root could have made a group, given by its path: the owner of the outermost group above it that is not
// root's own, such as one that systemd has delegated to a user; 0 where there is none. Users name the groups below such a one as
// they like.
func (g *Cgroups) MadeBy(path string) (uid uint32, err error) {
	parts := strings.Split(path, "/")
	for i := range parts[1:] {
		above := filepath.Join(append([]string{g.root}, parts[:i+1]...)...)
		var st unix.Stat_t
		if err := unix.Lstat(above, &st); err != nil {
			return 0, fmt.Errorf("looking for the owner of control group %q: %w", above, err)
		}
		if st.Uid != 0 {
			return st.Uid, nil
		}
	}
	return 0, nil
}

// Own is the path of the control group that this process is in, as the hierarchy's own paths are.
func (g *Cgroups) Own(procRoot string) (string, error) {
	text, err := os.ReadFile(filepath.Join(procRoot, "self/cgroup"))
	if err != nil {
		return "", fmt.Errorf("reading this process's control group: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if path, ok := strings.CutPrefix(line, "0::/"); ok { // version 2, cgroups(7)
			return strings.TrimSuffix(path, "\n"), nil
		}
	}
	return "", nil
}
