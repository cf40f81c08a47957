package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"azimds/test/netns"
)

// The users of these tests: nobody on the machine has these numbers.
const (
	ownerUID    = 61234
	strangerUID = 61235
)

// patience bounds every wait for something that must happen; nothing is measured by it.
const patience = 60 * time.Second

// agent is a running "azimds run".
type agent struct {
	t     testing.TB
	ns    *netns.NS
	cmd   *exec.Cmd
	said  *text // standard output and standard error
	ready chan struct{}
	ended chan struct{}
	err   error // after ended
}

// text is output that can be read while it is written.
type text struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (x *text) Write(p []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.b.Write(p)
}

func (x *text) String() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.b.String()
}

// launch starts program, one of bin's, with args in ns. Its standard output is watched for the line that says ready.
func launch(t testing.TB, ns *netns.NS, env []string, program string, args ...string) *agent {
	t.Helper()
	cmd := exec.Command(filepath.Join(bin, program), args...)
	cmd.Env = append(cleanEnv(), env...)
	return newAgent(t, ns, cmd)
}

func newAgent(t testing.TB, ns *netns.NS, cmd *exec.Cmd) *agent {
	t.Helper()
	a := &agent{t: t, ns: ns, cmd: cmd, said: new(text), ready: make(chan struct{}), ended: make(chan struct{})}
	a.cmd.Stderr = a.said
	out, err := a.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := ns.Start(a.cmd); err != nil {
		t.Fatalf("starting %q: %v", cmd.Args, err)
	}
	go func() {
		defer close(a.ended)
		lines := bufio.NewScanner(io.TeeReader(out, a.said))
		told := false
		for lines.Scan() {
			if !told && strings.HasPrefix(lines.Text(), "azimds answers at") {
				told = true
				close(a.ready)
			}
		}
		a.err = a.cmd.Wait()
	}()
	t.Cleanup(a.kill)
	return a
}

// startAgent runs an agent for the owner and waits until it is ready.
func startAgent(t testing.TB, ns *netns.NS, env []string, args ...string) *agent {
	t.Helper()
	a := launch(t, ns, env, "azimds", append([]string{"run", "--user", fmt.Sprint(ownerUID), "--log-level=debug"}, args...)...)
	a.awaitReady()
	return a
}

func (a *agent) awaitReady() {
	a.t.Helper()
	select {
	case <-a.ready:
	case <-a.ended:
		a.t.Fatalf("the agent ended: %v\n%s", a.err, a.said)
	case <-time.After(patience):
		a.t.Fatalf("the agent is not ready\n%s", a.said)
	}
}

// stop ends the agent as a service manager would, and wants it to end well.
func (a *agent) stop() {
	a.t.Helper()
	if err := a.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		a.t.Fatalf("stopping the agent: %v", err)
	}
	if err := a.wait(); err != nil {
		a.t.Fatalf("the stopped agent: %v\n%s", err, a.said)
	}
}

// wait waits for the agent's end and returns how it ended.
func (a *agent) wait() error {
	a.t.Helper()
	select {
	case <-a.ended:
		return a.err
	case <-time.After(patience):
		a.t.Fatalf("the agent does not end\n%s", a.said)
		return nil
	}
}

// kill is for a test that failed half-way.
func (a *agent) kill() {
	select {
	case <-a.ended:
		return
	default:
	}
	if err := a.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		a.t.Errorf("ending the agent: %v", err)
	}
	select {
	case <-a.ended:
	case <-time.After(patience):
		a.t.Errorf("the agent had to be killed\n%s", a.said)
		a.cmd.Process.Kill()
	}
}

// cleanEnv is an environment in which nothing points an SDK or azimds anywhere.
func cleanEnv() []string {
	return []string{"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin", "HOME=/nonexistent", "LANG=C.UTF-8"}
}

// as makes cmd run as another user, with an empty home of its own, no az within reach and no variable that SDKs read.
func as(t testing.TB, uid uint32, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	home := t.TempDir()
	if err := os.Chown(home, int(uid), int(uid)); err != nil {
		t.Fatal(err)
	}
	openUp(t, home)
	cmd.Dir = home
	cmd.Env = []string{"HOME=" + home, "PATH=/usr/bin:/bin", "LANG=C.UTF-8"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	return cmd
}

// openUp lets every user pass through the folders above a test's temporary folder.
func openUp(t testing.TB, dir string) {
	t.Helper()
	for parent := filepath.Dir(dir); parent != os.TempDir() && len(parent) > len(os.TempDir()); parent = filepath.Dir(parent) {
		if err := os.Chmod(parent, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// azimds runs one command of the program in ns and returns its output and exit code.
func azimds(t testing.TB, ns *netns.NS, args ...string) (string, int) {
	t.Helper()
	return output(t, ns, command(args...))
}

func command(args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(bin, "azimds"), args...)
	cmd.Env = cleanEnv()
	return cmd
}

func output(t testing.TB, ns *netns.NS, cmd *exec.Cmd) (string, int) {
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
