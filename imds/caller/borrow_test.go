package caller

import (
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"azimds/test/netns"
)

// socketHolder starts a process that has a socket open which nobody else has, and returns its pid and the socket's inode.
func socketHolder(t *testing.T, uid uint32) (pid int, inode uint64) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), "socket")
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	cat := exec.Command("cat")
	cat.ExtraFiles = []*os.File{file}
	cat.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	stdin, err := cat.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cat.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		if err := cat.Wait(); err != nil {
			t.Error(err)
		}
	})
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	return cat.Process.Pid, st.Ino
}

// withoutPtrace calls f on a thread whose root has what an engine gives to root in a container by default: not CAP_SYS_PTRACE.
func withoutPtrace(t *testing.T, f func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with this goroutine
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var sets [2]unix.CapUserData
		err := unix.Capget(&header, &sets[0])
		if err == nil {
			sets[0].Effective &^= 1 << unix.CAP_SYS_PTRACE
			sets[0].Permitted &^= 1 << unix.CAP_SYS_PTRACE
			err = unix.Capset(&header, &sets[0])
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// Root that may not ptrace, as in a container, finds a socket of a process of another user, as that user. One of a process that has
// more privilege than itself it does not find, so that its own is less here; root that may ptrace finds both.
func TestFindWithoutPtrace(t *testing.T) {
	netns.Root(t)
	const user = 4242
	other, othersSocket := socketHolder(t, user)
	root, rootsSocket := socketHolder(t, 0)
	f := NewFinder("/proc")
	defer f.Close()
	find := func(uid uint32, inode uint64, pid int) {
		t.Helper()
		for range 2 { // by a walk, and by memory
			if got, ok := f.Find(Caller{UID: uid, Inode: inode}); got.PID != pid || ok != (pid != 0) || ok && got.Executable == "" {
				t.Errorf("found %+v, want process %d", got, pid)
			}
		}
	}
	inTree := func(inode uint64, want bool) {
		t.Helper()
		pid, ok, err := InTree("/proc", inode, os.Getpid())
		if ok != want || ok != (err == nil) {
			t.Errorf("in the tree: %t, process %d, %v; want %t", ok, pid, err, want)
		}
	}
	withoutPtrace(t, func() {
		inTree(othersSocket, true)
		inTree(rootsSocket, false)
		find(user, othersSocket, other)
		find(0, rootsSocket, 0)
	})
	inTree(rootsSocket, true)
	find(0, rootsSocket, root)
	find(user, othersSocket, other)
}

// A process that has taken on another user's ids gives them back.
func TestIDsAreGivenBack(t *testing.T) {
	netns.Root(t)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	within := -1
	if err := withIDs(4242, 4243, func() { within, _ = unix.SetfsuidRetUid(-1) }); err != nil {
		t.Fatal(err)
	}
	uid, _ := unix.SetfsuidRetUid(-1)
	gid, _ := unix.SetfsgidRetGid(-1)
	if within != 4242 || uid != 0 || gid != 0 {
		t.Errorf("filesystem ids: uid %d meanwhile, %d and gid %d afterwards", within, uid, gid)
	}
}
