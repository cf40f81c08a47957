package holder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
)

// answer tells a server which guest's a socket is: 0 is none's. Others are asked about meanwhile.
func (g *guests) answer(ctx context.Context, p *peer, m Message) {
	if g.asks == nil {
		p.tell(g.holder.options.Log, Message{Kind: KindAnswer, ID: m.ID})
		return
	}
	g.asks <- struct{}{}
	g.running.Go(func() {
		defer func() { <-g.asks }()
		a := Message{Kind: KindAnswer, ID: m.ID}
		var err error
		if a.Guest, err = g.whose(ctx, m.Inode); err != nil {
			a.Error = err.Error()
		}
		p.tell(g.holder.options.Log, a)
	})
}

// whose asks all, the innermost tree first. The host is one of them where it serves a tree. When one cannot say, nobody else's it is.
func (g *guests) whose(ctx context.Context, inode uint64) (uint64, error) {
	all := g.living()
	if o := g.holder.options; o.Tree != 0 {
		host := &guest{Visit: Visit{Tree: o.Tree, Since: g.holder.since}}
		at, _ := slices.BinarySearchFunc(all, host, laterFirst)
		all = slices.Insert(all, at, host)
	}
	for i, v := range all {
		if v.link == nil && i == len(all)-1 {
			break // the server asks itself
		}
		mine := g.holder.mine
		if v.link != nil {
			mine = func(inode uint64) (bool, error) { return v.owns(ctx, inode) }
		}
		ok, err := mine(inode)
		if err != nil {
			return 0, fmt.Errorf("asking the azimds of process %d: %w", v.Tree, err)
		}
		if ok {
			return v.id, nil
		}
	}
	return 0, nil
}

// owns asks a guest. One that has ended owns nothing; one that does not answer is let go.
func (v *guest) owns(ctx context.Context, inode uint64) (bool, error) {
	answer := make(chan Message, 1)
	v.mu.Lock()
	v.asked++
	id := v.asked
	v.asks[id] = answer
	v.mu.Unlock()
	defer func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		delete(v.asks, id)
	}()
	// What is asked when the host is told to end has its time still.
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), guestLimit, os.ErrDeadlineExceeded)
	defer cancel()
	if err := v.link.Send(Message{Kind: KindWhose, ID: id, Inode: inode}); err != nil {
		return false, errors.Join(err, v.link.Close())
	}
	select {
	case m := <-answer:
		if m.Error != "" {
			return false, errors.New(m.Error)
		}
		return m.InTree, nil
	case <-v.gone:
		return false, nil
	case <-ctx.Done():
		return false, errors.Join(context.Cause(ctx), v.link.Close())
	}
}

// hear passes on what a guest says.
func (v *guest) hear(m Message) {
	if m.Kind != KindAnswer {
		select {
		case v.words <- m:
		default: // nobody has asked
		}
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if waiting, ok := v.asks[m.ID]; ok {
		waiting <- m
		delete(v.asks, m.ID)
	}
}
