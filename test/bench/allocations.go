package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"azimds/imds"
	"azimds/imds/caller"
	"azimds/imds/token"
)

// countedRequests is over how many requests allocations are averaged.
const countedRequests = 2_000

// one is a credential and a resolver that always know the answer: what is counted is the way of a request whose token is
// cached, on a connection whose caller is known.
type one struct{ token token.Token }

func (o one) Token(context.Context, token.Request) (token.Token, error) { return o.token, nil }

func (o one) Resolve(client, dialed netip.AddrPort) (caller.Caller, error) {
	return caller.Caller{UID: uint32(os.Getuid()), Inode: 1}, nil
}

// allocations is how many heap objects imds allocates for a request beyond those of net/http, which a handler that writes
// an answer of the same length tells. Log lines are made, and discarded.
func allocations(ctx context.Context) (float64, error) {
	always := one{token.Token{
		Value:     token.NewSecret("e30.e30." + strings.Repeat("x", 1000)),
		NotBefore: time.Now(),
		ExpiresOn: time.Now().Add(24 * time.Hour),
	}}
	ours, err := imds.New(imds.Options{
		Dialed:  func(*net.TCPConn) (netip.AddrPort, error) { return netip.MustParseAddrPort(imds.Address), nil },
		Callers: always,
		Admit:   func(caller.Caller) error { return nil },
		Source:  token.Cached(always, token.CacheOptions{}),
		Log:     slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		return 0, fmt.Errorf("making a server: %w", err)
	}
	body, head := make([]byte, 1300), http.Header{"Content-Type": {"application/json"}, "Content-Length": {"1300"}, "Server": {"IMDS"}}
	theirs := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		maps.Copy(w.Header(), head)
		_, _ = w.Write(body) // an error is the client's to see, and it counts what it reads
	})}
	all, err := allocationsOf(ctx, ours.Serve)
	if err != nil {
		return 0, err
	}
	base, err := allocationsOf(ctx, func(ctx context.Context, ln net.Listener) error {
		closed := make(chan error, 1)
		context.AfterFunc(ctx, func() { closed <- theirs.Close() })
		if err := theirs.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return <-closed
	})
	return all - base, err
}

// allocationsOf counts the heap objects of one request on a kept connection, the client's included.
func allocationsOf(ctx context.Context, serve func(context.Context, net.Listener) error) (count float64, err error) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("listening: %w", err)
	}
	serving, stop := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- serve(serving, ln) }()
	defer func() {
		stop()
		err = errors.Join(err, <-served)
	}()
	c, err := dial(ctx, ln.Addr().String())
	if err != nil {
		return 0, err
	}
	defer c.conn.Close()

	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // a collection empties pools
	var before, after runtime.MemStats
	for i := range 2 * countedRequests {
		if i == countedRequests { // pools are full
			runtime.ReadMemStats(&before)
		}
		if err := c.get(); err != nil {
			return 0, fmt.Errorf("counting allocations: %w", err)
		}
	}
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / countedRequests, nil
}
