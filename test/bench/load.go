package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// request is the token request of an SDK, reduced to what every SDK sends.
	request = "GET /metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fvault.azure.net HTTP/1.1\r\n" +
		"Host: 169.254.169.254\r\nUser-Agent: azimds-bench\r\nMetadata: true\r\nAccept: */*\r\nAccept-Encoding: gzip\r\n\r\n"

	// answerTime bounds one connection's life under load, so that a server that hangs ends the benchmark.
	answerTime = 30 * time.Second
	// startTime bounds a server's way to its first answer.
	startTime = 20 * time.Second
	// startNap is the pause between two tries to reach a server that starts: 1/80 of the 8 ms a bare one needs.
	startNap = 100 * time.Microsecond
)

// connection is used for one request at a time.
type connection struct {
	conn net.Conn
	in   *bufio.Reader
}

func dial(ctx context.Context, addr string) (*connection, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp4", addr)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(answerTime)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &connection{conn, bufio.NewReaderSize(conn, 8<<10)}, nil
}

// reset ends the connection at once for both sides, which keeps no port of it.
func (c *connection) reset() error {
	tcp, ok := c.conn.(*net.TCPConn)
	if !ok {
		return errors.Join(fmt.Errorf("resetting a connection of type %T: not TCP", c.conn), c.conn.Close())
	}
	return errors.Join(tcp.SetLinger(0), tcp.Close())
}

// get sends the request and reads the answer to its end.
func (c *connection) get() error {
	if _, err := io.WriteString(c.conn, request); err != nil {
		return err
	}
	return skipResponse(c.in)
}

// skipResponse reads one HTTP/1.1 response with a Content-Length and forgets it. A status other than 200 is an error. It
// parses no more than that because the generator shares the processors with the server it measures.
func skipResponse(in *bufio.Reader) error {
	length := -1
	for first := true; ; first = false {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return fmt.Errorf("reading the head of an answer: %w", err)
		}
		line = bytes.TrimRight(line, "\r\n")
		if first && !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")) {
			return fmt.Errorf("reading the head of an answer: status %q", line)
		}
		if len(line) == 0 {
			break
		}
		if name, value, _ := bytes.Cut(line, []byte(":")); bytes.EqualFold(name, []byte("Content-Length")) {
			n, err := strconv.ParseUint(string(bytes.TrimSpace(value)), 10, 31)
			if err != nil {
				return fmt.Errorf("reading the length of an answer: %w", err)
			}
			length = int(n)
		}
	}
	if length < 0 {
		return errors.New("reading the length of an answer: it has none")
	}
	if _, err := in.Discard(length); err != nil {
		return fmt.Errorf("reading the body of an answer: %w", err)
	}
	return nil
}

// kept returns the median time of n requests, one after the other, on one connection.
func kept(ctx context.Context, addr string, n int) (time.Duration, error) {
	c, err := dial(ctx, addr)
	if err != nil {
		return 0, err
	}
	defer c.conn.Close()
	if err := c.get(); err != nil { // what the first request of a connection costs, fresh measures
		return 0, err
	}
	times := make([]time.Duration, n)
	for i := range times {
		begin := time.Now()
		if err := c.get(); err != nil {
			return 0, err
		}
		times[i] = time.Since(begin)
	}
	return median(times), nil
}

// fresh returns the median time of n requests, one after the other, each from the dialling of its own connection on. It resets
// each afterwards: a port of who closes first is kept for a minute (TIME_WAIT), and where most are, connect searches through them
// for longer than everything else takes.
func fresh(ctx context.Context, addr string, n int) (time.Duration, error) {
	times := make([]time.Duration, n)
	for i := range times {
		begin := time.Now()
		c, err := dial(ctx, addr)
		if err != nil {
			return 0, err
		}
		err = c.get()
		times[i] = time.Since(begin)
		if err := errors.Join(err, c.reset()); err != nil {
			return 0, err
		}
	}
	return median(times), nil
}

// load returns how long n requests took, spread over connections that each send the next when they have the last.
func load(ctx context.Context, addr string, connections, n int) (time.Duration, error) {
	clients := make([]*connection, connections)
	for i := range clients {
		c, err := dial(ctx, addr)
		if err != nil {
			return 0, err
		}
		defer c.conn.Close()
		if err := c.get(); err != nil { // accepted, and past the first request's cost
			return 0, err
		}
		clients[i] = c
	}
	var taken atomic.Int64
	var workers errgroup.Group
	begin := time.Now()
	for _, c := range clients {
		workers.Go(func() error {
			for taken.Add(1) <= int64(n) {
				if err := c.get(); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err := workers.Wait()
	return time.Since(begin), err
}

// firstAnswer waits for the first 200 of a server that starts. Until then every failure only means not yet.
func firstAnswer(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	for {
		c, err := dial(ctx, addr)
		if err == nil {
			err = errors.Join(c.get(), c.conn.Close())
		}
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for an answer of %q: %w", addr, err)
		case <-time.After(startNap):
		}
	}
}

// capture returns the bytes of one whole answer.
func capture(ctx context.Context, addr string) ([]byte, error) {
	c, err := dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	defer c.conn.Close()
	var answer bytes.Buffer
	c.in = bufio.NewReader(io.TeeReader(c.conn, &answer))
	if err := c.get(); err != nil {
		return nil, err
	}
	return answer.Bytes(), nil
}

// median sorts values and returns the one in the middle, of an even number the upper one.
func median[T ~int64 | ~float64](values []T) T {
	slices.Sort(values)
	return values[len(values)/2]
}
