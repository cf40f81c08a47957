// Package docker starts a Docker engine for a test, in a network namespace of its own that is the machine's network as far as the
// engine and its containers are concerned, and removes all of it when the test ends. Images are made by the test: there is no
// registry.
//
// The engine is Debian's docker.io. All that it and its containers start is in one control group, so that whatever outlives a test is
// found; all that it mounts is in a mount namespace that ends with it, where what it would write outside of its own folders goes
// into the memory as well.
package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
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
	said   *agent.Text
	ended  chan struct{}
}

// engines counts those that tests have started.
var engines atomic.Int64

// private are the mounts of an engine's own: over folders that an engine uses beside those that it is told (/run/docker,
// /run/containerd, /opt/containerd, /etc/docker).
const private = `
mount -t tmpfs -o mode=755 azimds "$1"
mkdir "$1/upper" "$1/work"
mount -t overlay -o "lowerdir=/etc,upperdir=$1/upper,workdir=$1/work" azimds /etc
mount -t tmpfs -o mode=755 azimds /run
mount -t tmpfs -o mode=755 azimds /opt
shift
exec "$@"
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
		"--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", "/" + e.group + "/containers",
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
	if err := e.daemon.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
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
	out, err := e.run(nil, args...)
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

// Import makes an image of files: paths in the image, and files here whose bytes and permissions they get. Changes are
// instructions of a Dockerfile, such as `ENTRYPOINT ["/app"]`.
func (e *Engine) Import(image string, files map[string]string, changes ...string) {
	e.t.Helper()
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for name, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			e.t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			e.t.Fatal(err)
		}
		header := &tar.Header{Name: strings.TrimPrefix(name, "/"), Size: int64(len(data)), Mode: int64(info.Mode().Perm())}
		if err := w.WriteHeader(header); err != nil {
			e.t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			e.t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		e.t.Fatal(err)
	}
	args := []string{"import"}
	for _, change := range changes {
		args = append(args, "--change", change)
	}
	if out, err := e.run(&archive, append(args, "-", image)...); err != nil {
		e.t.Fatalf("importing image %q: %v\n%s", image, err, out)
	}
}

// Load loads the images of an archive, and returns what docker says of it.
func (e *Engine) Load(archive string) string {
	e.t.Helper()
	return e.Docker("load", "--input", archive)
}

// Run starts a container in the background: args are those of docker run. It returns the container's id.
func (e *Engine) Run(args ...string) string {
	e.t.Helper()
	return e.Docker(append([]string{"run", "--detach"}, args...)...)
}

// Inspect is what a template of docker inspect makes of a container or an image.
func (e *Engine) Inspect(name, template string) string {
	e.t.Helper()
	return e.Docker("inspect", "--format", template, name)
}

// Await waits until a template of docker inspect makes want of a container.
func (e *Engine) Await(container, template, want string) {
	e.t.Helper()
	for deadline := time.Now().Add(agent.Patience); ; time.Sleep(50 * time.Millisecond) {
		got := e.Inspect(container, template)
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			e.t.Fatalf("container %q: %s is %q, want %q\n%s", container, template, got, want, e.Docker("logs", container))
		}
	}
}

// AwaitLog waits until a container has said something.
func (e *Engine) AwaitLog(container, words string) {
	e.t.Helper()
	for deadline := time.Now().Add(agent.Patience); ; time.Sleep(50 * time.Millisecond) {
		got := e.Docker("logs", container)
		if strings.Contains(got, words) {
			return
		}
		if time.Now().After(deadline) {
			e.t.Fatalf("container %q does not say %q:\n%s", container, words, got)
		}
	}
}

// PID is the first process of a container, as it is called outside.
func (e *Engine) PID(container string) int {
	e.t.Helper()
	pid, err := strconv.Atoi(e.Inspect(container, "{{.State.Pid}}"))
	if err != nil || pid == 0 {
		e.t.Fatalf("container %q has process %d: %v", container, pid, err)
	}
	return pid
}

// Network is the network namespace of a container.
func (e *Engine) Network(container string) *netns.NS {
	e.t.Helper()
	return netns.Of(e.t, e.PID(container))
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
