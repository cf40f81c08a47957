package holder

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

// The words on a lifeline: the holder writes one order a line, the janitor answers each order but the last with ack.
const (
	ack = "ok\n"
)

// order is what a holder tells its janitor.
type order struct {
	Dir  string `json:"dir,omitempty"`  // when I am gone, remove all that is marked as ours, and this folder
	Done bool   `json:"done,omitempty"` // I have taken everything down myself
}

// janitor is the holder's side of its janitor process.
type janitor struct {
	cmd     *exec.Cmd
	dir     string // entrusted
	orders  io.WriteCloser
	answers *bufio.Reader
	gone    chan struct{} // closed when the process has ended
	err     error         // how it ended; read after gone
}

// startJanitor starts command as the janitor: in a session of its own, so that no terminal's signal reaches it, with the
// lifeline as its standard input. It shares the lock, which a flock(2) on one open file allows: while a janitor is at work
// after its holder's death, no new holder starts.
func startJanitor(command []string, stderr io.Writer, lock *os.File) (*janitor, error) {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stderr = stderr
	cmd.ExtraFiles = []*os.File{lock}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	orders, err := cmd.StdinPipe()
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
	j := &janitor{cmd: cmd, orders: orders, answers: bufio.NewReader(answers), gone: make(chan struct{})}
	return j, nil
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

// entrust leaves the folder, and the network namespace, to the janitor and returns when it has understood.
func (j *janitor) entrust(dir string) error {
	j.dir = dir
	if err := j.tell(order{Dir: dir}); err != nil {
		return err
	}
	answer, err := j.answers.ReadString('\n')
	if err != nil || answer != ack {
		return fmt.Errorf("waiting for the janitor: it answered %q: %w", answer, errors.Join(err, syscall.EPIPE))
	}
	return nil
}

// dismiss lets the janitor end with nothing left for it to do, and waits until it has.
func (j *janitor) dismiss() error {
	select {
	case <-j.gone:
		return nil
	default:
	}
	err := errors.Join(j.tell(order{Dir: j.dir, Done: true}), j.orders.Close())
	<-j.gone
	return err
}

func (j *janitor) tell(o order) error {
	data, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("encoding an order: %w", err)
	}
	if _, err := j.orders.Write(append(data, '\n')); err != nil {
		return fmt.Errorf("telling the janitor: %w", err)
	}
	return nil
}

// Sweeper removes from the network namespace whatever carries our mark, and names it: [netsetup.Interceptor].
type Sweeper interface {
	Sweep(ctx context.Context) ([]string, error)
}

// RunJanitor is the janitor's whole life: it reads orders from lifeline until its end, which is the end of the holder, and
// then removes what the holder left in the kernel, unless the holder said that it did, and the state folder. It goes by our
// mark on things and not by a plan: a holder can die before it has one. Signals that would end it before are ignored.
func RunJanitor(ctx context.Context, lifeline io.Reader, answers io.Writer, host Sweeper, log *slog.Logger) error {
	signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE, syscall.SIGQUIT)
	last, err := follow(lifeline, answers)
	if err != nil {
		log.Error("reading the lifeline", "error", err) // and go on: what was entrusted before counts
	}
	if last.Dir == "" {
		return err // nothing was entrusted
	}
	if last.Done {
		return errors.Join(err, RemoveState(last.Dir))
	}
	removed, sweepErr := host.Sweep(ctx)
	for _, what := range removed {
		log.Warn("removed what a dead holder left", "what", what)
	}
	return errors.Join(err, sweepErr, RemoveState(last.Dir))
}

// follow reads orders until the lifeline ends and returns the last one.
func follow(lifeline io.Reader, answers io.Writer) (order, error) {
	var last order
	lines := bufio.NewScanner(lifeline)
	for lines.Scan() {
		var o order
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			return last, fmt.Errorf("decoding an order: %w", err)
		}
		last = o
		if o.Done {
			continue
		}
		if _, err := io.WriteString(answers, ack); err != nil {
			return last, fmt.Errorf("answering an order: %w", err)
		}
	}
	return last, lines.Err()
}
