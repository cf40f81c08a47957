package control_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"azimds/imds/control"
	"azimds/imds/token"
	"azimds/test/netns"
)

const (
	owner    = 61244
	stranger = 61245
	secret   = "eyJ0eXAiOiJKV1QifQ.e30.c2lnbmF0dXJl"
)

// clientEnv makes this test binary a client that asks for a status and a token at the socket named.
const clientEnv = "CONTROL_TEST_SOCKET"

func TestMain(m *testing.M) {
	if path := os.Getenv(clientEnv); path != "" {
		os.Exit(client(path))
	}
	os.Exit(m.Run())
}

func client(path string) int {
	c := control.NewClient(path)
	status, err := c.Status(context.Background())
	fmt.Println("status", status.Version, errorText(err))
	reply, err := c.Token(context.Background(), "r")
	fmt.Println("token", reply.AccessToken, reply.Error, errorText(err))
	return 0
}

func errorText(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, fs.ErrPermission):
		return "permission"
	default:
		return "error"
	}
}

// fake is an agent that remembers what it was asked.
type fake struct {
	pid     int
	stopped chan struct{}
}

func (f *fake) Status(context.Context) (control.Status, error) {
	return control.Status{Version: "v1"}, nil
}

func (f *fake) Token(_ context.Context, pid int, r token.Request) (token.Token, error) {
	f.pid = pid
	if r.Resource == "none" {
		return token.Token{}, &token.Error{Kind: token.ErrSignInRequired, Message: "nobody is signed in", Command: "az login"}
	}
	return token.Token{Value: token.NewSecret(secret), ExpiresOn: time.Unix(1, 0)}, nil
}

func (f *fake) Refresh(resource string) int { return len(resource) }

func (f *fake) Stop(context.Context) error {
	close(f.stopped)
	return nil
}

// start serves a fake for uid on a socket that every uid may connect to: who is refused is refused by the server.
func start(t *testing.T, uid uint32) (path string, f *fake) {
	t.Helper()
	dir, err := os.MkdirTemp("", "control-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path = filepath.Join(dir, "socket")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err := errors.Join(err, os.Chmod(dir, 0o755), os.Chmod(path, 0o777)); err != nil {
		t.Fatal(err)
	}
	f = &fake{stopped: make(chan struct{})}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- control.Serve(ctx, ln, uid, f, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return path, f
}

// askAs asks as another user, from a process of its own.
func askAs(t *testing.T, uid uint32, path string) string {
	t.Helper()
	exe, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(filepath.Dir(path), "client-"+strconv.Itoa(int(uid)))
	if err := os.WriteFile(program, exe, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program)
	cmd.Dir = "/"
	cmd.Env = []string{clientEnv + "=" + path, "GORACE=atexit_sleep_ms=0"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("asking as uid %d: %v\n%s", uid, err, out)
	}
	return string(out)
}

// TestPeers wants the owner served, root told the status and given no token, and a stranger hung up on.
func TestPeers(t *testing.T) {
	netns.Root(t)
	path, _ := start(t, owner)
	if out := askAs(t, owner, path); !strings.Contains(out, "status v1 \n") || !strings.Contains(out, "token "+secret) {
		t.Errorf("the owner: %s", out)
	}
	if out := askAs(t, 0, path); !strings.Contains(out, "status v1 \n") || strings.Contains(out, secret) {
		t.Errorf("root: %s", out)
	}
	if out := askAs(t, stranger, path); !strings.Contains(out, "status  error\n") || strings.Contains(out, secret) {
		t.Errorf("a stranger: %s", out)
	}
}

// TestCalls goes through everything that a client can ask.
func TestCalls(t *testing.T) {
	path, agent := start(t, uint32(os.Getuid()))
	c := control.NewClient(path)
	status, err := c.Status(t.Context())
	if diff := cmp.Diff(control.Status{Version: "v1"}, status); diff != "" || err != nil {
		t.Errorf("Status: %v (-want +got):\n%s", err, diff)
	}
	reply, err := c.Token(t.Context(), "r")
	if err != nil || reply.AccessToken != secret || !reply.ExpiresOn.Equal(time.Unix(1, 0)) || agent.pid != os.Getpid() {
		t.Errorf("Token: %+v, %v, for process %d", reply, err, agent.pid)
	}
	reply, err = c.Token(t.Context(), "none")
	if diff := cmp.Diff(control.TokenReply{Error: "nobody is signed in", Hint: "az login"}, reply); diff != "" || err != nil {
		t.Errorf("Token that cannot be had: %v (-want +got):\n%s", err, diff)
	}
	if n, err := c.Refresh(t.Context(), "four"); n != 4 || err != nil {
		t.Errorf("Refresh: %d, %v", n, err)
	}
	if err := c.Stop(t.Context()); err != nil {
		t.Errorf("Stop: %v", err)
	}
	<-agent.stopped
}

// TestNoAgent wants a socket that is not there, and one that nobody listens on, told from others' sockets.
func TestNoAgent(t *testing.T) {
	dir := t.TempDir()
	stale := filepath.Join(dir, "stale")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	ln.Close()
	for _, path := range []string{filepath.Join(dir, "none"), stale} {
		if _, err := control.NewClient(path).Status(t.Context()); !errors.Is(err, control.ErrNoAgent) {
			t.Errorf("Status at %q: %v, want ErrNoAgent", path, err)
		}
	}
}
