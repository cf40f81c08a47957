package caller

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// maxRecent is how many processes are looked into first: those that clients were found in lately.
	maxRecent = 16
	// maxSockets is how many of a process's descriptors are tried first. The kernel gives the lowest number that is free, so that
	// a program which connects again and again uses few.
	maxSockets = 16
)

// Finder finds the process that has a socket open: a walk through /proc, for the audit and for what a socket alone does not
// tell. It begins with where it found the last ones, which makes the next connection of a program cost a few system calls. It is
// safe for concurrent use. [NewFinder] makes one.
type Finder struct {
	procRoot string

	mu     sync.Mutex
	recent []*openProcess     // the latest first
	path   [unix.PathMax]byte // of an executable: not on the stack of each connection, which would keep that size
}

// openProcess is a process whose folder in /proc is held open, once it is looked into. The folder is of that process and no
// other, also when its number is given to another; when it has ended, nothing can be read there.
type openProcess struct {
	pid     int
	uid     uint32 // when it was found, as gid
	gid     uint32
	borrow  bool     // it is looked at with its own ids
	dir     int      // file descriptor
	sockets []string // descriptors that were sockets of clients, such as "fd/7", the latest first
}

// NewFinder returns a Finder that has opened nothing yet. procRoot is where proc(5) is mounted.
func NewFinder(procRoot string) *Finder { return &Finder{procRoot: procRoot} }

// Close lets go of the processes.
func (f *Finder) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.recent {
		p.close()
	}
	f.recent = nil
}

// Find returns the first process that has the caller's socket open; ok is false where none was found. Without privilege the
// processes of other users, and those that have more privilege or are not dumpable (prctl(2)), cannot be looked into.
func (f *Finder) Find(c Caller) (found Process, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if found, ok = f.known(c); ok || c.Inode == 0 {
		return found, ok
	}
	return f.walk(socketLink(c), c.UID)
}

// Known is Find among the processes that were found lately, which takes a few system calls and no walk.
func (f *Finder) Known(c Caller) (found Process, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.known(c)
}

// Learn has Known know the process with this number, if it has the caller's socket open and can be looked into.
func (f *Finder) Learn(c Caller, pid int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, _ = f.look(&openProcess{pid: pid, uid: c.UID}, socketLink(c))
}

func socketLink(c Caller) string { return "socket:[" + strconv.FormatUint(c.Inode, 10) + "]" }

func (f *Finder) known(c Caller) (Process, bool) {
	if c.Inode == 0 {
		return Process{}, false
	}
	link := socketLink(c)
	for i, p := range f.recent {
		if p.as(func() bool { return p.guess(link) }) {
			f.recent = slices.Insert(slices.Delete(f.recent, i, i+1), 0, p)
			return f.describe(p), true
		}
	}
	for _, p := range f.recent { // in another descriptor than before
		if p.uid == c.UID && p.has(link) {
			return f.describe(p), true
		}
	}
	return Process{}, false
}

// walk looks into all processes: first into those that have the uid, then into the others, in each the latest number first. A
// program that has just started is found at once.
func (f *Finder) walk(link string, uid uint32) (Process, bool) {
	pids, err := f.processes()
	if err != nil {
		return Process{}, false
	}
	var others []*openProcess
	for _, pid := range pids {
		var st unix.Stat_t
		err := unix.Lstat(f.folder(pid), &st)
		switch p := (&openProcess{pid: pid, uid: st.Uid, gid: st.Gid}); {
		case err != nil: // it has ended
		case st.Uid != uid:
			others = append(others, p)
		default:
			if found, ok := f.look(p, link); ok {
				return found, true
			}
		}
	}
	for _, p := range others {
		if found, ok := f.look(p, link); ok {
			return found, true
		}
	}
	return Process{}, false
}

// look looks into one process, and remembers it where it is the one.
func (f *Finder) look(p *openProcess, link string) (Process, bool) {
	var err error
	p.dir, err = unix.Open(f.folder(p.pid), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return Process{}, false // it has ended
	}
	if !p.has(link) {
		p.close()
		return Process{}, false
	}
	found := f.describe(p)
	f.remember(p)
	return found, true
}

// processes lists who runs, the latest numbers first.
func (f *Finder) processes() ([]int, error) {
	dir, err := os.Open(f.procRoot)
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	pids := make([]int, 0, len(names))
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil { // others are no process
			pids = append(pids, pid)
		}
	}
	slices.SortFunc(pids, func(a, b int) int { return b - a })
	return pids, nil
}

func (f *Finder) folder(pid int) string { return f.procRoot + "/" + strconv.Itoa(pid) }

// remember keeps a process for the next search, in the place of the one that was found least lately.
func (f *Finder) remember(p *openProcess) {
	same := func(r *openProcess) bool { return r.pid == p.pid }
	if i := slices.IndexFunc(f.recent, same); i >= 0 { // it has ended, or changed its user
		f.recent[i].close()
		f.recent = slices.Delete(f.recent, i, i+1)
	}
	if len(f.recent) == maxRecent {
		f.recent[maxRecent-1].close()
		f.recent = f.recent[:maxRecent-1]
	}
	f.recent = slices.Insert(f.recent, 0, p)
}

func (p *openProcess) close() { _ = unix.Close(p.dir) } // nothing was written

// guess looks at the descriptors that were sockets of clients before, and at the one above the latest: a program that keeps its
// connections opens one after another.
func (p *openProcess) guess(link string) bool {
	for i, socket := range p.sockets {
		if p.leads(socket, link) == nil {
			p.sockets = slices.Insert(slices.Delete(p.sockets, i, i+1), 0, socket)
			return true
		}
	}
	if len(p.sockets) == 0 {
		return false
	}
	latest, err := strconv.Atoi(strings.TrimPrefix(p.sockets[0], "fd/"))
	if err != nil {
		return false
	}
	next := "fd/" + strconv.Itoa(latest+1)
	if p.leads(next, link) != nil {
		return false
	}
	p.keep(next)
	return true
}

// as calls f, with the process's own ids where it cannot be looked at without.
func (p *openProcess) as(f func() bool) (ok bool) {
	if !p.borrow {
		return f()
	}
	err := withIDs(p.uid, p.gid, func() { ok = f() })
	return ok && err == nil
}

// has looks at all descriptors.
func (p *openProcess) has(link string) bool {
	var err error
	look := func() (ok bool) {
		ok, err = p.hasOpen(link)
		return ok
	}
	if p.as(look) {
		return true
	}
	if p.borrow || !mayBorrow(err) {
		return false
	}
	p.borrow = true
	return p.as(look)
}

// hasOpen is has as the thread is; the error is that of a process that is not to be looked into, or has ended.
func (p *openProcess) hasOpen(link string) (bool, error) {
	fd, err := unix.Openat(p.dir, "fd", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, err
	}
	dir := os.NewFile(uintptr(fd), "fd")
	defer dir.Close()
	numbers, err := dir.Readdirnames(-1)
	if err != nil {
		return false, err
	}
	for _, number := range slices.Backward(numbers) {
		socket := "fd/" + number
		switch err := p.leads(socket, link); {
		case err == nil:
			p.keep(socket)
			return true, nil
		case errors.Is(err, unix.EACCES):
			return false, err
		}
	}
	return false, nil
}

// keep remembers a descriptor as the latest.
func (p *openProcess) keep(socket string) {
	if len(p.sockets) == maxSockets {
		p.sockets = p.sockets[:maxSockets-1]
	}
	p.sockets = slices.Insert(p.sockets, 0, socket)
}

// errOther says that a symbolic link is another one.
var errOther = errors.New("another link")

// leads returns nil where a symbolic link of the process is this one, [errOther] where it is not, and the kernel's error.
func (p *openProcess) leads(name, link string) error {
	var buf [64]byte // a socket's link is shorter
	n, err := unix.Readlinkat(p.dir, name, buf[:])
	if err == nil && string(buf[:n]) != link {
		err = errOther
	}
	return err
}

// describe says what the process is now: it may have become another program since it was found last.
func (f *Finder) describe(p *openProcess) Process {
	found := Process{PID: p.pid}
	p.as(func() bool {
		if n, err := unix.Readlinkat(p.dir, "exe", f.path[:]); err == nil && n > 0 {
			found.Executable = strings.TrimSuffix(string(f.path[:n]), " (deleted)")
		}
		return true
	})
	if found.Executable == "" {
		found.Command = p.command()
	}
	return found
}

// command is the name that the process has given itself; "" where it cannot be read.
func (p *openProcess) command() string {
	fd, err := unix.Openat(p.dir, "comm", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	var name [32]byte // comm has 16 at most
	n, err := unix.Read(fd, name[:])
	if err := errors.Join(err, unix.Close(fd)); err != nil || n <= 0 {
		return ""
	}
	return strings.TrimSuffix(string(name[:n]), "\n")
}
