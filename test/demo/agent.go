package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	startTime = 20 * time.Second // to the first connection accepted; usual is a tenth of a second
	stopTime  = 20 * time.Second // the agent drains for 5 s and has deadlines of its own below this
	firstNap  = 2 * time.Millisecond
	longNap   = 100 * time.Millisecond
)

// agent is a running azimds.
type agent struct {
	cmd    *exec.Cmd
	output *transcript
	ended  chan struct{} // closed when it has exited, with err set
	err    error
}

// transcript keeps what a process prints; safe for use while it prints.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.Write(p)
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}

// environment is all that the programs shown get: nothing in it names Azure, a proxy or azimds.
func environment(home string) []string {
	env := []string{"HOME=" + home}
	for _, name := range []string{"PATH", "LANG", "TERM", "TMPDIR"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}

func start(o options, home string) (*agent, error) {
	a := &agent{
		cmd:    exec.Command(o.azimds, "run", "--mode", o.mode, "--credential", "emulated"),
		output: &transcript{},
		ended:  make(chan struct{}),
	}
	a.cmd.Env, a.cmd.Stdout, a.cmd.Stderr = environment(home), a.output, a.output
	a.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the demo, which then stops the agent in order
	a.cmd.WaitDelay = leaveTime                             // a process of its may hold the output a little longer
	if err := a.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %q: %w", o.azimds, err)
	}
	go func() {
		a.err = a.cmd.Wait()
		close(a.ended)
	}()
	return a, nil
}

// answering waits until the agent accepts connections.
func (a *agent) answering(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	dialer := net.Dialer{Timeout: time.Second}
	for nap := firstNap; ; nap = min(2*nap, longNap) {
		conn, err := dialer.DialContext(ctx, "tcp4", endpoint)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-a.ended:
			return fmt.Errorf("starting azimds: it ended before it answered (%w): %s", a.exit(), a.lastWords())
		case <-ctx.Done():
			return fmt.Errorf("waiting for azimds to answer: %w: %s", context.Cause(ctx), a.lastWords())
		case <-time.After(nap):
		}
	}
}

// stop tells the agent to stop and waits for its end, for which it must exit 0. Calling it again does nothing.
func (a *agent) stop() error {
	select {
	case <-a.ended:
		return nil // answering has told
	default:
	}
	if err := a.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stopping azimds: %w", err)
	}
	select {
	case <-a.ended:
	case <-time.After(stopTime):
		return errors.Join(fmt.Errorf("stopping azimds: it still runs after %v", stopTime), a.cmd.Process.Kill())
	}
	if a.err != nil {
		return fmt.Errorf("stopping azimds: %w: %s", a.err, a.lastWords())
	}
	return nil
}

func (a *agent) pid() int { return a.cmd.Process.Pid }

func (a *agent) said() string { return a.output.String() }

// exit is why the agent ended, never nil.
func (a *agent) exit() error {
	if a.err != nil {
		return a.err
	}
	return errors.New("exit status 0")
}

// lastWords is the last line the agent printed.
func (a *agent) lastWords() string {
	lines := strings.Split(strings.TrimSpace(a.said()), "\n")
	if last := lines[len(lines)-1]; last != "" {
		return last
	}
	return "it said nothing"
}
