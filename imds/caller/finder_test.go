package caller

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// populate writes processes with their sockets into a /proc.
func populate(t *testing.T, proc string, pid int, exe string, sockets map[string]uint64) {
	t.Helper()
	dir := filepath.Join(proc, strconv.Itoa(pid))
	if err := os.MkdirAll(filepath.Join(dir, "fd"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "comm"), []byte(filepath.Base(exe)+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(exe, filepath.Join(dir, "exe")); err != nil && !os.IsExist(err) {
		t.Fatal(err)
	}
	for fd, inode := range sockets {
		link := filepath.Join(dir, "fd", fd)
		if err := os.Remove(link); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if err := os.Symlink(fmt.Sprintf("socket:[%d]", inode), link); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFind(t *testing.T) {
	proc := t.TempDir()
	populate(t, proc, 1, "/sbin/init", nil)
	populate(t, proc, 20, "/usr/bin/curl", map[string]uint64{"0": 5, "7": 70})
	populate(t, proc, 300, "/usr/bin/python3 (deleted)", map[string]uint64{"3": 71})
	f := NewFinder(proc)
	defer f.Close()
	find := func(inode uint64, want Process) {
		t.Helper()
		got, ok := f.Find(Caller{UID: uint32(os.Getuid()), Inode: inode})
		if got != want || ok != (want != Process{}) {
			t.Errorf("Find(%d) = %+v, %t; want %+v", inode, got, ok, want)
		}
	}
	curl := Process{PID: 20, Executable: "/usr/bin/curl"}
	python := Process{PID: 300, Executable: "/usr/bin/python3"}
	for range 2 { // found by a walk, then by memory
		find(70, curl)
		find(71, python)
		find(72, Process{})
		find(0, Process{})
	}
	populate(t, proc, 20, "/usr/bin/curl", map[string]uint64{"7": 73, "8": 74})
	find(73, curl) // the same number again
	find(74, curl) // another one of a process that is known
	find(70, Process{})
	populate(t, proc, 20, "/usr/bin/curl", map[string]uint64{"9": 76})
	find(76, curl) // the next one up

	// Its number is another process's now: nothing of the old one counts.
	if err := os.RemoveAll(filepath.Join(proc, "20")); err != nil {
		t.Fatal(err)
	}
	populate(t, proc, 20, "/usr/bin/slirp4netns", map[string]uint64{"7": 75})
	find(75, Process{PID: 20, Executable: "/usr/bin/slirp4netns"})
}

// A process that becomes another program is that program, with the descriptors that it had.
func TestFindAfterExec(t *testing.T) {
	proc := t.TempDir()
	populate(t, proc, 20, "/bin/sh", map[string]uint64{"7": 70})
	f := NewFinder(proc)
	defer f.Close()
	c := Caller{UID: uint32(os.Getuid()), Inode: 70}
	if got, _ := f.Find(c); got.Executable != "/bin/sh" {
		t.Errorf("found %+v", got)
	}
	if err := os.Remove(filepath.Join(proc, "20", "exe")); err != nil {
		t.Fatal(err)
	}
	populate(t, proc, 20, "/usr/bin/pasta", nil)
	if got, _ := f.Find(c); got.Relay() != "pasta" {
		t.Errorf("found %+v", got)
	}
}

// What is known is what was found or learnt: never by a walk, and nothing that has the socket no more.
func TestKnown(t *testing.T) {
	proc := t.TempDir()
	populate(t, proc, 20, "/usr/bin/curl", map[string]uint64{"7": 70})
	f := NewFinder(proc)
	defer f.Close()
	c := Caller{UID: uint32(os.Getuid()), Inode: 70}
	known := func(want int) {
		t.Helper()
		if got, ok := f.Known(c); got.PID != want || ok != (want != 0) {
			t.Errorf("Known(%d) = %+v, %t; want process %d", c.Inode, got, ok, want)
		}
	}
	known(0)
	f.Learn(c, 21) // no process
	f.Learn(Caller{UID: c.UID, Inode: 71}, 20)
	known(0)
	f.Learn(c, 20)
	f.Learn(c, 20)
	known(20)
	if len(f.recent) != 1 {
		t.Errorf("%d processes are remembered, want 1", len(f.recent))
	}
	populate(t, proc, 20, "/usr/bin/curl", map[string]uint64{"7": 72})
	known(0)
	c.Inode = 0
	known(0)
}

// A process whose executable cannot be read is called what it calls itself.
func TestFindWithoutExecutable(t *testing.T) {
	proc := t.TempDir()
	populate(t, proc, 20, "/usr/bin/pasta", map[string]uint64{"7": 70})
	if err := os.Remove(filepath.Join(proc, "20", "exe")); err != nil {
		t.Fatal(err)
	}
	f := NewFinder(proc)
	defer f.Close()
	if got, ok := f.Find(Caller{UID: uint32(os.Getuid()), Inode: 70}); got != (Process{PID: 20, Command: "pasta"}) || !ok {
		t.Errorf("found %+v, %t", got, ok)
	}
}

// More processes than are remembered are all found, whatever was found last.
func TestFindForgets(t *testing.T) {
	proc := t.TempDir()
	f := NewFinder(proc)
	defer f.Close()
	for pid := 2; pid < 3*maxRecent; pid++ {
		populate(t, proc, pid, "/bin/p", map[string]uint64{"3": uint64(1000 + pid)})
	}
	for range 2 {
		for pid := 2; pid < 3*maxRecent; pid++ {
			if got, ok := f.Find(Caller{UID: uint32(os.Getuid()), Inode: uint64(1000 + pid)}); got.PID != pid || !ok {
				t.Errorf("found %+v, want process %d", got, pid)
			}
		}
	}
	if len(f.recent) != maxRecent {
		t.Errorf("%d processes are remembered, want %d", len(f.recent), maxRecent)
	}
}

// A real client, in another process, is found by the socket that the kernel names.
func TestFindRealClient(t *testing.T) {
	z := newZone(t)
	client := start(t, z.NS, nil, "dial", imds.String())
	who, err := z.Resolve(remote(z.accept(t)), imds)
	if err != nil {
		t.Fatal(err)
	}
	f := NewFinder("/proc")
	defer f.Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		got, ok := f.Find(who)
		if got.PID != client.cmd.Process.Pid || got.Executable != self || !ok {
			t.Errorf("Find = %+v, %t; want process %d, %s", got, ok, client.cmd.Process.Pid, self)
		}
	}
}
