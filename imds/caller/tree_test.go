package caller

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"azimds/test/netns"
)

// fakeProc is a directory like /proc.
type fakeProc struct {
	t   *testing.T
	dir string
}

func newFakeProc(t *testing.T) fakeProc {
	t.Helper()
	p := fakeProc{t, t.TempDir()}
	for _, name := range []string{"sys", "self"} {
		if err := os.Mkdir(filepath.Join(p.dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// add adds a process in state S that has these descriptors, by what they link to.
func (p fakeProc) add(pid, parent int, comm string, fds ...string) {
	p.t.Helper()
	p.addStat(pid, fmt.Sprintf("%d (%s) S %d %d 0 -1\n", pid, comm, parent, pid), fds...)
}

// addStat adds a process whose status line this is.
func (p fakeProc) addStat(pid int, stat string, fds ...string) {
	p.t.Helper()
	dir := filepath.Join(p.dir, strconv.Itoa(pid))
	err := os.MkdirAll(filepath.Join(dir, "fd"), 0o700)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "stat"), []byte(stat), 0o600)
	}
	for fd, target := range fds {
		err = errors.Join(err, os.Symlink(target, filepath.Join(dir, "fd", strconv.Itoa(fd))))
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

func TestAncestors(t *testing.T) {
	p := newFakeProc(t)
	p.add(1, 0, "init")
	p.add(50, 1, "azimds exec")
	p.add(60, 50, "sh)")
	p.add(70, 71, "one of a circle")
	p.add(71, 70, "the other")
	for pid, want := range map[int][]int{60: {60, 50, 1}, 1: {1}, 70: {70, 71}, 99: {99}, 0: nil} {
		if got := Ancestors(p.dir, pid); !slices.Equal(got, want) {
			t.Errorf("the ancestors of %d are %v, want %v", pid, got, want)
		}
	}
}

func TestInTree(t *testing.T) {
	p := newFakeProc(t)
	p.add(1, 0, "init", "/dev/null", "socket:[10]")
	p.add(50, 1, "azimds exec", "socket:[50]")
	p.add(51, 50, "azimds serve", "socket:[51]")
	p.add(52, 51, "az", "/dev/null", "socket:[52]")
	p.add(60, 50, "sh", "/dev/null", "pipe:[600]", "socket:[60]", "socket:[99]")
	p.add(61, 60, ") R 1 (", "anon_inode:[eventpoll]", "socket:[61]")
	p.add(62, 61, "a b) S 1", "socket:[620]", "socket:[6]")
	p.add(70, 1, "sh", "socket:[70]", "socket:[99]")
	p.addStat(80, "80 (gone) Z 60 80\n", "socket:[80]")
	p.add(81, 80, "thread's child", "socket:[81]")
	const self, serve = 50, 51

	tests := []struct {
		name   string
		inode  uint64
		root   int
		except []int
		pid    int
	}{
		{"root", 50, self, nil, 50},
		{"child", 60, self, nil, 60},
		{"grandchild whose name looks like fields", 61, self, nil, 61},
		{"descendant of such a name", 6, self, nil, 62},
		{"part of a number", 62, self, nil, 0},
		{"parent", 10, self, nil, 0},
		{"sibling", 70, self, nil, 0},
		{"held by a descendant and by others", 99, self, nil, 60},
		{"a pipe of that number", 600, self, nil, 0},
		{"nowhere", 1234, self, nil, 0},
		{"no inode", 0, self, nil, 0},
		{"inside the part left out, without leaving it out", 52, self, nil, 52},
		{"left out", 51, self, []int{serve}, 0},
		{"below what is left out", 52, self, []int{serve}, 0},
		{"beside what is left out", 6, self, []int{serve}, 62},
		{"root left out", 60, self, []int{self}, 0},
		{"a process that is not there left out", 60, self, []int{4}, 60},
		{"root not there", 60, 4, nil, 0},
		{"below init", 70, 1, []int{self}, 70},
		{"zombie", 80, self, nil, 0},
		{"below a zombie", 81, self, nil, 81},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			pid, ok, err := InTree(p.dir, tt.inode, tt.root, tt.except...)
			if pid != tt.pid || ok != (tt.pid != 0) || err != nil {
				t.Errorf("InTree = %d, %t, %v; want %d", pid, ok, err, tt.pid)
			}
		})
	}
}

func TestInTreeErrors(t *testing.T) {
	t.Run("no proc", func(t *testing.T) {
		if pid, ok, err := InTree(filepath.Join(t.TempDir(), "absent"), 1, 1); ok || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("InTree = %d, %t, %v; want %v", pid, ok, err, fs.ErrNotExist)
		}
	})
	t.Run("status nobody writes", func(t *testing.T) {
		p := newFakeProc(t)
		p.addStat(7, "7 sh S 1")
		if pid, ok, err := InTree(p.dir, 1, 7); ok || err == nil {
			t.Errorf("InTree = %d, %t, %v", pid, ok, err)
		}
	})
	t.Run("a process ended meanwhile", func(t *testing.T) {
		p := newFakeProc(t)
		p.add(7, 1, "sh", "socket:[1]")
		p.add(8, 7, "sh", "socket:[2]")
		if err := errors.Join(os.Remove(filepath.Join(p.dir, "8", "stat")), os.RemoveAll(filepath.Join(p.dir, "7", "fd"))); err != nil {
			t.Fatal(err)
		}
		if pid, ok, err := InTree(p.dir, 2, 7); ok || err != nil {
			t.Errorf("InTree = %d, %t, %v; want none", pid, ok, err)
		}
	})
	t.Run("a circle", func(t *testing.T) { // as when pids are reused between two reads
		p := newFakeProc(t)
		p.add(7, 8, "sh", "socket:[1]")
		p.add(8, 7, "sh", "socket:[2]")
		if pid, ok, err := InTree(p.dir, 2, 7); pid != 8 || !ok || err != nil {
			t.Errorf("InTree = %d, %t, %v; want 8", pid, ok, err)
		}
		if pid, ok, err := InTree(p.dir, 3, 7); ok || err != nil {
			t.Errorf("InTree = %d, %t, %v; want none", pid, ok, err)
		}
	})
	t.Run("descriptors that are none", func(t *testing.T) {
		p := newFakeProc(t)
		p.add(7, 1, "sh")
		if err := os.WriteFile(filepath.Join(p.dir, "7", "fd", "0"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if pid, ok, err := InTree(p.dir, 2, 7); ok || err == nil {
			t.Errorf("InTree = %d, %t, %v", pid, ok, err)
		}
	})
}

// The kernel's own /proc: a client two generations down, in the tree of its ancestors and in no other.
func TestInTreeOfRealProcesses(t *testing.T) {
	z := newZone(t)
	parent := start(t, z.NS, nil, "parent", imds.String())
	beside := start(t, z.NS, nil, "listen", imds.Addr().String()+":0")
	got, err := z.Resolve(remote(z.accept(t)), imds)
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(parent.line) // what the client printed, and its pid
	want, err := strconv.Atoi(fields[len(fields)-1])
	if err != nil {
		t.Fatal(err)
	}

	for _, root := range []int{os.Getpid(), parent.cmd.Process.Pid, want} {
		if pid, ok, err := InTree("/proc", got.Inode, root, beside.cmd.Process.Pid); pid != want || !ok || err != nil {
			t.Errorf("below process %d: %d, %t, %v; want %d", root, pid, ok, err, want)
		}
	}
	if pid, ok, err := InTree("/proc", got.Inode, beside.cmd.Process.Pid); ok || err != nil {
		t.Errorf("below a process beside: %d, %t, %v", pid, ok, err)
	}
	if pid, ok, err := InTree("/proc", got.Inode, os.Getpid(), parent.cmd.Process.Pid); ok || err != nil {
		t.Errorf("below a process that is left out: %d, %t, %v", pid, ok, err)
	}
}

// Another uid's descriptors cannot be read: that is said, and what can be read is found all the same.
func TestInTreeUnreadable(t *testing.T) {
	netns.Root(t)
	z := newZone(t)
	parent := start(t, z.NS, nil, "parent", imds.String())
	conn := z.accept(t)
	got, err := z.Resolve(remote(conn), imds)
	if err != nil {
		t.Fatal(err)
	}
	root := strconv.Itoa(parent.cmd.Process.Pid)
	answer := start(t, z.NS, as(server), "intree", strconv.FormatUint(got.Inode, 10), root).line
	if !strings.HasPrefix(answer, "0 false ") || !strings.Contains(answer, syscall.EACCES.Error()) {
		t.Errorf("uid %d is told %q, want %v", server, answer, syscall.EACCES)
	}
}

func TestParseStat(t *testing.T) {
	tests := []struct {
		stat string
		want process
		ok   bool
	}{
		{"1 (systemd) S 0 1 1 0 -1 4194560\n", process{parent: 0}, true},
		{"7 () R 3 7", process{parent: 3}, true},
		{"7 (a (b) c) D 3 7", process{parent: 3}, true},
		{"7 (\n) Z 9 () Z 3 7", process{parent: 3, zombie: true}, true},
		{"7 ()) S 1 (x) S 2147483647", process{parent: 2147483647}, true},
		{"", process{}, false},
		{"7 (sh", process{}, false},
		{"7 (sh)", process{}, false},
		{"7 (sh) S", process{}, false},
		{"7 (sh) S -1 7", process{}, false},
		{"7 (sh) S 2147483648 7", process{}, false},
		{"7 (sh) 33 7", process{}, false},
	}
	for _, tt := range tests {
		if got, err := parseStat([]byte(tt.stat)); got != tt.want || (err == nil) != tt.ok {
			t.Errorf("parseStat(%q) = %+v, %v; want %+v, ok %t", tt.stat, got, err, tt.want, tt.ok)
		}
	}
}

func TestDescendantsParentsFirst(t *testing.T) {
	processes := map[int]process{1: {parent: 0}, 9: {parent: 1}, 3: {parent: 9}, 5: {parent: 3}, 2: {parent: 1}, 4: {parent: 2}}
	if got, want := descendants(processes, 9, nil), []int{9, 3, 5}; !slices.Equal(got, want) {
		t.Errorf("descendants = %v, want %v", got, want)
	}
}
