package imds_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"azimds/imds"
	"azimds/imds/caller"
	"azimds/imds/token"
)

// soon is a limit short enough for a test to reach.
const soon = 50 * time.Millisecond

// A client that stops in the middle, or floods, is cut off; one that is in order is served by the same server.
func TestLimits(t *testing.T) {
	generous := imds.Limits{Header: patience, Read: patience, Answer: patience, Write: patience, Idle: patience}
	tests := []struct {
		name   string
		change func(*imds.Limits)
		send   string
		want   string // how the reply begins; "" when there is none
	}{
		{"nothing sent", func(l *imds.Limits) { l.Header = soon }, "", ""},
		{"request line unfinished", func(l *imds.Limits) { l.Header = soon }, "GET /meta", "HTTP/1.1 400 "},
		{"headers unfinished", func(l *imds.Limits) { l.Header = soon }, strings.TrimSuffix(get(), "\r\n"), ""},
		{"body unfinished", func(l *imds.Limits) { l.Read = soon }, get("Content-Length: 10") + "1", "HTTP/1.1 200 OK"},
		{"idle after a request", func(l *imds.Limits) { l.Idle = soon }, get(), "HTTP/1.1 200 OK"},
		{"idle, next request unfinished", func(l *imds.Limits) { l.Header = soon }, get() + "GET ", "HTTP/1.1 200 OK"},
		{"header flood", func(l *imds.Limits) { l.HeaderBytes = 1 << 10 }, get("X: " + strings.Repeat("x", 8<<10)), "HTTP/1.1 431 "},
		{"many headers", func(l *imds.Limits) { l.HeaderBytes = 1 << 10 }, get(strings.Split(strings.Repeat("X: x,", 2000), ",")[:2000]...), "HTTP/1.1 431 "},
		{"long target", func(l *imds.Limits) { l.HeaderBytes = 1 << 10 },
			request("GET "+target+strings.Repeat("x", 8<<10)+" HTTP/1.1", "Host: 169.254.169.254", "Metadata: true"), "HTTP/1.1 431 "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := start(t, func(o *imds.Options) { o.Limits = generous; tt.change(&o.Limits) })
			c := a.dial(t, 1)
			if _, err := io.WriteString(c, tt.send); err != nil && !torn(err) {
				t.Fatal(err)
			}
			b, err := io.ReadAll(c) // returns when the server hangs up
			if err != nil && !torn(err) {
				t.Fatal(err)
			}
			if got := string(b); !strings.HasPrefix(got, tt.want) || tt.want == "" && got != "" {
				t.Errorf("reply %q, want %q", got, tt.want)
			}
			if got := a.status(t, get()); got != "200" {
				t.Errorf("status %s afterwards", got)
			}
		})
	}
}

// A client that asks and asks and never reads is cut off when the sockets' buffers are full.
func TestWriteLimit(t *testing.T) {
	for name, raw := range map[string]string{
		"tokens":   strings.Replace(get(), "vault.azure.net", "long.test", 1),
		"problems": request("GET /metadata/identity HTTP/1.1", "Host: 169.254.169.254"),
	} {
		t.Run(name, func(t *testing.T) {
			a := start(t, func(o *imds.Options) {
				o.Limits.Write = soon
				o.Log = nil
			})
			c := a.dial(t, 1)
			for many := strings.Repeat(raw, 100); ; {
				if _, err := io.WriteString(c, many); torn(err) {
					return
				} else if err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// A source that does not answer costs its client the limit, and no retry that would take as long again on the same
// connection; limits for reading and writing do not cut it short.
func TestAnswerLimit(t *testing.T) {
	stuck := sourceFunc(func(ctx context.Context, _ token.Request) (token.Token, error) {
		<-ctx.Done()
		return token.Token{}, ctx.Err()
	})
	for name, raw := range map[string]string{"alone": get(), "pipelined": get() + get()} {
		t.Run(name, func(t *testing.T) {
			a := start(t, func(o *imds.Options) {
				o.Source = stuck
				o.Limits = imds.Limits{Answer: 4 * soon, Read: soon, Write: soon, Header: soon, Idle: patience}
			})
			c := a.dial(t, 1)
			if _, err := io.WriteString(c, raw); err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(c)
			if err != nil && !torn(err) {
				t.Fatal(err)
			}
			if got := string(b); strings.Count(got, "HTTP/1.1 503 Service Unavailable\r\nConnection: close") != 1 ||
				!strings.Contains(got, "no token within") || strings.Count(got, "HTTP/1.1") != 1 {
				t.Errorf("reply %q", got)
			}
		})
	}
}

// A source that takes longer than reading and writing may is waited for, and the connection lives on. How long is told by
// other connections: the server has cut off one that sends nothing since.
func TestSlowSource(t *testing.T) {
	asked, release := make(chan struct{}), make(chan struct{})
	a := start(t, func(o *imds.Options) {
		world := o.Source
		o.Source = sourceFunc(func(ctx context.Context, r token.Request) (token.Token, error) {
			asked <- struct{}{}
			select {
			case <-ctx.Done():
				return token.Token{}, ctx.Err()
			case <-release:
				return world.Token(ctx, r)
			}
		})
		o.Limits = imds.Limits{Read: soon, Write: soon, Header: soon, Idle: patience}
	})
	c := a.dial(t, 1)
	for range 2 {
		if _, err := io.WriteString(c, get()); err != nil {
			t.Fatal(err)
		}
		<-asked
		if b, err := io.ReadAll(a.dial(t, 1)); len(b) > 0 || err != nil && !torn(err) {
			t.Fatal(b, err)
		}
		release <- struct{}{}
		if got := statusOfNext(t, c); got != http.StatusOK {
			t.Fatalf("status %d:\n%s", got, a)
		}
	}
}

// A client that leaves ends the context of its request, and nothing loud is said.
func TestClientLeaves(t *testing.T) {
	asked, left, answered := make(chan struct{}), make(chan error, 1), make(chan imds.Event, 1)
	a := start(t, func(o *imds.Options) {
		o.Source = sourceFunc(func(ctx context.Context, _ token.Request) (token.Token, error) {
			close(asked)
			<-ctx.Done()
			left <- ctx.Err()
			return token.Token{}, ctx.Err()
		})
		o.Observe = func(e imds.Event) { answered <- e }
	})
	c := a.dial(t, 1)
	if _, err := io.WriteString(c, get()); err != nil {
		t.Fatal(err)
	}
	<-asked
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	<-answered
	if log := a.String(); strings.Contains(log, "WARN") || strings.Contains(log, "ERROR") {
		t.Errorf("log:\n%s", log)
	}
}

// Serve, told to end, takes no more connections, finishes the request under way, and returns nil.
func TestDrain(t *testing.T) {
	asked, release := make(chan struct{}), make(chan struct{})
	a := start(t, nil)
	b := start(t, func(o *imds.Options) {
		o.Source = sourceFunc(func(ctx context.Context, r token.Request) (token.Token, error) {
			close(asked)
			<-release
			return a.world.Token(ctx, r)
		})
		o.Limits.Drain = patience
	})
	c := b.dial(t, 1)
	if _, err := io.WriteString(c, get()); err != nil {
		t.Fatal(err)
	}
	<-asked
	b.stop()
	for { // until the listener is closed
		other, err := net.Dial("tcp4", b.addr)
		if err != nil {
			break
		}
		other.Close()
	}
	close(release)
	if got := statusOfNext(t, c); got != http.StatusOK {
		t.Fatalf("status %d", got)
	}
	if err := <-b.served; err != nil {
		t.Error(err)
	}
}

// Who had been accepted before Serve was told to end is answered, also when the request comes after.
func TestDrainAnswersNewcomers(t *testing.T) {
	accepted := make(chan struct{}, 1)
	a := start(t, func(o *imds.Options) {
		admit := o.Admit
		o.Admit = func(c caller.Caller) error {
			select {
			case accepted <- struct{}{}:
			default: // one is enough
			}
			return admit(c)
		}
		o.Limits.Drain = patience
	})
	c := a.dial(t, 1)
	<-accepted
	a.stop()
	for { // until the listener is closed
		other, err := net.Dial("tcp4", a.addr)
		if err != nil {
			break
		}
		other.Close()
	}
	if got := ask(t, c); got != http.StatusOK {
		t.Errorf("status %d", got)
	}
	if err := <-a.served; err != nil {
		t.Error(err)
	}
}

// A request that outlasts the drain is cut off, and Serve still returns nil.
func TestDrainEnds(t *testing.T) {
	asked := make(chan struct{})
	a := start(t, func(o *imds.Options) {
		o.Source = sourceFunc(func(ctx context.Context, _ token.Request) (token.Token, error) {
			close(asked)
			<-ctx.Done()
			return token.Token{}, ctx.Err()
		})
		o.Limits.Drain = soon
	})
	c := a.dial(t, 1)
	if _, err := io.WriteString(c, get()); err != nil {
		t.Fatal(err)
	}
	<-asked
	a.stop()
	if err := <-a.served; err != nil {
		t.Error(err)
	}
	if !strings.Contains(a.String(), `level=WARN msg="connections cut off"`) {
		t.Errorf("log:\n%s", a)
	}
}

// What breaks the listener is Serve's error.
func TestListenerFails(t *testing.T) {
	s := newServer(t)
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(t.Context(), ln); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}
