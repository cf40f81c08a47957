// Package docker starts a Docker engine for a test, in a network namespace of its own that is the machine's network as far as the
// engine and its containers are concerned, and removes all of it when the test ends. Images are made by the test: there is no
// registry.
//
// The engine is Debian's docker.io. All that it and its containers start is in one control group, so that whatever outlives a test is
// found; all that it mounts is in a mount namespace that ends with it, where what it would write outside of its own folders goes
// into the memory as well.
package docker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"azimds/test/agent"
	"azimds/test/netns"
)

// startTime is what an engine may take to be ready, and to end. It takes two seconds; the machine may be busy.
const startTime = 2 * time.Minute

// Engine is a running Docker engine.
type Engine struct {
	NS *netns.NS // what the engine takes for the machine's network

	t      testing.TB
	dir    string // all its files
	group  string // all its processes, below the root of each hierarchy of control groups
	client string
	args   []string // of unshare, which starts the daemon
	daemon *exec.Cmd
	life   *os.File // the daemon ends when this is closed, also by the end of the test's process
	said   *agent.Text
	ended  chan struct{}
}

// engines counts those that tests have started.
var engines atomic.Int64

// private makes the mounts of an engine's own: over folders that an engine uses beside those that it is told (/run/docker,
// /run/containerd, /opt/containerd, /etc/docker). The process that then becomes the engine leaves one behind that waits for the end of
// standard input, and tells its parent to end if that is still the engine.
const private = `
mount -t tmpfs -o mode=755 azimds "$1"
mkdir "$1/upper" "$1/work"
mount -t overlay -o "lowerdir=/etc,upperdir=$1/upper,workdir=$1/work" azimds /etc
mount -t tmpfs -o mode=755 azimds /run
mount -t tmpfs -o mode=755 azimds /opt
shift
exec 3<&0
(
	while read -r _ <&3; do :; done
	read -r _ _ _ parent _ </proc/self/stat
	[ "$parent" != $$ ] || kill $$
) &
exec "$@" 3<&- </dev/null
`

// Start starts an engine, which ends with the test; args are more arguments of dockerd. Without root or dockerd the test is skipped,
// or fails where CI is set.
func Start(t testing.TB, args ...string) *Engine {
	t.Helper()
	netns.Root(t)
	daemon, err := program("dockerd")
	netns.Need(t, "dockerd", err)
	client, err := program("docker")
	netns.Need(t, "docker", err)
	unified, err := unified()
	netns.Need(t, "a hierarchy of control groups of version 2", err)

	e := &Engine{
		NS: netns.New(t), t: t, client: client, said: new(agent.Text), ended: make(chan struct{}),
		group: fmt.Sprintf("azimds-docker-%d-%d", os.Getpid(), engines.Add(1)),
	}
	if e.dir, err = os.MkdirTemp("", e.group+"-"); err != nil { // short: sockets are in it
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(e.dir); err != nil {
			t.Errorf("removing the engine's folder: %v", err)
		}
	})
	own := filepath.Join(unified, e.group, "engine")
	if err := errors.Join(os.MkdirAll(own, 0o755), os.Mkdir(e.path("private"), 0o755), os.WriteFile(e.path("daemon.json"), []byte("{}"), 0o600)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeGroups(t, e.group) })
	e.args = append([]string{
		"--mount", "sh", "-ec", private, "sh", e.path("private"), daemon, "--config-file", e.path("daemon.json"),
		"--data-root", e.path("data"), "--exec-root", e.path("exec"), "--pidfile", e.path("pid"), "--host", e.Host(),
		"--log-level", "warn", "--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", "/" + e.group + "/containers",
	}, args...)
	t.Cleanup(e.stop)
	e.start(own)
	return e
}

// Restart ends the engine and its containers, and starts it again.
func (e *Engine) Restart() {
	e.t.Helper()
	e.end()
	unified, err := unified()
	if err != nil {
		e.t.Fatal(err)
	}
	e.start(filepath.Join(unified, e.group, "engine"))
}

// start starts the daemon in a control group and waits until it says that it is ready, as it does to a service manager (sd_notify(3)).
func (e *Engine) start(own string) {
	e.t.Helper()
	group, err := os.Open(own)
	if err != nil {
		e.t.Fatal(err)
	}
	defer group.Close()
	if err := os.Remove(e.path("notify")); err != nil && !errors.Is(err, os.ErrNotExist) {
		e.t.Fatal(err)
	}
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: e.path("notify"), Net: "unixgram"})
	if err != nil {
		e.t.Fatal(err)
	}
	defer notify.Close()
	daemon := exec.Command("unshare", e.args...)
	daemon.Env = append(agent.CleanEnv(), "NOTIFY_SOCKET="+e.path("notify"))
	daemon.Stdout, daemon.Stderr = e.said, e.said
	theirs, ours, err := os.Pipe()
	if err != nil {
		e.t.Fatal(err)
	}
	defer theirs.Close()
	daemon.Stdin, e.life = theirs, ours
	daemon.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(group.Fd())}
	if err := e.NS.Start(daemon); err != nil {
		e.t.Fatalf("starting dockerd: %v", err)
	}
	ended := make(chan struct{})
	e.daemon, e.ended = daemon, ended
	go func() {
		defer close(ended)
		daemon.Wait() //nolint:errcheck // how it ended is in what it said
		notify.Close()
	}()
	if err := notify.SetReadDeadline(time.Now().Add(startTime)); err != nil {
		e.t.Fatal(err)
	}
	for b := make([]byte, 4096); ; {
		n, err := notify.Read(b)
		if err != nil {
			e.t.Fatalf("dockerd is not ready: %v\n%s", err, e.said)
		}
		if bytes.Contains(b[:n], []byte("READY=1")) {
			return
		}
	}
}

// stop removes all containers and ends the engine.
func (e *Engine) stop() {
	if e.daemon == nil {
		return
	}
	if ids, err := e.run(nil, "ps", "--all", "--quiet"); err == nil && ids != "" {
		if out, err := e.run(nil, append([]string{"rm", "--force"}, strings.Fields(ids)...)...); err != nil {
			e.t.Errorf("removing the containers: %v\n%s", err, out)
		}
	}
	e.end()
	if e.t.Failed() {
		e.t.Logf("dockerd said:\n%s", e.said)
	}
}

// end ends the engine, with a plain kill where it does not end otherwise.
func (e *Engine) end() {
	if err := e.life.Close(); err != nil {
		e.t.Errorf("ending dockerd: %v", err)
	}
	select {
	case <-e.ended:
	case <-time.After(startTime):
		e.t.Errorf("dockerd had to be killed\n%s", e.said)
		e.daemon.Process.Kill()
		<-e.ended
	}
}

// Docker runs the docker command and returns what it printed; it has to succeed.
func (e *Engine) Docker(args ...string) string {
	e.t.Helper()
	out, err := e.run(nil, args...)
	if err != nil {
		e.t.Fatalf("docker %q: %v\n%s", args, err, out)
	}
	return out
}

// Try runs the docker command and returns what it printed, and its exit code.
func (e *Engine) Try(args ...string) (string, int) {
	e.t.Helper()
	return e.try(nil, args...)
}

// Say is Try with standard input, as docker run --interactive takes it.
func (e *Engine) Say(input string, args ...string) (string, int) {
	e.t.Helper()
	return e.try(strings.NewReader(input), args...)
}

func (e *Engine) try(input io.Reader, args ...string) (string, int) {
	e.t.Helper()
	out, err := e.run(input, args...)
	var exit *exec.ExitError
	switch {
	case err == nil:
		return out, 0
	case errors.As(err, &exit):
		return out, exit.ExitCode()
	default:
		e.t.Fatalf("docker %q: %v", args, err)
		return "", 0
	}
}

// Host is the engine's address, as DOCKER_HOST has it.
func (e *Engine) Host() string { return "unix://" + e.path("docker.sock") }

func (e *Engine) path(name string) string { return filepath.Join(e.dir, name) }

// run runs the docker command, and returns what it printed.
func (e *Engine) run(stdin io.Reader, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, e.client, append([]string{"--host", e.Host()}, args...)...)
	cmd.Env = append(agent.CleanEnv(), "DOCKER_CONFIG="+e.path("client"))
	cmd.Stdin = stdin
	out, err := cmd.CombinedOutput()
	return strings.TrimSuffix(string(out), "\n"), err
}

// program finds a program of the distribution's: a user's path may have no folders for root, and others' docker before it.
func program(name string) (string, error) {
	for _, dir := range []string{"/usr/bin", "/usr/sbin"} {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path, nil
		}
	}
	return exec.LookPath(name)
}
