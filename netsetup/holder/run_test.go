package holder

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"azimds/test/netns"
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

// A server that is not as it should be ends its session, is told why when it still listens, and leaves nothing behind. These
// run one after another: a process that another test forks has this one's closed listener until it has done its execve(2).
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
		if err := <-r.ended; err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
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
		if err := <-first.ended; err != nil {
			t.Errorf("the first holder returned %v", err)
		}
	})
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
