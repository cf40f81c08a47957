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
	"path/filepath"
	"syscall"
	"time"
)

// The words on a lifeline: the janitor says once that it watches, the holder says at its end that it has taken everything
// down itself, or has left it for the holder that follows. The last two are of one length.
const (
	watching = "watching\n"
	done     = "done\n"
	left     = "left\n"
)

// lockFD is where a janitor has its holder's lock: the first of the extra files, see os/exec.
const lockFD = 3

// How long a janitor may take to end: with nothing to do, and with a sweep before it, which netsetup bounds to 15 s.
const (
	dismissLimit = 5 * time.Second
	abandonLimit = 20 * time.Second
)

// janitor is the holder's side of its janitor process.
type janitor struct {
	process  *os.Process
	lifeline io.WriteCloser
	answers  io.ReadCloser
	gone     chan struct{} // closed when the process has ended
	err      error         // how it ended; read after gone
}

// startJanitor starts command as the janitor: in a session of its own, so that no terminal's signal reaches it, with the
// lifeline as its standard input. It shares the lock, which a flock(2) on one open file allows: while a janitor is at work
// after its holder's death, no new holder starts.
func startJanitor(command []string, stderr *os.File, state *State) (*janitor, error) {
	cmd := exec.Command(command[0], command[1:]...) // without a context: it outlives every one of its holder's
	if stderr != nil {
		cmd.Stderr = stderr
	}
	cmd.ExtraFiles = []*os.File{state.lock} // lockFD
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	lifeline, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("making a lifeline: %w", err)
	}
	answers, err := cmd.StdoutPipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("making a lifeline: %w", err), lifeline.Close())
	}
	if err := cmd.Start(); err != nil { // closes both pipes
		return nil, fmt.Errorf("starting the janitor %q: %w", command, err)
	}
	return &janitor{process: cmd.Process, lifeline: lifeline, answers: answers, gone: make(chan struct{})}, nil
}

// watch waits for the process; it runs in a goroutine of the holder's, which waits for gone.
func (j *janitor) watch() {
	state, err := j.process.Wait()
	if err == nil {
		err = fmt.Errorf("the janitor ended: %s", state)
	}
	j.err = errors.Join(err, ignoreClosed(j.answers.Close()))
	close(j.gone)
}

// awaitWatch returns when the janitor has said that it watches, or ctx ends.
func (j *janitor) awaitWatch(ctx context.Context) error {
	giveUp := context.AfterFunc(ctx, func() { j.answers.Close() })
	answer, err := bufio.NewReader(j.answers).ReadString('\n')
	if !giveUp() {
		return context.Cause(ctx)
	}
	if err != nil || answer != watching {
		return fmt.Errorf("waiting for the janitor, which said %q: %w", answer, errors.Join(err, syscall.EPIPE))
	}
	return nil
}

// dismiss lets the janitor end with nothing left in the kernel for it to do, or with all left as it is, and waits until it has.
func (j *janitor) dismiss(word string) error {
	_, err := io.WriteString(j.lifeline, word)
	if errors.Is(err, syscall.EPIPE) { // it has ended
		err = nil
	}
	if err = errors.Join(err, j.lifeline.Close()); err != nil {
		err = fmt.Errorf("dismissing the janitor: %w", err)
	}
	return errors.Join(err, j.await(dismissLimit))
}

// abandon leaves everything to the janitor, and waits until it has ended.
func (j *janitor) abandon() error {
	if err := j.lifeline.Close(); err != nil {
		return fmt.Errorf("cutting the janitor's lifeline: %w", err)
	}
	return j.await(abandonLimit)
}

// await waits for the end of the process, and makes it end when it takes too long: a process that somebody has stopped
// must not keep the lock.
func (j *janitor) await(limit time.Duration) error {
	select {
	case <-j.gone:
		return nil
	case <-time.After(limit):
	}
	err := j.process.Kill()
	<-j.gone
	return errors.Join(fmt.Errorf("waiting for the janitor to end: %w", os.ErrDeadlineExceeded), err)
}

func ignoreClosed(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

// Sweeper removes from the network namespace whatever carries our mark, and names it: [netsetup.Interceptor].
type Sweeper interface {
	Sweep(ctx context.Context) ([]string, error)
}

// JanitorState is the locked state that a holder shares with its janitor. It is an error in a process that no holder has
// started: it does not have the lock.
func JanitorState() (*State, error) {
	dir, err := Dir()
	if err != nil {
		return nil, err
	}
	syscall.CloseOnExec(lockFD) // an iptables that hangs must not keep the lock
	s := &State{Dir: dir, lock: os.NewFile(lockFD, filepath.Join(dir, lockFile))}
	if !s.ours() {
		return nil, fmt.Errorf("taking over lock %q: a holder starts a janitor, and nobody else: %w", s.lock.Name(), os.ErrInvalid)
	}
	if err := s.flock(); err != nil { // a file that was opened anew does not share the lock
		return nil, fmt.Errorf("taking over lock %q: %w", s.lock.Name(), err)
	}
	return s, nil
}

// RunJanitor is the janitor's whole life: it waits for the end of lifeline, which is the end of the holder, and then removes
// what the holder left in the kernel, unless the holder said that it did, and the state folder. It goes by our mark on
// things and not by a plan: a holder can die before it has one. Signals that would end it before are ignored.
func RunJanitor(ctx context.Context, state *State, lifeline io.Reader, answers io.Writer, host Sweeper, log *slog.Logger) error {
	signal.Ignore(janitorIgnores...)
	if _, err := io.WriteString(answers, watching); err != nil {
		log.Error("telling the holder", "error", err) // it may be dead already: go on
	}
	last, err := io.ReadAll(io.LimitReader(lifeline, int64(len(done))))
	if err != nil {
		log.Error("reading the lifeline", "error", err) // as good as its end
	}
	switch string(last) {
	case done:
		return state.Remove()
	case left:
		return state.Release()
	}
	removed, err := host.Sweep(context.WithoutCancel(ctx))
	err = errors.Join(err, state.Remove()) // before a word is logged: the log may be a pipe that nobody reads
	for _, what := range removed {
		log.Warn("removed what a dead holder left", "what", what)
	}
	return err
}

// janitorIgnores are the signals that end a process from a terminal, from a service manager, or by a reader's death.
var janitorIgnores = []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE, syscall.SIGQUIT}
