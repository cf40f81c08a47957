package holder

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"azimds/test/netns"

	"golang.org/x/sys/unix"
)

func TestRunUntilTheServerAsksToStop(t *testing.T) {
	inNamespace(t, func(ns *netns.NS) {
		r := startRun(t, ns, options(t, "janitor"))
		r.send(Message{Kind: KindHello})
		r.check()
		if len(present(t, ns)) == 0 {
			t.Error("ready, and nothing is in the kernel")
		}

		r.send(Message{Kind: KindAsk, ID: 1})
		if got := r.receive(KindAnswer); got.ID != 1 || got.Error != "" || got.Report == nil || !got.Report.OK() {
			t.Errorf("answer %+v, want a report without a word", got)
		}
		for inode, in := range map[uint64]bool{4711: true, 4712: false} {
			r.send(Message{Kind: KindAsk, ID: inode, Inode: inode})
			if got := r.receive(KindAnswer); got.ID != inode || got.InTree != in || got.Error != "" {
				t.Errorf("answer %+v, want in tree: %t", got, in)
			}
		}
		r.send(Message{Kind: KindReady})
		if got := r.receive(KindAnswer); got.Error == "" {
			t.Errorf("a message out of place was answered with %+v", got)
		}

		r.send(Message{Kind: KindStop})
		if got := r.receive(KindStopped); got.Error != "" {
			t.Errorf("stopped with %q", got.Error)
		}
		if there := present(t, ns); len(there) > 0 {
			t.Errorf("told that it is down, and there is %q", there)
		}
		if err := <-r.ended; err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
}

func TestRunUntilItsContextEnds(t *testing.T) {
	inNamespace(t, func(ns *netns.NS) {
		r := startRun(t, ns, options(t, "janitor"))
		r.send(Message{Kind: KindHello})
		r.check()
		r.cancel()
		r.receive(KindStopped)
		if err := <-r.ended; err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
}

// Before there was a hello, there is nobody to tell and nothing to take down.
func TestRunEndsBeforeHello(t *testing.T) {
	inNamespace(t, func(ns *netns.NS) {
		r := startRun(t, ns, options(t, "janitor"))
		r.cancel()
		if err := <-r.ended; err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
}

// A server that is not as it should be ends its session, is told why when it still listens, and leaves nothing behind.
func TestRunWithABadServer(t *testing.T) {
	const imds = "IMDS/150.870.65.2010"
	seen := Message{Kind: KindSeen}
	tests := []struct {
		name   string
		server func(r *run)
		want   string // in Run's error; "" is nil
		told   bool
	}{
		{"dies before hello", func(r *run) { r.link.Close() }, "the server is gone", false},
		{"says another word", func(r *run) { r.send(Message{Kind: KindStop}) }, `it sent "stop" first`, false},
		{"speaks gibberish", func(r *run) { r.raw([]byte("gibberish")) }, "decoding a message", false},
		{"dies before the offer", func(r *run) { r.send(Message{Kind: KindHello}); r.link.Close() }, "the server is gone", false},
		{"dies after the offer", func(r *run) {
			r.send(Message{Kind: KindHello})
			r.receive(KindOffer)
			r.link.Close()
		}, "the server is gone", false},
		{"turns to gibberish", func(r *run) {
			r.send(Message{Kind: KindHello})
			r.check()
			r.raw([]byte(`{"kind":""}`))
		}, "it has no kind", false},
		{"dies when ready", func(r *run) {
			r.send(Message{Kind: KindHello})
			r.check()
			r.link.Close()
		}, "the server is gone", false},
		{"never answers check", func(r *run) { r.send(Message{Kind: KindHello}) }, "no answer in time", true},
		{"never sees us", func(r *run) { r.expect(http.StatusBadRequest, imds, Message{}) }, "no answer in time", true},
		{"answers check with another word", func(r *run) {
			r.send(Message{Kind: KindHello})
			r.send(Message{Kind: KindSeen})
		}, `waiting for message "expect": the server sent "seen"`, true},
		{"is not IMDS", func(r *run) { r.expect(http.StatusBadRequest, "nginx", seen) }, "not ours", true},
		{"grants our probe", func(r *run) { r.expect(http.StatusOK, imds, seen) }, "not ours", true},
		{"sees another uid", func(r *run) { r.expect(http.StatusBadRequest, imds, Message{Kind: KindSeen, UID: 65534}) },
			"the server saw uid 65534 and not root (uid 0)", true},
		{"closes the endpoint", func(r *run) {
			r.send(Message{Kind: KindHello})
			r.receive(KindOffer)
			r.receive(KindCheck)
			go func() {
				if conn, err := r.endpoint.Accept(); err == nil {
					conn.Close()
				}
			}()
			r.send(Message{Kind: KindExpect})
		}, "dialling ourselves", true},
		{"stops during the check", func(r *run) { r.send(Message{Kind: KindHello}); r.send(Message{Kind: KindStop}) }, "", false},
		{"floods and does not read", func(r *run) {
			r.send(Message{Kind: KindHello})
			r.check()
			for r.link.Send(Message{Kind: KindAsk, Inode: 1}) == nil { // until the holder has had enough
			}
		}, "the server is gone", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			inNamespace(t, func(ns *netns.NS) {
				r := startRun(t, ns, options(t, "janitor"))
				tt.server(r)
				err := <-r.ended
				if got := fmt.Sprint(err); (err == nil) != (tt.want == "") || !strings.Contains(got, tt.want) {
					t.Errorf("Run returned %q, want %q in it", got, tt.want)
				}
				if told := r.last(); tt.told && (told.Failure == nil || !strings.Contains(told.Failure.Message, tt.want)) {
					t.Errorf("the server was told %+v, want failure %q", told, tt.want)
				}
			})
		})
	}
}

// raw sends a datagram as it is.
func (r *run) raw(data []byte) {
	r.t.Helper()
	if _, err := r.link.conn.Write(data); err != nil {
		r.t.Fatal(err)
	}
}

// expect answers check, and then our own connection in a way.
func (r *run) expect(status int, name string, seen Message) {
	r.t.Helper()
	r.send(Message{Kind: KindHello})
	r.receive(KindOffer)
	r.receive(KindCheck)
	r.answer(status, name, seen)
	r.send(Message{Kind: KindExpect})
}

// last is the last message that the holder sent before it ended the link.
func (r *run) last() Message {
	var last Message
	for {
		m, files, err := r.link.Receive()
		if err != nil {
			return last
		}
		closeAll(files)
		last = m
	}
}

// The server has the listeners from the offer on: a client's connection can make it ask before and during the check.
func TestRunAnswersDuringTheCheck(t *testing.T) {
	inNamespace(t, func(ns *netns.NS) {
		r := startRun(t, ns, options(t, "janitor"))
		r.send(Message{Kind: KindHello})
		r.receive(KindOffer)
		r.receive(KindCheck)
		r.send(Message{Kind: KindAsk, ID: 1, Inode: 4711})
		r.receive(KindAnswer)
		r.send(Message{Kind: KindExpect})
		conn, err := r.endpoint.Accept()
		if err != nil {
			t.Fatal(err)
		}
		r.send(Message{Kind: KindAsk, ID: 2, Inode: 4712})
		r.receive(KindAnswer)
		r.send(Message{Kind: KindSeen})
		if _, err := conn.Write([]byte("HTTP/1.1 400 Bad Request\r\nServer: IMDS/1\r\nContent-Length: 0\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		r.receive(KindReady)
		conn.Close()
		r.send(Message{Kind: KindStop})
		r.receive(KindStopped)
		<-r.ended
	})
}

// The server's answer is not read for longer than an answer is.
func TestProbeReadsABoundedAnswer(t *testing.T) {
	inNamespace(t, func(ns *netns.NS) {
		r := startRun(t, ns, options(t, "janitor"))
		r.send(Message{Kind: KindHello})
		r.receive(KindOffer)
		r.receive(KindCheck)
		r.send(Message{Kind: KindExpect})
		conn, err := r.endpoint.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		r.send(Message{Kind: KindSeen})
		endless := slices.Concat([]byte("HTTP/1.1 400 Bad Request\r\nServer: IMDS/"), make([]byte, 1<<20))
		_, err = conn.Write(endless) // ends when the other side closes
		for err == nil {
			_, err = conn.Write(endless)
		}
		if got := r.receive(KindFailed); !strings.Contains(got.Failure.Message, "reading the answer") {
			t.Errorf("failed with %q", got.Failure.Message)
		}
		<-r.ended
	})
}

func TestRunWithABadJanitor(t *testing.T) {
	for _, tt := range []struct{ janitor, want string }{
		{"janitor that dies", "waiting for the janitor"},
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
		r.receive(KindFailed)
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
		pid := janitorPID(&o)
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

// janitorPID makes the janitor's standard error tell its pid.
func janitorPID(o *Options) <-chan int {
	pid := make(chan int, 1)
	o.Janitor = append([]string{"/bin/sh", "-c", `echo $$ >&2; exec "$@"`, "sh"}, o.Janitor...)
	read, write, err := os.Pipe()
	if err != nil {
		close(pid)
		return pid
	}
	o.JanitorLog = write
	go func() {
		defer read.Close()
		var n int
		if _, err := fmt.Fscan(read, &n); err == nil {
			pid <- n
		}
		close(pid)
		write.Close()
	}()
	return pid
}

// A second holder is refused while one lives, and told whose it is.
func TestRunTwice(t *testing.T) {
	inNamespace(t, func(ns *netns.NS) {
		first := startRun(t, ns, options(t, "janitor"))
		first.send(Message{Kind: KindHello})
		first.check()
		second := startRun(t, ns, options(t, "janitor"))
		second.send(Message{Kind: KindHello})
		second.receive(KindFailed)
		locked, ok := errors.AsType[*LockedError](<-second.ended)
		if !ok || locked.PID != os.Getpid() {
			t.Errorf("the second holder returned %v, want a LockedError of process %d", locked, os.Getpid())
		}
		first.send(Message{Kind: KindStop})
		first.receive(KindStopped)
		<-first.ended
	})
}

// The probe is the owner's to the kernel, and stays the thread's only act as the owner.
func TestProbeIsTheOwners(t *testing.T) {
	netns.Root(t)
	err := netns.New(t).Do(func() error {
		ln, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer ln.Close()
		for _, uid := range []uint32{1234, 0, 65534} {
			p, err := newProbe(Owner{UID: uid})
			if err != nil {
				return err
			}
			defer p.file.Close()
			addr := ln.Addr().(*net.TCPAddr)
			if err := unix.Connect(int(p.file.Fd()), &unix.SockaddrInet4{Addr: addr.AddrPort().Addr().As4(), Port: addr.Port}); err != nil {
				return err
			}
			got, err := uidOf(p.inode)
			if err != nil {
				return err
			}
			if got != uid {
				t.Errorf("the kernel says that the probe is of uid %d, want %d", got, uid)
			}
			if now, err := unix.SetfsuidRetUid(-1); err != nil || now != 0 {
				t.Errorf("the thread's filesystem uid is %d: %v", now, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// uidOf is whose socket has an inode, as proc_net_tcp says for the thread's namespace.
func uidOf(inode uint64) (uint32, error) {
	table, err := os.ReadFile("/proc/thread-self/net/tcp")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		var uid uint32
		if len(fields) > 9 && fields[9] == fmt.Sprint(inode) {
			_, err := fmt.Sscan(fields[7], &uid)
			return uid, err
		}
	}
	return 0, fmt.Errorf("no socket %d in\n%s", inode, table)
}

// A failed stop is not hidden by the reason to stop.
func TestFinishReportsAFailedStop(t *testing.T) {
	inNamespace(t, func(ns *netns.NS) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err := ns.Do(func() error {
			h, err := lock(options(t, "janitor"))
			if err != nil {
				return err
			}
			if err := h.start(t.Context()); err != nil {
				return err
			}
			if err := h.endpoint.Close(); err != nil { // the stop closes it once more
				return err
			}
			return h.finish(ctx, nil, context.Canceled)
		})
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("finish returned %v, want %v", err, os.ErrClosed)
		}
	})
}
