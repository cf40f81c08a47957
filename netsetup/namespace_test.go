package netsetup

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"azimds/test/netns"

	"golang.org/x/sys/unix"
)

// onHost makes every namespace the host's for the time of a test.
func onHost(t *testing.T) {
	t.Helper()
	before := hostNamespace
	hostNamespace = func() (bool, error) { return true, nil }
	t.Cleanup(func() { hostNamespace = before })
}

// A namespace that a test made is not the host's, whoever looks.
func TestElsewhere(t *testing.T) {
	ns := netns.New(t)
	for _, uid := range []int{os.Getuid(), strangersUID} {
		do(t, ns, func() error {
			if _, err := unix.SetfsuidRetUid(uid); err != nil { // of this thread, which ends with the function
				return err
			}
			if host, err := hostNamespace(); host || err != nil {
				t.Errorf("uid %d: hostNamespace = %v, %v, want false", uid, host, err)
			}
			return nil
		})
	}
}

// initPIDNamespace is PROC_PID_INIT_INO in the kernel's include/linux/proc_ns.h: where it is ours, pid 1 is the host's.
const initPIDNamespace = "pid:[4026531836]"

// Where pid 1 can be looked at and is the host's own init, it says the same.
func TestHostNamespaceIsInits(t *testing.T) {
	host, err := hostNamespace()
	if err != nil {
		t.Fatal(err)
	}
	pids, errPIDs := os.Readlink("/proc/thread-self/ns/pid")
	own, errOwn := os.Readlink("/proc/thread-self/ns/net")
	inits, errInits := os.Readlink("/proc/1/ns/net") // not for everybody, nor for root everywhere
	t.Logf("hostNamespace = %v; pid namespace %s, own %s, init's %s: %v", host, pids, own, inits, errors.Join(errPIDs, errOwn, errInits))
	if pids == initPIDNamespace && errInits == nil && host != (own == inits) {
		t.Errorf("hostNamespace = %v, want %v", host, !host)
	}
}

func TestHasSysctl(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "there")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	missing, unknown := filepath.Join(dir, "missing"), filepath.Join(file, "below a file")
	tests := []struct {
		name         string
		every, hosts string
		want, fails  bool
	}{
		{"host", file, file, true, false},
		{"elsewhere", file, missing, false, false},
		{"no /proc", missing, missing, true, true},
		{"cannot be told", file, unknown, true, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := hasSysctl(tt.every, tt.hosts)
			if got != tt.want || (err != nil) != tt.fails {
				t.Errorf("hasSysctl = %v, %v", got, err)
			}
		})
	}
}
