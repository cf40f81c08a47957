package holder

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"azimds/netsetup"
	"azimds/test/netns"
)

// hold is Hold under test.
type hold struct {
	holder *Holder
	socket string // to attach to
	cancel context.CancelFunc
	ended  chan error // what Hold returned
}

// startHold runs Hold in ns and waits until servers can connect.
func startHold(t *testing.T, ns *netns.NS, o Options) *hold {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	h := &hold{cancel: cancel, ended: make(chan error, 1)}
	ready := make(chan *Holder, 1)
	go func() {
		h.ended <- ns.Do(func() error { return Hold(ctx, o, func(h *Holder) { ready <- h }) })
	}()
	select {
	case h.holder = <-ready:
		h.socket = filepath.Join(h.holder.state.Dir, attachFile)
	case err := <-h.ended:
		t.Fatalf("Hold returned %v", err)
	}
	return h
}

// stop ends the context and waits.
func (h *hold) stop() error {
	h.cancel()
	return <-h.ended
}

func attach(t *testing.T, socket string) *fakeServer {
	t.Helper()
	link, err := DialLink(socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { link.Close() })
	return &fakeServer{t: t, link: link}
}

// Servers come and go; a connection made in between is queued, and the next server answers it.
func TestHoldServesOneServerAfterAnother(t *testing.T) {
	inNamespace(t, func(ns *netns.NS) {
		h := startHold(t, ns, options(t, "janitor"))
		for _, end := range []Kind{KindStop, ""} {
			s := attach(t, h.socket)
			s.send(Message{Kind: KindHello})
			s.check()
			if end != "" {
				s.send(Message{Kind: end})
				s.receive(KindStopped)
			}
			s.leave()
		}

		var client net.Conn
		err := ns.Do(func() (err error) {
			client, err = net.Dial("tcp4", netsetup.Endpoint.String())
			return err
		})
		if err != nil {
			t.Fatalf("between two servers: %v", err)
		}
		defer client.Close()
		if _, err := client.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		s := attach(t, h.socket)
		s.send(Message{Kind: KindHello})
		s.receive(KindOffer)
		s.receive(KindCheck)
		s.answer(400, "IMDS/1", Message{})
		answer := make([]byte, len("HTTP/1.1 400"))
		if _, err := client.Read(answer); err != nil || string(answer) != "HTTP/1.1 400" {
			t.Errorf("the queued client got %q, %v", answer, err)
		}
		s.link.Close()
		if err := h.stop(); err != nil {
			t.Errorf("Hold returned %v", err)
		}
	})
}

// A report, for which iptables is asked, keeps no client waiting that a server asks about.
func TestHoldReportsInBetween(t *testing.T) {
	inNamespace(t, func(ns *netns.NS) {
		h := startHold(t, ns, options(t, "janitor"))
		s := attach(t, h.socket)
		s.send(Message{Kind: KindHello})
		s.check()
		slow := make(chan struct{})
		if !h.holder.healer.lend(func() { <-slow }) {
			t.Fatal("nothing can be done in between")
		}
		s.send(Message{Kind: KindAsk, ID: 1})
		s.send(Message{Kind: KindAsk, ID: 2, Inode: 4711})
		if m := s.receive(KindAnswer); m.ID != 2 || !m.InTree {
			t.Errorf("answered first: %+v", m)
		}
		close(slow)
		if m := s.receive(KindAnswer); m.ID != 1 || m.Report == nil {
			t.Errorf("answered then: %+v", m)
		}
		s.leave()
		if err := h.stop(); err != nil {
			t.Errorf("Hold returned %v", err)
		}
	})
}

// A second server waits until the first has gone.
func TestHoldServesOneServerAtATime(t *testing.T) {
	inNamespace(t, func(ns *netns.NS) {
		h := startHold(t, ns, options(t, "janitor"))
		first, second := attach(t, h.socket), attach(t, h.socket)
		first.send(Message{Kind: KindHello})
		first.check()
		second.send(Message{Kind: KindHello})
		first.send(Message{Kind: KindAsk})
		first.receive(KindAnswer)
		first.leave()
		second.check()
		if err := h.stop(); err != nil {
			t.Errorf("Hold returned %v", err)
		}
		second.receive(KindStopped)
	})
}

// A server that fails its check is told why, and the next one is served.
func TestHoldOutlivesABadServer(t *testing.T) {
	inNamespace(t, func(ns *netns.NS) {
		h := startHold(t, ns, options(t, "janitor"))
		silent := attach(t, h.socket)
		bad := attach(t, h.socket)
		bad.send(Message{Kind: KindHello})
		if _, _, err := silent.link.Receive(); err == nil {
			t.Error("a server that says nothing was told something")
		}
		bad.receive(KindOffer)
		bad.receive(KindCheck)
		bad.send(Message{Kind: KindReady})
		bad.receive(KindFailed)
		bad.leave()
		good := attach(t, h.socket)
		good.send(Message{Kind: KindHello})
		good.check()
		if err := h.stop(); err != nil {
			t.Errorf("Hold returned %v", err)
		}
		good.receive(KindStopped)
	})
}

// The janitor's end ends Hold, also while a server is silent.
func TestHoldEndsWithItsJanitor(t *testing.T) {
	for _, hello := range []bool{false, true} {
		inNamespace(t, func(ns *netns.NS) {
			o := options(t, "janitor")
			pid := janitorPID(t, &o)
			h := startHold(t, ns, o)
			s := attach(t, h.socket)
			if hello {
				s.send(Message{Kind: KindHello})
				s.check()
			}
			if err := syscall.Kill(<-pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			if hello {
				s.receive(KindFailed)
			}
			if _, _, err := s.link.Receive(); err == nil {
				t.Error("the link did not end")
			}
			if err := <-h.ended; err == nil {
				t.Error("Hold returned nil")
			}
		})
	}
}

// The attach socket is the owner's: to the file system, and to the holder when the file system does not say so.
func TestHoldAttendsToTheOwnerAlone(t *testing.T) {
	inNamespace(t, func(ns *netns.NS) {
		o := options(t, "janitor")
		o.Owner = Owner{UID: 4242, GID: 4243, Name: "owner"}
		h := startHold(t, ns, o)
		server := func(uid uint32) string {
			cmd := exec.Command("/proc/self/exe", h.socket)
			cmd.Args[0] = "server"
			cmd.Env = append(os.Environ(), roleVariable+"=server")
			cmd.Dir = "/"
			var out bytes.Buffer
			cmd.Stdout = &out
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
			if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
				t.Fatal(err)
			}
			return out.String()
		}
		if got := server(4242); got != string(KindOffer) {
			t.Errorf("the owner heard %q", got)
		}
		if got := server(4244); !strings.Contains(got, "permission denied") {
			t.Errorf("another user heard %q", got)
		}
		if got := server(0); got == string(KindOffer) {
			t.Errorf("root, who is not the owner, heard %q", got)
		}
		if err := os.Chmod(h.socket, 0o666); err != nil {
			t.Fatal(err)
		}
		if got := server(4244); got == string(KindOffer) || strings.Contains(got, "permission denied") {
			t.Errorf("another user, past the file system, heard %q", got)
		}
		if got := server(4242); got != string(KindOffer) {
			t.Errorf("the owner then heard %q", got)
		}
		if err := h.stop(); err != nil {
			t.Errorf("Hold returned %v", err)
		}
	})
}

func TestDialLinkWithoutAHolder(t *testing.T) {
	if _, err := DialLink(filepath.Join(t.TempDir(), "none")); !errors.Is(err, ErrNoHolder) {
		t.Errorf("DialLink returned %v, want %v", err, ErrNoHolder)
	}
}
