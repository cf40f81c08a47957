// Package netns gives a test a Linux network namespace of its own, made and removed by the test itself, so that nothing
// a test binds, dials or reroutes ever leaves it.
//
// A namespace is entered per operating system thread (setns(2)), so work inside one runs through [NS.Do]; a process
// started there stays there for its life.
package netns

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// reexecuted marks the second life of a test binary that Main restarted inside a user namespace.
const reexecuted = "AZIMDS_TEST_USERNS"

// NS is one network namespace with its loopback device up and nothing else in it.
type NS struct {
	file *os.File
}

// Main runs a package's tests. Without root it runs them again inside a user namespace that maps the caller to root, so
// that [New] works there too; one uid is mapped, so a test that needs two asks [Root].
func Main(m *testing.M) int {
	if os.Geteuid() == 0 || os.Getenv(reexecuted) != "" {
		return m.Run()
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), reexecuted+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	default: // no user namespaces here: each test says so through Need
		return m.Run()
	}
}

// Need skips the test on a developer's machine when err is not nil, and fails it where CI is set: there, what is missing
// is a defect of the machine's set-up and not a reason to test less.
func Need(t testing.TB, what string, err error) {
	t.Helper()
	switch {
	case err == nil:
	case os.Getenv("CI") != "":
		t.Fatalf("%s is needed and CI is set: %v", what, err)
	default:
		note(fmt.Sprintf("%s: %s is needed: %v\n", t.Name(), what, err))
		t.Skipf("%s is needed: %v", what, err)
	}
}

// Skips names a file to which every skipped test adds a line with its reason: go test shows none unless asked for all.
const Skips = "AZIMDSTEST_SKIPS"

func note(line string) {
	path := os.Getenv(Skips)
	if path == "" {
		return
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		fmt.Fprintln(os.Stderr, "noting a skipped test:", err)
		return
	}
	defer f.Close()
	if _, err := f.WriteString(line); err != nil {
		fmt.Fprintln(os.Stderr, "noting a skipped test:", err)
	}
}

// Root needs a real root that can take on any uid.
func Root(t testing.TB) {
	t.Helper()
	var err error
	if os.Geteuid() != 0 || os.Getenv(reexecuted) != "" {
		err = errors.New("run the tests as root")
	}
	Need(t, "root with more than one uid", err)
}

// New makes a namespace, brings its loopback device up and removes it when the test ends.
func New(t testing.TB) *NS {
	t.Helper()
	ns, err := open()
	Need(t, "a network namespace", err)
	t.Cleanup(func() { ns.file.Close() })
	return ns
}

// Of is the namespace that a process is in.
func Of(t testing.TB, pid int) *NS {
	t.Helper()
	file, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		t.Fatalf("opening a process's network namespace: %v", err)
	}
	t.Cleanup(func() { file.Close() })
	return &NS{file}
}

// Inode is the namespace's number, as /proc/PID/ns/net shows it.
func (ns *NS) Inode() uint64 {
	var st unix.Stat_t
	if err := unix.Fstat(int(ns.file.Fd()), &st); err != nil {
		return 0
	}
	return st.Ino
}

// Do runs f on a thread inside the namespace and waits for it. Sockets that f opens and processes that it starts belong
// to the namespace; a goroutine that f starts does not.
func (ns *NS) Do(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := unix.Setns(int(ns.file.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("entering the network namespace: %w", err)
			return
		}
		done <- f()
	}()
	return <-done
}

// Start starts cmd inside the namespace.
func (ns *NS) Start(cmd *exec.Cmd) error { return ns.Do(cmd.Start) }

// Run runs a command inside the namespace and returns what it printed.
func (ns *NS) Run(t testing.TB, name string, args ...string) string {
	t.Helper()
	var out []byte
	err := ns.Do(func() (err error) {
		out, err = exec.Command(name, args...).CombinedOutput()
		return err
	})
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func open() (*NS, error) {
	type result struct {
		ns  *NS
		err error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread is in the new namespace and ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- result{err: fmt.Errorf("unsharing the network namespace: %w", err)}
			return
		}
		file, err := os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
		if err == nil {
			err = loopbackUp()
		}
		done <- result{&NS{file}, err}
	}()
	r := <-done
	return r.ns, r.err
}

// loopbackUp does what "ip link set lo up" does in the calling thread's namespace.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening a control socket: %w", err)
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("naming device %q: %w", "lo", err)
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fmt.Errorf("bringing device %q up: %w", "lo", err)
	}
	return nil
}
