package holder

import (
	"context"
	"errors"
	"fmt"
	"io"
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
}

// attend starts reading from link. The context it returns ends, with a cause, when the link does: whatever is under way
// for a server that has died is given up.
func attend(ctx context.Context, link *Link) (context.Context, *peer) {
	ctx, cancel := context.WithCancelCause(ctx)
	p := &peer{link: link, in: make(chan Message, 16), done: make(chan struct{})}
	go func() {
		defer close(p.done)
		cancel(p.read(ctx))
	}()
	return ctx, p
}

// read passes messages on until the link ends. A server sends few: one that floods waits.
func (p *peer) read(ctx context.Context) error {
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
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// next waits for a message of the kind wanted.
func (p *peer) next(ctx context.Context, want Kind) (Message, error) {
	select {
	case m := <-p.in:
		switch m.Kind {
		case want:
			return m, nil
		case KindStop:
			return m, errStopAsked
		default:
			return m, fmt.Errorf("waiting for message %q: the server sent %q", want, m.Kind)
		}
	case <-ctx.Done():
		return Message{}, context.Cause(ctx)
	}
}

// close ends the link and waits for the reader.
func (p *peer) close() error {
	err := p.link.Close()
	<-p.done
	return err
}
