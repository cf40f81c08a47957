package caller

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// maxRecent is how many processes are looked into first: those that clients were found in lately.
	maxRecent = 16
	// maxNumbers is how many of a process's descriptor numbers are tried first. The kernel gives the lowest that is free, so that a
	// program which connects again and again uses few.
	maxNumbers = 16
)

// Finder finds the process that has a socket open: a walk through /proc, for the audit and for what a socket alone does not
// tell. It begins with where it found the last ones, which makes the next connection of a program cost a few system calls. It is
// safe for concurrent use. [NewFinder] makes one.
type Finder struct {
	procRoot string

	mu     sync.Mutex
	recent []*openProcess // the latest first
}

// openProcess is a process whose folder in /proc is held open. The folder is of that process and no other, also when its number
// is given to another; when it has ended, nothing can be read there.
type openProcess struct {
	pid     int
	dir     *os.File
	numbers []string // of descriptors that were sockets of clients, the latest first
}

// NewFinder returns a Finder that has opened nothing yet. procRoot is where proc(5) is mounted.
func NewFinder(procRoot string) *Finder { return &Finder{procRoot: procRoot} }

// Close lets go of the processes.
func (f *Finder) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.recent {
		p.dir.Close()
	}
	f.recent = nil
}

// Find returns the first process that has the caller's socket open; ok is false where none was found. Without privilege the
// processes of other users, and those that are not dumpable (prctl(2)), cannot be looked into.
func (f *Finder) Find(c Caller) (found Process, ok bool) {
	if c.Inode == 0 {
		return Process{}, false
	}
	link := "socket:[" + strconv.FormatUint(c.Inode, 10) + "]"
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, p := range f.recent {
		if p.guess(link) {
			f.recent = slices.Insert(slices.Delete(f.recent, i, i+1), 0, p)
			return p.describe(), true
		}
	}
	for _, p := range slices.Clone(f.recent) { // in another descriptor than before
		if p.has(link) {
			return p.describe(), true
		}
	}
	pids, err := f.processes(c.UID)
	if err != nil {
		return Process{}, false
	}
	for _, pid := range pids {
		p, err := f.open(pid)
		if err != nil {
			continue // it has ended
		}
		if p.has(link) {
			f.remember(p)
			return p.describe(), true
		}
		p.dir.Close()
	}
	return Process{}, false
}

// processes lists who runs: first who has the uid, then the others, in each the latest numbers first.
func (f *Finder) processes(uid uint32) ([]int, error) {
	dir, err := os.Open(f.procRoot)
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	var own, others []int
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue // not a process
		}
		var st unix.Stat_t
		switch err := unix.Lstat(filepath.Join(f.procRoot, name), &st); {
		case err != nil:
		case st.Uid == uid:
			own = append(own, pid)
		default:
			others = append(others, pid)
		}
	}
	for _, list := range [][]int{own, others} {
		slices.SortFunc(list, func(a, b int) int { return b - a })
	}
	return append(own, others...), nil
}

func (f *Finder) open(pid int) (*openProcess, error) {
	dir, err := os.OpenFile(filepath.Join(f.procRoot, strconv.Itoa(pid)), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	return &openProcess{pid: pid, dir: dir}, nil
}

// remember keeps a process for the next search, in the place of the one that was found least lately.
func (f *Finder) remember(p *openProcess) {
	if len(f.recent) == maxRecent {
		f.recent[maxRecent-1].dir.Close()
		f.recent = f.recent[:maxRecent-1]
	}
	f.recent = slices.Insert(f.recent, 0, p)
}

// guess looks at the descriptors that were sockets of clients before.
func (p *openProcess) guess(link string) bool {
	for i, number := range p.numbers {
		if p.link("fd/"+number) == link {
			p.numbers = slices.Insert(slices.Delete(p.numbers, i, i+1), 0, number)
			return true
		}
	}
	return false
}

// has looks at all descriptors.
func (p *openProcess) has(link string) bool {
	fd, err := unix.Openat(int(p.dir.Fd()), "fd", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false // not to be looked into, or ended
	}
	dir := os.NewFile(uintptr(fd), "fd")
	defer dir.Close()
	numbers, err := dir.Readdirnames(-1)
	if err != nil {
		return false
	}
	for _, number := range slices.Backward(numbers) {
		if p.link("fd/"+number) != link {
			continue
		}
		if len(p.numbers) == maxNumbers {
			p.numbers = p.numbers[:maxNumbers-1]
		}
		p.numbers = slices.Insert(p.numbers, 0, number)
		return true
	}
	return false
}

// link is where a symbolic link of the process leads; "" where it cannot be read.
func (p *openProcess) link(name string) string {
	var buf [unix.PathMax]byte
	n, err := unix.Readlinkat(int(p.dir.Fd()), name, buf[:])
	if err != nil {
		return ""
	}
	return string(buf[:n])
}

// describe says what the process is now: it may have become another program since it was found last.
func (p *openProcess) describe() Process {
	d := Process{PID: p.pid, Executable: strings.TrimSuffix(p.link("exe"), " (deleted)")}
	fd, err := unix.Openat(int(p.dir.Fd()), "comm", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return d
	}
	var name [32]byte // comm has 16 at most
	n, err := unix.Read(fd, name[:])
	if err := errors.Join(err, unix.Close(fd)); err == nil && n > 0 {
		d.Command = strings.TrimSuffix(string(name[:n]), "\n")
	}
	return d
}
