package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"
)

// serveHTTP serves as the metadata server does: it lets requests under way end.
func serveHTTP(handler http.HandlerFunc) func(context.Context, net.Listener) error {
	return func(ctx context.Context, ln net.Listener) error {
		hs := &http.Server{Handler: handler}
		ended := make(chan error, 1)
		go func() { ended <- hs.Serve(ln) }()
		select {
		case err := <-ended:
			return err
		case <-ctx.Done():
			return hs.Shutdown(context.WithoutCancel(ctx))
		}
	}
}

// A new listener is served in the place of the one before, whose request under way is answered; the end of the old one is none of
// the agent's, that of the last one is.
func TestEndpointFollows(t *testing.T) {
	first, second := listenerFile(t), listenerFile(t)
	arrived, answer := make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	group, failing := errgroup.WithContext(ctx)
	e := &endpoint{ctx: failing, group: group, log: slog.New(slog.DiscardHandler), serve: serveHTTP(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			arrived <- struct{}{}
			<-answer
		}
	})}
	if err := e.follow(first); err != nil {
		t.Fatal(err)
	}
	slow := make(chan error, 1)
	go func() { slow <- get(addressOf(t, first[0]) + "/slow") }()
	<-arrived
	if err := e.follow(second); err != nil {
		t.Fatal(err)
	}
	if err := get(addressOf(t, second[0])); err != nil {
		t.Errorf("the new listener: %v", err)
	}
	close(answer)
	if err := <-slow; err != nil {
		t.Errorf("the request under way: %v", err)
	}
	if err := get(addressOf(t, second[0])); err != nil {
		t.Errorf("the new listener, when the old one has ended: %v", err)
	}
	cancel()
	if err := group.Wait(); err != nil {
		t.Errorf("the group: %v", err)
	}
}

// What is no listener is refused, and a listener that fails ends the agent unless there is another.
func TestEndpointFails(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	group, failing := errgroup.WithContext(t.Context())
	begun, broken := make(chan struct{}, 1), errors.New("broken")
	e := &endpoint{ctx: failing, group: group, log: slog.New(slog.DiscardHandler)}
	var listeners atomic.Int32
	e.serve = func(ctx context.Context, ln net.Listener) error {
		defer ln.Close()
		first := listeners.Add(1) == 1
		begun <- struct{}{}
		if first {
			<-ctx.Done()
		}
		return broken
	}
	for name, files := range map[string][]*os.File{"no file": nil, "no socket": {file}, "two": append(listenerFile(t), listenerFile(t)...)} {
		if err := e.follow(files); err == nil {
			t.Errorf("%s is taken for a listener", name)
		}
	}
	if err := e.follow(listenerFile(t)); err != nil {
		t.Fatal(err)
	}
	<-begun
	if err := e.follow(listenerFile(t)); err != nil {
		t.Fatal(err)
	}
	<-begun
	if err := group.Wait(); !errors.Is(err, broken) {
		t.Errorf("the group: %v", err)
	}
}

func addressOf(t *testing.T, file *os.File) string {
	t.Helper()
	ln, err := net.FileListener(file)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return "http://" + ln.Addr().String()
}

func get(url string) error {
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get(url)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return errors.Join(err, resp.Body.Close())
}
