package signedout

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"azimds/test/entra"
	"azimds/test/netns"
)

// ownerUID is whom azimds serves and who runs the clients: nobody on the machine has the number.
const ownerUID = 61237

// The application whose secret azimds holds.
const appID, appSecret = "6f1c2f0a-53a4-4a0e-9c55-0a4a3d6b7c10", "a-secret~of.the-test"

// limit bounds every wait for something that must happen; nothing is measured by it.
const limit = 60 * time.Second

// world is a machine of its own: a network namespace, azimds, and mostly a stand-in for Entra.
type world struct {
	t         testing.TB
	ns        *netns.NS
	dir       string // open to all
	authority *entra.Server
	agent     *exec.Cmd
	ended     chan struct{} // closed when azimds has ended
	entered   time.Time     // when the first program of the matrix began
	said      *text         // what azimds printed, and its log as lines of JSON
}

// text is output that can be read while it is written.
type text struct {
	mu   sync.Mutex
	b    bytes.Buffer
	more chan struct{} // holds one: something was written
}

func (x *text) Write(p []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	select {
	case x.more <- struct{}{}:
	default:
	}
	return x.b.Write(p)
}

func (x *text) String() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.b.String()
}

func newWorld(t testing.TB) *world {
	t.Helper()
	return &world{t: t, ns: netns.New(t), dir: openDir(t)}
}

// openDir is a temporary folder that every user can reach.
func openDir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for at := dir; at != os.TempDir() && len(at) > len(os.TempDir()); at = filepath.Dir(at) {
		must(t, os.Chmod(at, 0o755))
	}
	return dir
}

// startEntra starts the stand-in.
func (w *world) startEntra() {
	w.t.Helper()
	s, err := entra.New(entra.Options{Clients: []entra.Client{{ID: appID, Secret: appSecret}}})
	must(w.t, err)
	must(w.t, w.ns.Do(func() error {
		ln, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return err
		}
		return s.Start(ln)
	}))
	w.authority = s
	w.t.Cleanup(w.stopEntra)
}

// stopEntra breaks off what is under way and has every new connection refused.
func (w *world) stopEntra() {
	w.t.Helper()
	if err := w.authority.Close(); err != nil {
		w.t.Error(err)
	}
}

// startAgent starts azimds and waits until it is ready.
func (w *world) startAgent(env ...string) {
	w.t.Helper()
	w.said, w.ended = &text{more: make(chan struct{}, 1)}, make(chan struct{})
	w.agent = exec.Command(filepath.Join(bin, "azimds"), "run", "--user", fmt.Sprint(ownerUID), "--mode", "loopback",
		"--log-level", "debug", "--log-format", "json")
	w.agent.Env = append([]string{
		"PATH=" + filepath.Join(bin, "next") + ":" + os.Getenv("PATH") + ":/usr/sbin:/sbin", "HOME=" + w.dir, "LANG=C.UTF-8",
	}, env...)
	w.agent.Stdout, w.agent.Stderr = w.said, w.said
	must(w.t, w.ns.Start(w.agent))
	go func() {
		defer close(w.ended)
		_ = w.agent.Wait() // who stops it looks at its state
	}()
	w.t.Cleanup(w.stopAgent)
	w.await("azimds answers at")
}

// await waits until azimds has said a word.
func (w *world) await(word string) {
	w.t.Helper()
	late := time.After(limit)
	for !strings.Contains(w.said.String(), word) {
		select {
		case <-w.said.more:
		case <-w.ended:
			w.t.Fatalf("azimds ended: %v\n%s", w.agent.ProcessState, w.said)
		case <-late:
			w.t.Fatalf("azimds does not say %q\n%s", word, w.said)
		}
	}
}

// stopAgent ends azimds, after which its log is complete.
func (w *world) stopAgent() {
	w.t.Helper()
	select {
	case <-w.ended:
		return
	default:
	}
	_ = w.agent.Process.Signal(syscall.SIGTERM) // it may be ending
	select {
	case <-w.ended:
	case <-time.After(limit):
		w.t.Errorf("azimds had to be killed\n%s", w.said)
		_ = w.agent.Process.Kill()
		<-w.ended
	}
	if code := w.agent.ProcessState.ExitCode(); code != 0 {
		w.t.Errorf("azimds ended with %d\n%s", code, w.said)
	}
}

// withSecret is the configuration of an application whose authority is at url, "" for Microsoft's.
func (w *world) withSecret(url string) []string {
	w.t.Helper()
	env := []string{
		"AZIMDS_CREDENTIAL=client-secret", "AZIMDS_TENANT=" + entra.DefaultTenant, "AZIMDS_CLIENT_SECRET_CLIENT_ID=" + appID,
		"AZIMDS_CLIENT_SECRET_SECRET_ENV=SECRET", "SECRET=" + appSecret,
	}
	if w.authority != nil {
		ca := filepath.Join(w.dir, "ca.pem")
		must(w.t, os.WriteFile(ca, w.authority.CAPEM(), 0o644))
		env = append(env, "AZIMDS_CA_FILE="+ca)
	}
	if url != "" {
		env = append(env, "AZIMDS_AUTHORITY_HOST="+url)
	}
	return env
}

// ask has a program that asks alone, with Go's SDK, ask azimds until it is told something final, and wants a token or none.
func (w *world) ask(resource, clientID string, wanted bool) {
	w.t.Helper()
	lone := way{name: "lone", kind: "managed", id: clientID, az: "next"}
	got := run(w.t, w.ns, sdk{name: "go", command: []string{filepath.Join(bin, "client")}}, lone, resource)
	if (got.token != "") != wanted {
		w.t.Fatalf("preparing: asked for %q: token %v, want %v: %s\n%s", resource, got.token != "", wanted, got.err, w.said)
	}
}

func owner() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: ownerUID, Gid: ownerUID}}
}
