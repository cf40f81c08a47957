package holder

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"azimds/test/netns"

	"golang.org/x/sys/unix"
)

// locked locks the state of ns.
func locked(t *testing.T, ns *netns.NS) (*State, error) {
	t.Helper()
	var s *State
	err := ns.Do(func() (err error) {
		s, err = LockState()
		return err
	})
	return s, err
}

func TestLockStateIsExclusive(t *testing.T) {
	inNamespace(t, func(ns *netns.NS) {
		first, err := locked(t, ns)
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("%s/%d/default", runDir, ns.Inode()); first.Dir != want {
			t.Errorf("the folder is %q, want %q", first.Dir, want)
		}
		_, err = locked(t, ns)
		refused, ok := errors.AsType[*LockedError](err)
		if !ok || refused.PID != os.Getpid() || refused.Path() != first.lock.Name() {
			t.Errorf("the second got %v, want a LockedError of process %d", err, os.Getpid())
		}
		other := netns.New(t)
		elsewhere, err := locked(t, other)
		if err != nil {
			t.Errorf("in another namespace: %v", err)
		} else if err := elsewhere.Remove(); err != nil {
			t.Error(err)
		}
		if err := first.Release(); err != nil {
			t.Fatal(err)
		}
		again, err := locked(t, ns)
		if err != nil {
			t.Fatalf("after its release: %v", err)
		}
		if err := again.Remove(); err != nil {
			t.Error(err)
		}
	})
}

// The lock and the files beside it are not inherited, and root's umask keeps the owner from nothing.
func TestStateModes(t *testing.T) {
	inNamespace(t, func(ns *netns.NS) {
		defer syscall.Umask(syscall.Umask(0o077))
		s, err := locked(t, ns)
		if err != nil {
			t.Fatal(err)
		}
		owner := Owner{UID: 4242, GID: 4243}
		for _, network := range []string{"unix", "unixpacket"} {
			for range 2 { // the second takes the place of a dead one's
				ln, err := s.Listen(network, network, owner)
				if err != nil {
					t.Fatal(err)
				}
				defer ln.Close()
			}
		}
		if flags, err := unix.FcntlInt(s.lock.Fd(), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("the lock is inherited: flags %#x, %v", flags, err)
		}
		for path, want := range map[string]string{
			s.Dir:                              "drwxr-xr-x 0:0",
			filepath.Dir(s.Dir):                "drwxr-xr-x 0:0",
			filepath.Join(s.Dir, "unix"):       "Srw------- 4242:4243",
			filepath.Join(s.Dir, "unixpacket"): "Srw------- 4242:4243",
			filepath.Join(s.Dir, lockFile):     "-rw------- 0:0",
		} {
			info, err := os.Lstat(path)
			if err != nil {
				t.Error(err)
				continue
			}
			sys := info.Sys().(*syscall.Stat_t)
			if got := fmt.Sprintf("%s %d:%d", info.Mode(), sys.Uid, sys.Gid); got != want {
				t.Errorf("%s is %s, want %s", path, got, want)
			}
		}
		entries, err := os.ReadDir(s.Dir)
		if err != nil || len(entries) != 3 {
			t.Errorf("the folder has %v, %v, want 3 files", entries, err)
		}
		if err := s.Remove(); err != nil {
			t.Error(err)
		}
	})
}

// A symbolic link where the lock belongs is not followed.
func TestLockStateFollowsNoLink(t *testing.T) {
	inNamespace(t, func(ns *netns.NS) {
		dir := fmt.Sprintf("%s/%d/default", runDir, ns.Inode())
		if err := makeDir(dir); err != nil {
			t.Fatal(err)
		}
		target := filepath.Join(t.TempDir(), "target")
		if err := os.Symlink(target, filepath.Join(dir, lockFile)); err != nil {
			t.Fatal(err)
		}
		if _, err := locked(t, ns); !errors.Is(err, unix.ELOOP) {
			t.Errorf("LockState returned %v, want %v", err, unix.ELOOP)
		}
		if _, err := os.Lstat(target); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the link was followed: %v", err)
		}
		if err := removeState(dir); err != nil {
			t.Error(err)
		}
	})
}

// A lock file that was removed, and made anew by the next holder, is no longer ours to remove.
func TestStateOfTheNextHolderStays(t *testing.T) {
	inNamespace(t, func(ns *netns.NS) {
		first, err := locked(t, ns)
		if err != nil {
			t.Fatal(err)
		}
		if !first.ours() {
			t.Error("a lock just taken is not ours")
		}
		if err := removeState(first.Dir); err != nil {
			t.Fatal(err)
		}
		if first.ours() {
			t.Error("a lock without a name is ours")
		}
		next, err := locked(t, ns)
		if err != nil {
			t.Fatal(err)
		}
		if first.ours() {
			t.Error("the next holder's lock is ours")
		}
		if err := first.Remove(); err != nil {
			t.Error(err)
		}
		if !next.ours() {
			t.Error("the next holder's lock was removed")
		}
		if err := next.Remove(); err != nil {
			t.Error(err)
		}
	})
}

// Holders that start and stop at once never have the lock together, and none is turned away by a folder that vanishes.
func TestLockStateUnderContention(t *testing.T) {
	inNamespace(t, func(ns *netns.NS) {
		var held atomic.Int32
		var taken atomic.Int32
		var holders sync.WaitGroup
		for range 4 {
			holders.Go(func() {
				for range 100 {
					s, err := locked(t, ns)
					if _, busy := errors.AsType[*LockedError](err); busy {
						continue
					}
					if err != nil {
						t.Error(err)
						return
					}
					if n := held.Add(1); n != 1 {
						t.Errorf("%d have the lock", n)
					}
					taken.Add(1)
					held.Add(-1)
					if err := s.Remove(); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		holders.Wait()
		if taken.Load() == 0 {
			t.Error("nobody ever had the lock")
		}
	})
}

func TestRemoveStateLeavesTheRest(t *testing.T) {
	inNamespace(t, func(ns *netns.NS) {
		s, err := locked(t, ns)
		if err != nil {
			t.Fatal(err)
		}
		beside := filepath.Join(filepath.Dir(s.Dir), "beside")
		if err := os.WriteFile(beside, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := s.Remove(); err != nil {
			t.Errorf("beside something else: %v", err)
		}
		if _, err := os.Stat(beside); err != nil {
			t.Errorf("something else in the namespace's folder: %v", err)
		}
		if err := os.Remove(beside); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := removeState(s.Dir); err != nil {
				t.Errorf("what is not there is missed: %v", err)
			}
		}
		for _, dir := range []string{"/", "/run", runDir, runDir + "/1", runDir + "-other/1/default", t.TempDir()} {
			if err := removeState(dir); err == nil {
				t.Errorf("%s was removed", dir)
			}
		}
	})
}

func TestReadPID(t *testing.T) {
	for text, want := range map[string]int{
		"4711\n": 4711, "4711": 4711, "": 0, "x\n": 0, "-4\n": 0,
		"99999999999999999999999999999999999999999999999": 0,
	} {
		path := filepath.Join(t.TempDir(), "lock")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := readPID(f); got != want {
			t.Errorf("%q names process %d, want %d", text, got, want)
		}
		f.Close()
	}
}

// The state's paths are those of the thread's namespace.
func TestPaths(t *testing.T) {
	ns := netns.New(t)
	err := ns.Do(func() error {
		for want, path := range map[string]func() (string, error){
			"default": Dir, "default/control.sock": func() (string, error) { return ControlSocket(1, 2) }, "default/holder.sock": AttachSocket,
		} {
			got, err := path()
			if err != nil {
				return err
			}
			if want = fmt.Sprintf("%s/%d/%s", runDir, ns.Inode(), want); got != want {
				t.Errorf("path %q, want %q", got, want)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// What is open in a holder is not inherited by what it starts.
func TestNothingIsInherited(t *testing.T) {
	inNamespace(t, func(ns *netns.NS) {
		h := startHold(t, ns, options(t, "janitor"))
		s := attach(t, h.socket)
		s.send(Message{Kind: KindHello})
		s.check()
		links, err := filepath.Glob("/proc/self/fd/*")
		if err != nil {
			t.Fatal(err)
		}
		for _, link := range links {
			var fd int
			if _, err := fmt.Sscanf(filepath.Base(link), "%d", &fd); err != nil || fd < 3 {
				continue
			}
			target, err := os.Readlink(link)
			if err != nil {
				continue // it was the folder's own
			}
			if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 && !inheritedHere[fd] {
				t.Errorf("file %d, %s, is inherited", fd, target)
			}
		}
		s.send(Message{Kind: KindStop})
		s.receive(KindStopped)
		s.leave()
		if err := h.stop(); err != nil {
			t.Error(err)
		}
	})
}

// inheritedHere are the files that this process itself was started with.
var inheritedHere = func() map[int]bool {
	fds := map[int]bool{}
	for fd := 3; fd < 1024; fd++ {
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			fds[fd] = true
		}
	}
	return fds
}()
