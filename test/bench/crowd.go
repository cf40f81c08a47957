package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Who runs, by uid. None is root: the server of root may not look at other processes of root's, since they have more privilege.
const (
	owner    = 61_000
	stranger = 61_001 // is not served
	guest    = 61_002 // is served by --allow-users
)

// crowd is this program in another process, as somebody. See beCrowd for what it can do.
type crowd struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// startCrowd starts one.
func startCrowd(uid uint32, args ...string) (*crowd, error) {
	c := &crowd{cmd: exec.Command("/proc/self/exe", append([]string{"--crowd"}, args...)...)}
	c.cmd.Stderr = os.Stderr
	// In a session of its own, as somebody else is: see server.start.
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	var err error
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("starting %q: %w", args, err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("starting %q: %w", args, err)
	}
	c.out = bufio.NewReader(out)
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %q: %w", args, err)
	}
	return c, nil
}

// line waits for the next line that the process says. After the end of ctx there is no other.
func (c *crowd) line(ctx context.Context) (string, error) {
	type said struct {
		line string
		err  error
	}
	next := make(chan said, 1)
	go func() {
		line, err := c.out.ReadString('\n')
		next <- said{strings.TrimSuffix(line, "\n"), err}
	}()
	select {
	case s := <-next:
		return s.line, s.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// end has the process end, and waits for it.
func (c *crowd) end() error {
	if c == nil {
		return nil
	}
	return errors.Join(c.in.Close(), c.cmd.Wait())
}

// client is a process of the owner's that asks servers: one is found by its process, too, and root's cannot be.
type client struct{ *crowd }

func startClient() (client, error) {
	c, err := startCrowd(owner, "ask")
	return client{c}, err
}

// ask puts a question to the process: what to do with a server, and how often.
func (c client) ask(ctx context.Context, what, addr string, numbers ...int) (string, error) {
	words := []string{what, addr}
	for _, n := range numbers {
		words = append(words, strconv.Itoa(n))
	}
	if _, err := fmt.Fprintln(c.in, strings.Join(words, " ")); err != nil {
		return "", fmt.Errorf("asking %q: %w", words, err)
	}
	line, err := c.line(ctx)
	if err != nil {
		return "", fmt.Errorf("asking %q: %w", words, err)
	}
	if why, failed := strings.CutPrefix(line, failure); failed {
		return "", errors.New(why)
	}
	return line, nil
}

// failure begins the line that says why there is no answer.
const failure = "error: "

// time is ask for a question that is answered with a time.
func (c client) time(ctx context.Context, what, addr string, numbers ...int) (time.Duration, error) {
	line, err := c.ask(ctx, what, addr, numbers...)
	if err != nil {
		return 0, err
	}
	return time.ParseDuration(line)
}

// kept, fresh, load and firstAnswer are what the functions of these names do in the client's process.
func (c client) kept(ctx context.Context, addr string, n int) (time.Duration, error) {
	return c.time(ctx, "kept", addr, n)
}

func (c client) fresh(ctx context.Context, addr string, n int) (time.Duration, error) {
	return c.time(ctx, "fresh", addr, n)
}

func (c client) load(ctx context.Context, addr string, connections, n int) (time.Duration, error) {
	return c.time(ctx, "load", addr, connections, n)
}

func (c client) firstAnswer(ctx context.Context, addr string) error {
	_, err := c.ask(ctx, "first", addr)
	return err
}

// capture returns the bytes of one whole answer.
func (c client) capture(ctx context.Context, addr string) ([]byte, error) {
	line, err := c.ask(ctx, "capture", addr)
	if err != nil {
		return nil, err
	}
	text, err := strconv.Unquote(line)
	return []byte(text), err
}
