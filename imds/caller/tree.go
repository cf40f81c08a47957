package caller

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

// treePasses is how often a tree is looked through before a process that ended meanwhile stops being a reason to look
// again.
const treePasses = 3

// InTree says whether the socket with this inode is open in process root or one that descends from it, and in which.
// Processes in except and what descends from them alone are left out. procRoot is where proc(5) is mounted.
//
// Descent is what /proc/PID/stat says now: an orphan has moved to init, or to an ancestor that is a child subreaper
// (prctl(2)), so root should be one; it then adopts orphans from below except, too. A thread with a descriptor table of
// its own is not seen.
//
// It is not an error that root has ended, or that the socket is open nowhere in the tree. It is one that the socket was
// not found while the descriptors of a process in the tree could not be read, such as those of another uid.
func InTree(procRoot string, inode uint64, root int, except ...int) (pid int, ok bool, err error) {
	if inode == 0 { // a socket that no process has open
		return 0, false, nil
	}
	link := "socket:[" + strconv.FormatUint(inode, 10) + "]"
	for range treePasses {
		var changed bool
		pid, changed, err = findInTree(procRoot, link, root, except)
		if pid != 0 {
			return pid, true, nil
		}
		if !changed {
			break
		}
	}
	return 0, false, err
}

// Descends says whether process pid is root or descends from it, and not through a process in except. procRoot is where
// proc(5) is mounted. A process that has ended descends from nobody.
func Descends(procRoot string, pid, root int, except ...int) (bool, error) {
	processes, _, err := readProcesses(procRoot)
	if err != nil {
		return false, err
	}
	return slices.Contains(descendants(processes, root, except), pid), nil
}

// Ancestors lists process pid and what it descends from, the nearest first. What cannot be read ends the list. procRoot is where
// proc(5) is mounted.
func Ancestors(procRoot string, pid int) []int {
	var list []int
	for pid > 0 && !slices.Contains(list, pid) { // a number may have become another process's meanwhile
		list = append(list, pid)
		stat, err := os.ReadFile(filepath.Join(procRoot, strconv.Itoa(pid), "stat"))
		if err != nil {
			break
		}
		p, err := parseStat(stat)
		if err != nil {
			break
		}
		pid = p.parent
	}
	return list
}

// findInTree looks once; pid 0 is no process. changed says that processes came or went meanwhile, so that one in the tree
// may have been missed.
func findInTree(procRoot, link string, root int, except []int) (pid int, changed bool, err error) {
	processes, changed, err := readProcesses(procRoot)
	if err != nil {
		return 0, false, err
	}
	var unread []error
	for _, pid := range descendants(processes, root, except) {
		if processes[pid].zombie {
			continue
		}
		open, err := hasOpen(procRoot, pid, link)
		if mayBorrow(err) {
			open, err = borrowOpen(procRoot, pid, link)
		}
		switch {
		case open:
			return pid, false, nil
		case gone(err):
			changed = true
		case err != nil:
			unread = append(unread, err)
		}
	}
	return 0, changed, errors.Join(unread...)
}

// readProcesses reads what is running, by pid. changed says that a process ended while being read.
func readProcesses(procRoot string) (processes map[int]process, changed bool, err error) {
	dir, err := os.Open(procRoot)
	if err != nil {
		return nil, false, fmt.Errorf("listing processes: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, false, fmt.Errorf("listing processes in %q: %w", procRoot, err)
	}
	processes = make(map[int]process, len(names))
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue // not a process
		}
		stat, err := os.ReadFile(filepath.Join(procRoot, name, "stat"))
		if gone(err) {
			changed = true
			continue
		}
		if err != nil {
			return nil, false, fmt.Errorf("reading process %d: %w", pid, err)
		}
		if processes[pid], err = parseStat(stat); err != nil {
			return nil, false, fmt.Errorf("reading process %d: %w", pid, err)
		}
	}
	return processes, changed, nil
}

// process is what the tree needs of /proc/PID/stat.
type process struct {
	parent int
	zombie bool // its descriptors are closed, and not listable without privilege
}

// parseStat reads the state and the parent's pid out of /proc/PID/stat:
//
//	4711 (comm) S 42 …
//
// comm is the program's own choice and may hold spaces, parentheses and newlines; no later field does, so that its end is
// the last parenthesis.
func parseStat(stat []byte) (process, error) {
	end := bytes.LastIndexByte(stat, ')')
	fields := bytes.Fields(stat[end+1:])
	if end < 0 || len(fields) < 2 || len(fields[0]) != 1 {
		return process{}, fmt.Errorf("parsing process status %q: no state and parent after a name", stat)
	}
	parent, err := strconv.ParseUint(string(fields[1]), 10, 31)
	if err != nil {
		return process{}, fmt.Errorf("parsing process status %q: %w", stat, err)
	}
	return process{parent: int(parent), zombie: fields[0][0] == 'Z'}, nil
}

// descendants lists root and what descends from it, parents first, without except and what descends through it.
func descendants(processes map[int]process, root int, except []int) []int {
	if _, alive := processes[root]; !alive {
		return nil
	}
	children := make(map[int][]int, len(processes))
	for pid, p := range processes {
		children[p.parent] = append(children[p.parent], pid)
	}
	left := make(map[int]bool, len(except)) // out, or in the list already
	for _, pid := range except {
		left[pid] = true
	}
	if left[root] {
		return nil
	}
	left[root] = true
	tree := []int{root}
	for i := 0; i < len(tree); i++ {
		for _, pid := range children[tree[i]] {
			if !left[pid] {
				left[pid] = true
				tree = append(tree, pid)
			}
		}
	}
	return tree
}

// hasOpen says whether one of the process's descriptors is this link's.
func hasOpen(procRoot string, pid int, link string) (bool, error) {
	path := filepath.Join(procRoot, strconv.Itoa(pid), "fd")
	dir, err := os.Open(path)
	if err != nil {
		return false, fmt.Errorf("listing descriptors: %w", err)
	}
	defer dir.Close()
	fds, err := dir.Readdirnames(-1)
	if err != nil {
		return false, fmt.Errorf("listing descriptors of process %d: %w", pid, err)
	}
	for _, fd := range fds {
		target, err := os.Readlink(filepath.Join(path, fd))
		switch {
		case gone(err): // closed meanwhile
		case err != nil:
			return false, fmt.Errorf("reading a descriptor: %w", err)
		case target == link:
			return true, nil
		}
	}
	return false, nil
}

// borrowOpen is hasOpen with the process's own ids.
func borrowOpen(procRoot string, pid int, link string) (open bool, err error) {
	var st syscall.Stat_t
	if err := syscall.Lstat(filepath.Join(procRoot, strconv.Itoa(pid)), &st); err != nil {
		return false, fmt.Errorf("reading whose process %d is: %w", pid, err)
	}
	borrowed := withIDs(st.Uid, st.Gid, func() { open, err = hasOpen(procRoot, pid, link) })
	return open && borrowed == nil, errors.Join(err, borrowed)
}

// gone says that a process, or a descriptor of one, ended while it was being read.
func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) }
