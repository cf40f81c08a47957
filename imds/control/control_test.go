package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"azimds/imds/token"
	"azimds/test/netns"

	"github.com/google/go-cmp/cmp"
)

// clientVariable makes the test binary a client of the socket it names, which asks for everything and prints the answers.
const clientVariable = "CONTROL_TEST_SOCKET"

func TestMain(m *testing.M) {
	if path := os.Getenv(clientVariable); path != "" {
		askAll(NewClient(path))
		os.Exit(0)
	}
	os.Exit(netns.Main(m))
}

func askAll(c *Client) {
	status, err := c.Status(context.Background())
	if errors.Is(err, fs.ErrPermission) {
		fmt.Println("no permission")
		return
	}
	fmt.Printf("status %s %v\n", status.Version, err)
	reply, err := c.Token(context.Background(), "https://vault.azure.net")
	fmt.Printf("token %s%s %v\n", reply.AccessToken, reply.Error, err)
	told, err := c.Variables(context.Background())
	fmt.Printf("variables %v%s %v\n", told.Places, told.Error, err)
	nobody := errors.New("enough")
	err = c.Watch(context.Background(), func(w Watched, _ []byte) error {
		fmt.Printf("watched %s\n", w.Route)
		return nobody
	})
	fmt.Printf("watch %v\n", err)
	fmt.Printf("stop %v\n", c.Stop(context.Background()))
}

// fakeAgent is an agent with one token.
type fakeAgent struct {
	err     error // what Status and Stop return
	fetch   func(ctx context.Context) error
	asked   atomic.Pointer[token.Request]
	pid     atomic.Int64
	stopped atomic.Bool
	hub     Hub
	watched func() // is called when somebody watches
}

var expires = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func (a *fakeAgent) Status(context.Context) (Status, error) {
	return Status{Version: "1.2.3", Owner: Owner{UID: 4242}, Residue: []string{"ip addr del"}}, a.err
}

func (a *fakeAgent) Token(ctx context.Context, pid int, r token.Request) (token.Token, error) {
	a.asked.Store(&r)
	a.pid.Store(int64(pid))
	if a.fetch != nil {
		if err := a.fetch(ctx); err != nil {
			return token.Token{}, err
		}
	}
	return token.Token{Value: token.NewSecret("secret"), ExpiresOn: expires}, nil
}

func (a *fakeAgent) Refresh(resource string) int { return len(resource) }

func (a *fakeAgent) Pause(length time.Duration) time.Time {
	if length == 0 {
		return time.Time{}
	}
	return expires.Add(length)
}

func (a *fakeAgent) Variables() (VariablesReply, error) {
	return VariablesReply{Places: []Place{{"local", "", "127.0.0.1:1", []Variable{{"MSI_ENDPOINT", "http://127.0.0.1:1/secret"}}}}}, nil
}

func (a *fakeAgent) Watch() (*Watcher, error) {
	w, err := a.hub.Watch()
	if err == nil && a.watched != nil {
		a.watched()
	}
	return w, err
}

func (a *fakeAgent) Stop(context.Context) error {
	a.stopped.Store(true)
	return a.err
}

// server is Serve under test.
type server struct {
	path   string
	logged *bytes.Buffer // read it after stop
	stop   func() error
}

// start serves agent to owner on a socket that every user may connect to.
func start(t *testing.T, owner uint32, agent Agent) server {
	t.Helper()
	dir, err := os.MkdirTemp("", "control-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	s := server{path: filepath.Join(dir, "control.sock"), logged: &bytes.Buffer{}}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: s.path, Net: "unix"})
	if err == nil {
		err = errors.Join(os.Chmod(dir, 0o755), os.Chmod(s.path, 0o777))
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, ln, owner, agent, slog.New(slog.NewTextHandler(s.logged, nil))) }()
	s.stop = func() error {
		cancel()
		select {
		case err := <-ended:
			ended <- nil
			return err
		case <-t.Context().Done():
			return t.Context().Err()
		}
	}
	t.Cleanup(cancel)
	return s
}

// myself is who runs the tests: the owner, where one user is enough.
func myself() uint32 { return uint32(os.Getuid()) }

func TestClient(t *testing.T) {
	var agent fakeAgent
	s := start(t, myself(), &agent)
	c := NewClient(s.path)
	status, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want, _ := agent.Status(t.Context())
	if diff := cmp.Diff(want, status); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	const resource = "https://vault.azure.net/?a=b&c=d+e%20f"
	reply, err := c.Token(t.Context(), resource)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(TokenReply{AccessToken: "secret", ExpiresOn: expires}, reply); diff != "" {
		t.Errorf("token (-want +got):\n%s", diff)
	}
	if got := agent.asked.Load(); *got != (token.Request{Resource: resource}) {
		t.Errorf("the agent was asked for %+v", got)
	}
	if got := agent.pid.Load(); got != int64(os.Getpid()) {
		t.Errorf("the agent was told of process %d, want %d", got, os.Getpid())
	}
	if n, err := c.Refresh(t.Context(), "four"); n != 4 || err != nil {
		t.Errorf("refresh dropped %d, %v", n, err)
	}
	for length, want := range map[time.Duration]time.Time{90 * time.Second: expires.Add(90 * time.Second), 0: {}} {
		if until, err := c.Pause(t.Context(), length); !until.Equal(want) || err != nil {
			t.Errorf("a pause of %s is until %s, %v", length, until, err)
		}
	}
	if until, err := c.Pause(t.Context(), -time.Second); err == nil {
		t.Errorf("a pause of less than nothing is until %s", until)
	}
	if err := c.Stop(t.Context()); err != nil || !agent.stopped.Load() {
		t.Errorf("stop: %v, reached the agent: %t", err, agent.stopped.Load())
	}
	if err := s.stop(); err != nil {
		t.Errorf("Serve returned %v", err)
	}
	if strings.Contains(s.logged.String(), "secret") {
		t.Errorf("a token was logged:\n%s", s.logged)
	}
}

func TestClientSaysWhatIsWrong(t *testing.T) {
	agent := &fakeAgent{err: errors.New("no such luck")}
	s := start(t, myself(), agent)
	c := NewClient(s.path)
	const refused = `asking the agent: it answered "no such luck": the agent refused`
	if _, err := c.Status(t.Context()); err == nil || err.Error() != refused {
		t.Errorf("status: %v, want %s", err, refused)
	}
	if err := c.Stop(t.Context()); err == nil || err.Error() != refused {
		t.Errorf("stop: %v, want %s", err, refused)
	}
	for _, tt := range []struct {
		err           error
		message, hint string
	}{
		{&token.Error{Kind: token.ErrSignInRequired, Message: "nobody is signed in", Command: "az login"}, "nobody is signed in", "az login"},
		{fmt.Errorf("asking az: %w", io.ErrUnexpectedEOF), "asking az: unexpected EOF", ""},
	} {
		agent.fetch = func(context.Context) error { return tt.err }
		got, err := c.Token(t.Context(), "x")
		if want := (TokenReply{Error: tt.message, Hint: tt.hint}); err != nil || got != want {
			t.Errorf("token: %+v, %v, want %+v", got, err, want)
		}
	}
	if err := s.stop(); err != nil {
		t.Errorf("Serve returned %v", err)
	}
	if _, err := c.Status(t.Context()); !errors.Is(err, ErrNoAgent) {
		t.Errorf("after the end: %v, want %v", err, ErrNoAgent)
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: s.path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	ln.Close()
	if _, err := c.Status(t.Context()); !errors.Is(err, ErrNoAgent) {
		t.Errorf("with a dead agent's socket: %v, want %v", err, ErrNoAgent)
	}
}

// A client gives up when its context ends, on an agent that never answers.
func TestClientDoesNotWaitForever(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sock")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		cancel()
		<-t.Context().Done()
	}()
	if _, err := NewClient(path).Status(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Status returned %v, want %v", err, context.Canceled)
	}
}

// A token may take longer than a request may take to arrive.
func TestSlowTokenIsWaitedFor(t *testing.T) {
	t.Parallel()
	s := start(t, myself(), &fakeAgent{fetch: func(ctx context.Context) error {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(readLimit + time.Second):
			return nil
		}
	}})
	got, err := NewClient(s.path).Token(t.Context(), "x")
	if err != nil || got.AccessToken != "secret" {
		t.Errorf("token: %+v, %v", got, err)
	}
}

// The end does not wait for a request that goes on, and the request's context ends.
func TestServeEndsWithARequestUnderWay(t *testing.T) {
	t.Parallel()
	reached, left := make(chan struct{}), make(chan error, 1)
	s := start(t, myself(), &fakeAgent{fetch: func(ctx context.Context) error {
		close(reached)
		<-ctx.Done()
		left <- ctx.Err()
		return ctx.Err()
	}})
	asked := make(chan error, 1)
	go func() {
		_, err := NewClient(s.path).Token(t.Context(), "x")
		asked <- err
	}()
	<-reached
	if err := s.stop(); err != nil {
		t.Errorf("Serve returned %v", err)
	}
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("the request ended with %v", err)
	}
	if err := <-asked; err == nil {
		t.Error("the client got an answer")
	}
}

// What is asked for by another method or path does not reach the agent.
func TestServeRefuses(t *testing.T) {
	var agent fakeAgent
	s := start(t, myself(), &agent)
	c := NewClient(s.path)
	for _, tt := range []struct {
		method, path string
		want         int
	}{
		{http.MethodPost, "/status", http.StatusMethodNotAllowed},
		{http.MethodGet, "/token?resource=x", http.StatusMethodNotAllowed},
		{http.MethodPost, "/watch", http.StatusMethodNotAllowed},
		{http.MethodGet, "/stop", http.StatusMethodNotAllowed},
		{http.MethodGet, "/refresh", http.StatusMethodNotAllowed},
		{http.MethodGet, "/metadata/identity/oauth2/token?resource=x", http.StatusNotFound},
		{http.MethodGet, "/", http.StatusNotFound},
	} {
		req, err := http.NewRequestWithContext(t.Context(), tt.method, "http://azimds"+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != tt.want {
			t.Errorf("%s %s: %d, want %d", tt.method, tt.path, resp.StatusCode, tt.want)
		}
	}
	if agent.asked.Load() != nil || agent.stopped.Load() {
		t.Error("the agent was reached")
	}
}

// The owner gets everything and root everything but a token and the variables that select an endpoint; another user is hung up on, although the file system lets
// them connect, and is told so by the file system where it does not.
func TestServeIsForTheOwner(t *testing.T) {
	netns.Root(t)
	const owner, other = 4242, 4244
	var agent fakeAgent
	agent.watched = func() { agent.hub.Publish(Activity{Route: "token"}) }
	s := start(t, owner, &agent)
	askAs := func(uid uint32) string {
		cmd := exec.Command("/proc/self/exe")
		cmd.Args[0] = "client"
		cmd.Dir = "/"
		cmd.Env = append(os.Environ(), clientVariable+"="+s.path)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("client of uid %d: %v", uid, err)
		}
		return string(out)
	}
	if got, want := askAs(owner), "status 1.2.3 <nil>\ntoken secret <nil>\nvariables [{local  127.0.0.1:1 [{MSI_ENDPOINT http://127.0.0.1:1/secret}]}] <nil>\nwatched token\nwatch enough\nstop <nil>\n"; got != want {
		t.Errorf("the owner got:\n%swant:\n%s", got, want)
	}
	agent.asked.Store(nil)
	if got, want := askAs(0), "status 1.2.3 <nil>\ntoken tokens are for uid 4242 alone <nil>\nvariables []the variables are for uid 4242 alone <nil>\nwatched token\nwatch enough\nstop <nil>\n"; got != want {
		t.Errorf("root got:\n%swant:\n%s", got, want)
	}
	agent.stopped.Store(false)
	for line := range strings.Lines(askAs(other)) {
		if strings.Contains(line, "<nil>") || strings.Contains(line, "watched") || strings.Contains(line, "1.2.3") {
			t.Errorf("another user got %s", line)
		}
	}
	if agent.asked.Load() != nil || agent.stopped.Load() {
		t.Error("who is not the owner reached the agent")
	}
	if err := os.Chmod(s.path, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := askAs(other); got != "no permission\n" {
		t.Errorf("another user, stopped by the file system, got %s", got)
	}
	if err := s.stop(); err != nil {
		t.Errorf("Serve returned %v", err)
	}
	if got := strings.Count(s.logged.String(), `msg="refused a control connection" uid=4244`); got == 0 {
		t.Errorf("no refusal was logged:\n%s", s.logged)
	}
}
