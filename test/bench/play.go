package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// dialsAtOnce is how many connections a flood has under way.
const dialsAtOnce = 64

// beCrowd is what a [crowd] does: "ask" answers the questions of a [client], "flood ADDRESS N" opens connections that are
// refused and says how it went, "idle ADDRESS N" opens connections, says so and holds them. Each ends with its standard input.
func beCrowd(ctx context.Context, args []string) error {
	if len(args) == 1 && args[0] == "ask" {
		return beClient(ctx, os.Stdin, os.Stdout)
	}
	if len(args) != 3 {
		return errors.New("reading arguments: want --crowd ask, or --crowd VERB ADDRESS N")
	}
	n, err := strconv.Atoi(args[2])
	if err != nil {
		return fmt.Errorf("reading the count: %w", err)
	}
	switch args[0] {
	case "flood":
		return beRefused(ctx, args[1], n)
	case "idle":
		return beIdle(ctx, args[1], n)
	}
	return fmt.Errorf("reading arguments: no %q", args[0])
}

// beClient answers each line with a line.
func beClient(ctx context.Context, in io.Reader, out io.Writer) error {
	questions := bufio.NewScanner(in)
	for questions.Scan() {
		answer, err := answer(ctx, strings.Fields(questions.Text()))
		if err != nil {
			answer = failure + strings.ReplaceAll(err.Error(), "\n", "; ")
		}
		if _, err := fmt.Fprintln(out, answer); err != nil {
			return err
		}
	}
	return questions.Err()
}

func answer(ctx context.Context, words []string) (string, error) {
	var numbers [2]int
	for i, word := range words[min(2, len(words)):] {
		n, err := strconv.Atoi(word)
		if err != nil || i == len(numbers) {
			return "", fmt.Errorf("reading question %q: %w", words, err)
		}
		numbers[i] = n
	}
	if len(words) < 2 {
		return "", fmt.Errorf("reading question %q: want WHAT ADDRESS", words)
	}
	var took time.Duration
	var err error
	switch addr := words[1]; words[0] {
	case "kept":
		took, err = kept(ctx, addr, numbers[0])
	case "fresh":
		took, err = fresh(ctx, addr, numbers[0])
	case "load":
		took, err = load(ctx, addr, numbers[0], numbers[1])
	case "first":
		err = firstAnswer(ctx, addr)
	case "capture":
		text, err := capture(ctx, addr)
		return strconv.Quote(string(text)), err
	default:
		err = fmt.Errorf("reading question %q: what is that?", words)
	}
	return took.String(), err
}

// beRefused dials n times and waits each time for the connection to be ended.
func beRefused(ctx context.Context, addr string, n int) error {
	var taken, kernel, reset atomic.Int64
	var workers errgroup.Group
	for range dialsAtOnce {
		workers.Go(func() error {
			for taken.Add(1) <= int64(n) {
				c, err := dial(ctx, addr)
				if errors.Is(err, syscall.ECONNRESET) {
					reset.Add(1) // before the dialler had a look at it
					continue
				}
				if err != nil {
					kernel.Add(1) // refused, or nothing leads there
					continue
				}
				_, err = c.in.ReadByte()
				if closed := c.conn.Close(); closed != nil {
					return closed
				}
				if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
					return errors.New("waiting for a reset: the connection was served")
				}
				reset.Add(1)
			}
			return nil
		})
	}
	if err := workers.Wait(); err != nil {
		return err
	}
	_, err := fmt.Printf("%d refused by the kernel, %d by the server\n", kernel.Load(), reset.Load())
	return err
}

// beIdle opens n connections, tells how many the server has kept, and holds them until standard input ends.
func beIdle(ctx context.Context, addr string, n int) (err error) {
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			err = errors.Join(err, c.Close())
		}
	}()
	var d net.Dialer
	for range n {
		c, err := d.DialContext(ctx, "tcp4", addr)
		if errors.Is(err, syscall.ECONNRESET) {
			continue // before the dialler had a look at it
		}
		if err != nil {
			return err
		}
		conns = append(conns, c)
	}
	open := 0
	for _, c := range conns {
		if err := c.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
			return err
		}
		if _, err := c.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
			open++
		}
	}
	if _, err := fmt.Printf("%d of %d kept\n", open, n); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}
