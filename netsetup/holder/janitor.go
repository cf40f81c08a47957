package holder

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

// The words on a lifeline: the janitor says once that it watches, the holder says at its end that it has taken everything
// down itself.
const (
	watching = "watching\n"
	done     = "done\n"
)

// janitor is the holder's side of its janitor process.
type janitor struct {
	cmd      *exec.Cmd
	lifeline io.WriteCloser
	answers  *bufio.Reader
	gone     chan struct{} // closed when the process has ended
	err      error         // how it ended; read after gone
}

// startJanitor starts command, with dir as its last argument, as the janitor: in a session of its own, so that no terminal's
// signal reaches it, with the lifeline as its standard input. It shares the lock, which a flock(2) on one open file allows:
// while a janitor is at work after its holder's death, no new holder starts.
func startJanitor(command []string, stderr io.Writer, state *State) (*janitor, error) {
	cmd := exec.Command(command[0], append(command[1:], state.Dir)...)
	cmd.Stderr = stderr
	cmd.ExtraFiles = []*os.File{state.lock}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	lifeline, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("making a lifeline: %w", err)
	}
	answers, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("making a lifeline: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the janitor %q: %w", command, err)
	}
	return &janitor{cmd: cmd, lifeline: lifeline, answers: bufio.NewReader(answers), gone: make(chan struct{})}, nil
}

// watch waits for the process; it runs in a goroutine of the holder's, which waits for gone.
func (j *janitor) watch() {
	state, err := j.cmd.Process.Wait()
	if err == nil {
		err = fmt.Errorf("the janitor ended: %s", state)
	}
	j.err = err
	close(j.gone)
}

// awaitWatch returns when the janitor has said that it watches.
func (j *janitor) awaitWatch() error {
	answer, err := j.answers.ReadString('\n')
	if err != nil || answer != watching {
		return fmt.Errorf("waiting for the janitor, which said %q: %w", answer, errors.Join(err, syscall.EPIPE))
	}
	return nil
}

// dismiss lets the janitor end with nothing left in the kernel for it to do, and waits until it has.
func (j *janitor) dismiss() error {
	select {
	case <-j.gone:
		return nil
	default:
	}
	_, err := io.WriteString(j.lifeline, done)
	if err = errors.Join(err, j.lifeline.Close()); err != nil {
		err = fmt.Errorf("dismissing the janitor: %w", err)
	}
	<-j.gone
	return err
}

// Sweeper removes from the network namespace whatever carries our mark, and names it: [netsetup.Interceptor].
type Sweeper interface {
	Sweep(ctx context.Context) ([]string, error)
}

// RunJanitor is the janitor's whole life: it waits for the end of lifeline, which is the end of the holder, and then removes
// what the holder left in the kernel, unless the holder said that it did, and the state folder dir. It goes by our mark on
// things and not by a plan: a holder can die before it has one. Signals that would end it before are ignored.
func RunJanitor(ctx context.Context, dir string, lifeline io.Reader, answers io.Writer, host Sweeper, log *slog.Logger) error {
	signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE, syscall.SIGQUIT)
	if _, err := io.WriteString(answers, watching); err != nil {
		log.Error("telling the holder", "error", err) // it may be dead already: go on
	}
	last, err := io.ReadAll(io.LimitReader(lifeline, int64(len(done))))
	if err != nil {
		log.Error("reading the lifeline", "error", err) // as good as its end
	}
	if string(last) == done {
		return RemoveState(dir)
	}
	removed, err := host.Sweep(context.WithoutCancel(ctx))
	for _, what := range removed {
		log.Warn("removed what a dead holder left", "what", what)
	}
	return errors.Join(err, RemoveState(dir))
}
