package holder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// errServerGone ends a session whose server has ended or let go of its link.
var errServerGone = errors.New("the server is gone")

// errStopAsked ends a session because its server asked for it.
var errStopAsked = errors.New("the server asked to stop")

// peer is the server at the other end of a link. One goroutine reads; it ends with the link.
type peer struct {
	link *Link
	in   chan Message
	done chan struct{}
	// cancel ends what is under way for the server.
	cancel  context.CancelCauseFunc
	closing chan struct{} // closed when nobody takes what is read any more
}

// follow starts reading from link. The context it returns ends, with a cause, when the link does: whatever is under way
// for a server that has died is given up.
func follow(ctx context.Context, link *Link) (context.Context, *peer) {
	ctx, cancel := context.WithCancelCause(ctx)
	p := &peer{link: link, in: make(chan Message, 16), done: make(chan struct{}), cancel: cancel, closing: make(chan struct{})}
	go func() {
		defer close(p.done)
		cancel(p.read())
	}()
	return ctx, p
}

// read passes messages on until the link ends, also when there is nothing more to do for the server: it may have to be asked
// to stop. A server sends few: one that floods waits.
func (p *peer) read() error {
	for {
		m, files, err := p.link.Receive()
		closeAll(files) // a server has none to give
		switch {
		case errors.Is(err, io.EOF):
			return errServerGone
		case err != nil:
			return fmt.Errorf("%w: %w", errServerGone, err)
		}
		select {
		case p.in <- m:
		case <-p.closing:
			return errServerGone
		}
	}
}

// next waits for a message.
func (p *peer) next(ctx context.Context) (Message, error) {
	select {
	case m := <-p.in:
		return m, nil
	case <-ctx.Done():
		return Message{}, context.Cause(ctx)
	}
}

// send sends m. That the server has gone, or has stopped reading, is errServerGone, on whichever side of the link it shows
// first.
func (p *peer) send(m Message, files ...*os.File) error {
	err := p.link.Send(m, files...)
	for _, gone := range []error{unix.EPIPE, unix.ECONNRESET, net.ErrClosed, os.ErrDeadlineExceeded} {
		if errors.Is(err, gone) {
			return fmt.Errorf("%w: %w", errServerGone, err)
		}
	}
	return err
}

// tell sends m and files to a server that may be gone.
func (p *peer) tell(log *slog.Logger, m Message, files ...*os.File) {
	if err := p.send(m, files...); err != nil {
		log.Debug("telling the server", "kind", m.Kind, "error", err)
	}
}

// close ends the link and waits for the reader.
func (p *peer) close() error {
	p.cancel(nil)
	close(p.closing)
	err := p.link.Close()
	<-p.done
	return err
}
