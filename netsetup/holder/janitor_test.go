package holder

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"testing"

	"azimds/test/netns"
)

// fakeHost counts sweeps.
type fakeHost struct {
	sweeps  int
	removed []string
	err     error
	ended   bool // the context had ended
}

func (h *fakeHost) Sweep(ctx context.Context) ([]string, error) {
	h.sweeps++
	h.ended = ctx.Err() != nil
	return h.removed, h.err
}

// broken is a lifeline, and a place for answers, of a holder that is already dead.
type broken struct{}

func (broken) Read([]byte) (int, error)  { return 0, syscall.EIO }
func (broken) Write([]byte) (int, error) { return 0, syscall.EPIPE }

func TestRunJanitor(t *testing.T) {
	tests := []struct {
		name     string
		lifeline io.Reader
		host     fakeHost
		sweeps   int
		logged   string
	}{
		{"dismissed", strings.NewReader(done), fakeHost{}, 0, ""},
		{"holder dead", strings.NewReader(""), fakeHost{}, 1, ""},
		{"holder dead in mid-word", strings.NewReader("don"), fakeHost{}, 1, ""},
		{"another word", strings.NewReader("DONE\n"), fakeHost{}, 1, ""},
		{"longer word", strings.NewReader("xdone\n"), fakeHost{}, 1, ""},
		{"broken lifeline", broken{}, fakeHost{}, 1, "reading the lifeline"},
		{"something was left", strings.NewReader(""), fakeHost{removed: []string{"ip addr del"}}, 1, "ip addr del"},
		{"sweep fails", strings.NewReader(""), fakeHost{err: syscall.EPERM}, 1, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inNamespace(t, func(ns *netns.NS) {
				state, err := locked(t, ns)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { signal.Reset(janitorIgnores...) })
				var answers, logged bytes.Buffer
				ctx, cancel := context.WithCancel(t.Context())
				cancel() // its own work goes on
				err = RunJanitor(ctx, state, tt.lifeline, &answers, &tt.host, slog.New(slog.NewTextHandler(&logged, nil)))
				if !errors.Is(err, tt.host.err) {
					t.Errorf("RunJanitor returned %v, want %v", err, tt.host.err)
				}
				if tt.host.sweeps != tt.sweeps || tt.host.ended {
					t.Errorf("%d sweeps, want %d; after the end of the context: %t", tt.host.sweeps, tt.sweeps, tt.host.ended)
				}
				if answers.String() != watching {
					t.Errorf("the janitor said %q", &answers)
				}
				if (logged.Len() == 0) != (tt.logged == "") || !strings.Contains(logged.String(), tt.logged) {
					t.Errorf("it logged %q, want %q in it", &logged, tt.logged)
				}
			})
		})
	}
}

// A holder that died before the janitor could say a word has left as much as any other.
func TestRunJanitorOfADeadHolder(t *testing.T) {
	inNamespace(t, func(ns *netns.NS) {
		state, err := locked(t, ns)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { signal.Reset(janitorIgnores...) })
		var host fakeHost
		if err := RunJanitor(t.Context(), state, broken{}, broken{}, &host, slog.New(slog.DiscardHandler)); err != nil {
			t.Error(err)
		}
		if host.sweeps != 1 {
			t.Errorf("%d sweeps, want 1", host.sweeps)
		}
	})
}

// A janitor outlives every signal that a terminal or a service manager sends, keeps the lock after its holder's death, and
// then cleans up.
func TestJanitorOutlivesSignals(t *testing.T) {
	inNamespace(t, func(ns *netns.NS) {
		state, err := locked(t, ns)
		if err != nil {
			t.Fatal(err)
		}
		o := options(t, "janitor")
		var j *janitor
		err = ns.Do(func() (err error) {
			j, err = startJanitor(o.Janitor, nil, state)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		go j.watch()
		if err := j.awaitWatch(t.Context()); err != nil {
			t.Fatal(err)
		}
		if group, err := syscall.Getpgid(j.process.Pid); err != nil || group != j.process.Pid {
			t.Errorf("the janitor is in process group %d: %v", group, err)
		}
		for _, s := range janitorIgnores {
			if err := j.process.Signal(s); err != nil {
				t.Errorf("%s: %v", s, err)
			}
		}
		ns.Run(t, "ip", "addr", "add", "169.254.169.254/32", "dev", "lo", "scope", "host", "label", "lo:azimds")
		if err := state.Release(); err != nil { // the holder is dead
			t.Fatal(err)
		}
		_, err = locked(t, ns)
		if _, ok := errors.AsType[*LockedError](err); !ok {
			t.Errorf("while a janitor watches, LockState returned %v", err)
		}
		if err := j.abandon(); err != nil {
			t.Error(err)
		}
		if j.err.Error() != "the janitor ended: exit status 0" {
			t.Error(j.err)
		}
	})
}

// Only a holder starts a janitor: by hand, it would take a living agent's interception down.
func TestJanitorStateNeedsTheLock(t *testing.T) {
	inNamespace(t, func(ns *netns.NS) {
		state, err := locked(t, ns)
		if err != nil {
			t.Fatal(err)
		}
		other, err := os.Create(t.TempDir() + "/lock")
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		again, err := os.Open(state.lock.Name())
		if err != nil {
			t.Fatal(err)
		}
		defer again.Close()
		for name, tt := range map[string]struct {
			file *os.File
			want string
		}{
			"no file":          {nil, "nobody else"},
			"another file":     {other, "nobody else"},
			"lock opened anew": {again, "held by process"},
		} {
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = append(os.Environ(), roleVariable+"=janitor")
			cmd.ExtraFiles = slices.DeleteFunc([]*os.File{tt.file}, func(f *os.File) bool { return f == nil })
			var out bytes.Buffer
			cmd.Stdout = &out
			err := ns.Start(cmd)
			if err == nil {
				err = cmd.Wait()
			}
			if err == nil || !strings.Contains(out.String(), tt.want) {
				t.Errorf("%s: the janitor said %q, %v, want %q in it", name, &out, err, tt.want)
			}
		}
		if err := state.Remove(); err != nil {
			t.Error(err)
		}
	})
}
