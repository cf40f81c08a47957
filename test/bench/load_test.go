package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

func TestSkipResponse(t *testing.T) {
	for _, tt := range []struct {
		name, in, rest string
		ok             bool
	}{
		{"leaves the next answer", "HTTP/1.1 200 OK\r\nDate: x\r\ncontent-length: 2\r\n\r\n{}HTTP", "HTTP", true},
		{"empty body", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "", true},
		{"other status", "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", "Content-Length: 0\r\n\r\n", false},
		{"no length", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "0\r\n\r\n", false},
		{"negative length", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "\r\n", false},
		{"cut in the head", "HTTP/1.1 200 OK\r\nContent-Le", "", false},
		{"cut in the body", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := bufio.NewReader(strings.NewReader(tt.in))
			if err := skipResponse(in); (err == nil) != tt.ok {
				t.Errorf("skipResponse(%q) = %v, want an error: %v", tt.in, err, !tt.ok)
			}
			rest, err := io.ReadAll(in)
			if err != nil || string(rest) != tt.rest {
				t.Errorf("skipResponse(%q) left %q, %v, want %q", tt.in, rest, err, tt.rest)
			}
		})
	}
}

// FuzzSkipResponse holds that an answer is taken only to the end of its body, and never one without a 200.
func FuzzSkipResponse(f *testing.F) {
	f.Add("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
	f.Add("HTTP/1.1 200 OK\nContent-Length:  02 \n\n{}{}")
	f.Add("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
	f.Add("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		in := bufio.NewReader(strings.NewReader(text))
		if err := skipResponse(in); err == nil && !strings.HasPrefix(text, "HTTP/1.1 200 ") {
			t.Errorf("skipResponse(%q) took it", text)
		}
	})
}

func TestEveryRequestIsSent(t *testing.T) {
	var asked atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.Header.Get("Metadata") != "true" || r.FormValue("resource") != "https://vault.azure.net" {
			http.Error(w, "not a token request", http.StatusBadRequest)
		}
	}))
	defer s.Close()
	addr := s.Listener.Addr().String()
	ctx := t.Context()
	for _, tt := range []struct {
		name string
		do   func() error
		want int64
	}{
		{"kept", func() error { _, err := kept(ctx, addr, 10); return err }, 11},
		{"fresh", func() error { _, err := fresh(ctx, addr, 10); return err }, 10},
		{"load", func() error { _, err := load(ctx, addr, 3, 10); return err }, 13},
		{"first answer", func() error { return firstAnswer(ctx, addr) }, 1},
	} {
		asked.Store(0)
		if err := tt.do(); err != nil || asked.Load() != tt.want {
			t.Errorf("%s: %v, %d requests, want %d", tt.name, err, asked.Load(), tt.want)
		}
	}
}

func TestClientAnswers(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") }))
	defer s.Close()
	addr := s.Listener.Addr().String()
	for _, tt := range []struct{ question, answer string }{
		{"first " + addr, "0s"},
		{"capture " + addr, `"HTTP/1.1 200 OK\r\n`},
		{"kept " + addr + " many", failure},
		{"kept", failure},
		{"dance " + addr, failure},
	} {
		var out strings.Builder
		err := beClient(t.Context(), strings.NewReader(tt.question+"\n"), &out)
		if err != nil || !strings.HasPrefix(out.String(), tt.answer) {
			t.Errorf("%q is answered by %q, %v; want %q", tt.question, out.String(), err, tt.answer)
		}
	}
}

func TestFirstAnswerGivesUp(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := firstAnswer(ctx, s.Listener.Addr().String()); !errors.Is(err, context.Canceled) {
		t.Errorf("firstAnswer = %v, want %v", err, context.Canceled)
	}
}
