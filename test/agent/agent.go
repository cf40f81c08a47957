// Package agent runs "azimds run" and its clients for tests, in network namespaces of their own and as users that nobody on the
// machine is.
package agent

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"azimds/test/netns"
)

// Patience bounds every wait for something that must happen; nothing is measured by it.
const Patience = 60 * time.Second

// Agent is a running "azimds run".
type Agent struct {
	Cmd   *exec.Cmd
	Said  *Text         // standard output and standard error
	Ended chan struct{} // closed when it has ended
	Err   error         // how; after Ended

	t     testing.TB
	ready chan struct{}
}

// Text is output that can be read while it is written.
type Text struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (x *Text) Write(p []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.b.Write(p)
}

func (x *Text) String() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.b.String()
}

// Start starts cmd, an agent, in ns and watches its standard output for the line that says ready. It ends with the test.
func Start(t testing.TB, ns *netns.NS, cmd *exec.Cmd) *Agent {
	t.Helper()
	a := &Agent{t: t, Cmd: cmd, Said: new(Text), ready: make(chan struct{}), Ended: make(chan struct{})}
	a.Cmd.Stderr = a.Said
	out, err := a.Cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := ns.Start(a.Cmd); err != nil {
		t.Fatalf("starting %q: %v", cmd.Args, err)
	}
	go func() {
		defer close(a.Ended)
		lines := bufio.NewScanner(io.TeeReader(out, a.Said))
		told := false
		for lines.Scan() {
			if !told && strings.HasPrefix(lines.Text(), "azimds answers at") {
				told = true
				close(a.ready)
			}
		}
		a.Err = a.Cmd.Wait()
	}()
	t.Cleanup(a.kill)
	return a
}

// AwaitReady waits until the agent serves.
func (a *Agent) AwaitReady() {
	a.t.Helper()
	select {
	case <-a.ready:
	case <-a.Ended:
		a.t.Fatalf("the agent ended: %v\n%s", a.Err, a.Said)
	case <-time.After(Patience):
		a.t.Fatalf("the agent is not ready\n%s", a.Said)
	}
}

// Stop ends the agent as a service manager would, and wants it to end well.
func (a *Agent) Stop() {
	a.t.Helper()
	if err := a.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		a.t.Fatalf("stopping the agent: %v", err)
	}
	if err := a.Wait(); err != nil {
		a.t.Fatalf("the stopped agent: %v\n%s", err, a.Said)
	}
}

// Wait waits for the agent's end and returns how it ended.
func (a *Agent) Wait() error {
	a.t.Helper()
	select {
	case <-a.Ended:
		return a.Err
	case <-time.After(Patience):
		a.t.Fatalf("the agent does not end\n%s", a.Said)
		return nil
	}
}

// kill is for a test that failed half-way.
func (a *Agent) kill() {
	select {
	case <-a.Ended:
		return
	default:
	}
	if err := a.Cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		a.t.Errorf("ending the agent: %v", err)
	}
	select {
	case <-a.Ended:
	case <-time.After(Patience):
		a.t.Errorf("the agent had to be killed\n%s", a.Said)
		a.Cmd.Process.Kill()
	}
}

// CleanEnv is an environment in which nothing points an SDK or azimds anywhere.
func CleanEnv() []string {
	return []string{"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin", "HOME=/nonexistent", "LANG=C.UTF-8"}
}

// As makes cmd run as another user, with an empty home of its own, no az within reach and no variable that SDKs read.
func As(t testing.TB, uid uint32, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	home := t.TempDir()
	if err := os.Chown(home, int(uid), int(uid)); err != nil {
		t.Fatal(err)
	}
	OpenUp(t, home)
	cmd.Dir = home
	cmd.Env = []string{"HOME=" + home, "PATH=/usr/bin:/bin", "LANG=C.UTF-8"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	return cmd
}

// OpenUp lets every user pass through the folders above a test's temporary folder.
func OpenUp(t testing.TB, dir string) {
	t.Helper()
	for parent := filepath.Dir(dir); parent != os.TempDir() && len(parent) > len(os.TempDir()); parent = filepath.Dir(parent) {
		if err := os.Chmod(parent, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// Output runs cmd in ns and returns what it printed, and its exit code.
func Output(t testing.TB, ns *netns.NS, cmd *exec.Cmd) (string, int) {
	t.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := ns.Start(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	var exit *exec.ExitError
	switch {
	case err == nil:
		return out.String(), 0
	case errors.As(err, &exit):
		return out.String(), exit.ExitCode()
	default:
		t.Fatalf("running %q: %v", cmd.Args, err)
		return "", 0
	}
}

// Family are the agent's processes by name: the holder, which was started, and its children.
func (a *Agent) Family() map[string]int {
	holder := a.Cmd.Process.Pid
	family := map[string]int{"holder": holder}
	for pid, args := range children(holder) {
		for _, name := range []string{"serve", "janitor"} {
			if slices.Contains(args, name) {
				family[strings.Replace(name, "serve", "server", 1)] = pid
			}
		}
	}
	return family
}

// children are the living children of a process, with their arguments.
func children(parent int) map[int][]string {
	found := map[int][]string{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		data, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		after := string(data[strings.LastIndexByte(string(data), ')')+1:])
		fields := strings.Fields(after) // state ppid …
		if len(fields) < 2 || fields[0] == "Z" || fields[1] != strconv.Itoa(parent) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			continue
		}
		line, err := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
		if err == nil {
			found[pid] = strings.Split(string(line), "\x00")
		}
	}
	return found
}
