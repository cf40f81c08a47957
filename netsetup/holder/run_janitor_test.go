package holder

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"azimds/test/netns"
)

func TestRunWithABadJanitor(t *testing.T) {
	for _, tt := range []struct{ janitor, want string }{
		{"janitor that dies", "the janitor"},
		{"no such program", "starting the janitor"},
	} {
		t.Run(tt.janitor, func(t *testing.T) {
			inNamespace(t, func(ns *netns.NS) {
				o := options(t, tt.janitor)
				if tt.janitor == "no such program" {
					o.Janitor = []string{"/nonexistent"}
				}
				r := startRun(t, ns, o)
				r.send(Message{Kind: KindHello})
				if got := r.receive(KindFailed); !strings.Contains(got.Failure.Message, tt.want) {
					t.Errorf("failed with %q, want %q in it", got.Failure.Message, tt.want)
				}
				if err := <-r.ended; err == nil {
					t.Error("Run returned nil")
				}
			})
		})
	}
}

// Why a start was given up is the janitor's death, and not the context that it ended, nor a server that is slow to answer.
func TestRunSaysThatTheJanitorDied(t *testing.T) {
	for _, at := range []struct {
		step int
		name string
	}{{4, "choose"}, {6, "offer"}} {
		t.Run(at.name, func(t *testing.T) {
			inNamespace(t, func(ns *netns.NS) {
				o := options(t, "janitor")
				pid := janitorPID(t, &o)
				o.After = func(phase string, step int, _ string) {
					if phase == "start" && step == at.step {
						if err := syscall.Kill(<-pid, syscall.SIGKILL); err != nil {
							t.Error(err)
						}
					}
				}
				r := startRun(t, ns, o)
				r.send(Message{Kind: KindHello})
				if err := <-r.ended; err == nil {
					t.Error("Run returned nil")
				}
				if got := r.last(); got.Failure == nil || !strings.HasPrefix(got.Failure.Message, "the janitor ended: signal: killed") {
					t.Errorf("the server was told %+v", got)
				}
			})
		})
	}
}

// A janitor that does not say that it watches keeps nobody from ending.
func TestRunEndsWhileItWaitsForTheJanitor(t *testing.T) {
	inNamespace(t, func(ns *netns.NS) {
		o := options(t, "janitor that says nothing")
		started := make(chan struct{})
		o.After = func(phase string, step int, _ string) {
			if phase == "start" && step == 2 {
				close(started)
			}
		}
		r := startRun(t, ns, o)
		r.send(Message{Kind: KindHello})
		<-started
		r.cancel()
		r.receive(KindStopped) // it was asked to, and nothing went wrong
		if err := <-r.ended; err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
}

// A janitor that somebody has stopped does not keep the lock.
func TestRunEndsAJanitorThatStays(t *testing.T) {
	inNamespace(t, func(ns *netns.NS) {
		r := startRun(t, ns, options(t, "janitor that stays"))
		r.send(Message{Kind: KindHello})
		r.check()
		r.send(Message{Kind: KindStop})
		if got := r.receive(KindStopped); !strings.Contains(got.Error, "waiting for the janitor to end") {
			t.Errorf("stopped with %q", got.Error)
		}
		if err := <-r.ended; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Run returned %v", err)
		}
	})
}

func TestRunEndsWithItsJanitor(t *testing.T) {
	inNamespace(t, func(ns *netns.NS) {
		o := options(t, "janitor")
		pid := janitorPID(t, &o)
		r := startRun(t, ns, o)
		r.send(Message{Kind: KindHello})
		r.check()
		if err := syscall.Kill(<-pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if got := r.receive(KindFailed); got.Failure.Message != "the janitor ended: signal: killed" {
			t.Errorf("failed with %q", got.Failure.Message)
		}
		if err := <-r.ended; err == nil {
			t.Error("Run returned nil")
		}
	})
}

// janitorPID makes the janitor say its pid on its standard error.
func janitorPID(t *testing.T, o *Options) <-chan int {
	t.Helper()
	o.Janitor = append([]string{"/bin/sh", "-c", `echo $$ >&2; exec "$@"`, "sh"}, o.Janitor...)
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { write.Close() })
	o.JanitorLog = write
	pid := make(chan int, 1)
	go func() {
		defer read.Close()
		var n int
		if _, err := fmt.Fscan(read, &n); err != nil {
			t.Error(err)
		}
		pid <- n
	}()
	return pid
}
