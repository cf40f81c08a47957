package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// Half of the clients keep their connection; each asks once more when told to end; and each answer that is no token counts.
func TestLoad(t *testing.T) {
	var mu sync.Mutex
	status, asked, connections := http.StatusOK, map[string]int{}, 0
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked[r.RemoteAddr]++
		w.WriteHeader(status)
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		mu.Lock()
		defer mu.Unlock()
		if state == http.StateNew {
			connections++
		}
	}
	server.Start()
	defer server.Close()
	fail := func() {
		mu.Lock()
		defer mu.Unlock()
		status = http.StatusForbidden
	}
	for _, tt := range []struct {
		name      string
		underLoad func()
		failed    int64
	}{
		{"all is well", func() {}, 0},
		{"the last ones fail", fail, 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, end := context.WithCancel(t.Context())
			defer end()
			in, out := io.Pipe()
			failed := make(chan int64, 1)
			go func() {
				failed <- load(ctx, server.URL, 4, out)
				out.Close()
			}()
			first := make([]byte, len("under load\n"))
			if _, err := io.ReadFull(in, first); err != nil || string(first) != "under load\n" {
				t.Fatalf("load said %q: %v", first, err)
			}
			tt.underLoad()
			end()
			rest, err := io.ReadAll(in)
			if err != nil {
				t.Fatal(err)
			}
			if n := <-failed; n < tt.failed || !strings.HasSuffix(string(rest), " failed\n") || tt.failed == 0 && n != 0 {
				t.Errorf("%d failed, want at least %d, and none where that is none; load said:\n%s", n, tt.failed, rest)
			}
		})
	}
	kept := 0
	for _, n := range asked {
		if n > 1 {
			kept++
		}
	}
	if kept != 4 || connections <= 4 {
		t.Errorf("%d of %d connections had more than one request, want those of 4 clients", kept, connections)
	}
}
