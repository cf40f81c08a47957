package holder

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"azimds/netsetup"
)

// Guests serve the process trees of commands of the owner's, each with a server of its own, on connections that the host's server
// accepts. A guest changes nothing in the kernel: the host's plan intercepts for it, too.
const (
	// maxGuests bounds how many there are: the kernel passes 253 files with a message (SCM_MAX_FD).
	maxGuests = 200
	// guestLimit is how long a guest may take to say whose a socket is: a client waits.
	guestLimit = 4 * time.Second
	// guestQuestions is how many clients may be asked about at a time.
	guestQuestions = 16
	// knownLimit is how long guests of the holder before this one are waited for, before a server accepts anybody.
	knownLimit = 2 * time.Second
)

// Visit is what a holder says of itself that wants to be a guest.
type Visit struct {
	Owner Owner         `json:"owner"`
	Mode  netsetup.Mode `json:"mode"`  // as wanted
	Tree  int           `json:"tree"`  // the process whose descendants it serves
	Since int64         `json:"since"` // when it began, in nanoseconds since the machine was booted
}

// guests are those that a host has. The zero value has none and takes none.
type guests struct {
	holder *Holder
	ln     *net.UnixListener
	asks   chan struct{} // has something in it for each question under way

	ctx     context.Context // ends when no more are taken
	end     context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex
	last    uint64
	all     []*guest      // who began last comes first: where one is in the tree of another, it is asked first
	told    []uint64      // the guests that the server knows from its offer
	to      *peer         // the server that is told; nil is none
	came    chan struct{} // closed, and made anew, when there is one more
	leaving bool          // for another host: what is theirs in the state folder stays
}

// guest is one of them. The host itself is the one without a link.
type guest struct {
	Visit
	id     uint64
	link   *Link
	outlet *os.File      // where its connections go
	noted  chan struct{} // closed when the server knows of it
	gone   chan struct{} // closed when it has ended
	hosted atomic.Bool   // it has been told that it is one
	words  chan Message  // what it says of a bequest

	mu    sync.Mutex
	asked uint64
	asks  map[uint64]chan Message
}

// start takes guests from now on, until stop.
func (g *guests) start(h *Holder) error {
	ln, err := h.state.Listen("unixpacket", guestFile, Owner{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())})
	if err != nil {
		return err
	}
	g.mu.Lock()
	g.ln, g.asks, g.came, g.leaving = ln, make(chan struct{}, guestQuestions), make(chan struct{}), false
	g.ctx, g.end = context.WithCancel(context.Background())
	g.mu.Unlock()
	g.running.Go(func() {
		for {
			conn, err := ln.AcceptUnix()
			if err != nil {
				return // it has been closed
			}
			g.running.Go(func() { g.host(&Link{conn: conn}) })
		}
	})
	return nil
}

// stop lets all go, and takes no more. Stopping again is fine.
func (g *guests) stop() {
	if g.ln == nil {
		return
	}
	g.ln.Close()
	g.end()
	g.running.Wait()
	g.ln = nil
}

// host has one guest, from its first word to the end of its link.
func (g *guests) host(link *Link) {
	log := g.holder.options.Log
	defer context.AfterFunc(g.ctx, func() { link.Close() })()
	v, err := g.greet(link)
	if err != nil {
		log.Warn("refused a guest", "error", errors.Join(err, link.Close()))
		return
	}
	log.Info("a guest came", "process", v.Tree)
	g.running.Go(func() {
		select {
		case <-v.noted:
			offer := g.holder.described()
			if err := link.Send(Message{Kind: KindHost, Offer: &offer}); err != nil {
				log.Debug("telling a guest", "error", err)
			}
			v.hosted.Store(true)
		case <-v.gone:
		}
	})
	for {
		m, files, err := link.Receive()
		closeAll(files)
		if err != nil {
			break
		}
		v.hear(m)
	}
	g.remove(v)
	log.Info("a guest is gone", "process", v.Tree)
}

// greet takes a guest that may be one: root's, for the same owner. Another user's server must not be asked about the owner's clients.
func (g *guests) greet(link *Link) (*guest, error) {
	cred, err := PeerCredentials(link.conn)
	if err != nil {
		return nil, err
	}
	if cred.Uid != uint32(os.Geteuid()) {
		return nil, fmt.Errorf("its uid is %d: %w", cred.Uid, os.ErrPermission)
	}
	if err := link.conn.SetReadDeadline(time.Now().Add(helloLimit)); err != nil {
		return nil, err
	}
	m, files, err := link.Receive()
	if err == nil {
		err = link.conn.SetReadDeadline(time.Time{})
	}
	if err != nil || m.Kind != KindVisit || m.Visit == nil || len(files) != 1 {
		closeAll(files)
		return nil, errors.Join(fmt.Errorf("it sent %q with %d files", m.Kind, len(files)), err)
	}
	offer := g.holder.described()
	if !m.Visit.fits(offer) {
		closeAll(files)
		return nil, errors.Join(fmt.Errorf("it is for %s in mode %q", m.Visit.Owner, m.Visit.Mode), link.Send(Message{Kind: KindRefused, Offer: &offer}))
	}
	v := &guest{
		Visit: *m.Visit, link: link, outlet: files[0], noted: make(chan struct{}), gone: make(chan struct{}),
		words: make(chan Message, 1), asks: map[uint64]chan Message{},
	}
	if err := g.add(v); err != nil {
		closeAll(files)
		return nil, err
	}
	return v, nil
}

// fits tells whether a holder can be the guest of one that offers this.
func (v Visit) fits(host Offer) bool {
	return v.Tree != 0 && v.Owner.UID == host.Owner.UID && (v.Mode == "" || v.Mode == netsetup.Auto || v.Mode == host.Plan.Mode)
}

func (g *guests) add(v *guest) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.all) >= maxGuests {
		return errors.New("no more are taken")
	}
	g.last++
	v.id = g.last
	at, _ := slices.BinarySearchFunc(g.all, v, laterFirst)
	g.all = slices.Insert(g.all, at, v)
	close(g.came)
	g.came = make(chan struct{})
	if g.to != nil {
		g.to.tell(g.holder.options.Log, Message{Kind: KindGuest, Guest: v.id}, v.outlet)
	}
	return nil
}

func laterFirst(a, b *guest) int { return int(min(max(b.Since-a.Since, -1), 1)) }

// remove forgets a guest, and removes what it may have left.
func (g *guests) remove(v *guest) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all = slices.DeleteFunc(g.all, func(o *guest) bool { return o == v })
	close(v.gone)
	if g.to != nil {
		g.to.tell(g.holder.options.Log, Message{Kind: KindGuest, Guest: v.id})
	}
	err := errors.Join(v.link.Close(), v.outlet.Close())
	again := slices.ContainsFunc(g.all, func(o *guest) bool { return o.Tree == v.Tree })
	if !g.leaving && !again {
		err = errors.Join(err, g.holder.state.discard(treeSocket(v.Tree)))
	}
	if err != nil {
		g.holder.options.Log.Warn("forgetting a guest", "process", v.Tree, "error", err)
	}
}

// note is the server's word that it knows of a guest, or of all.
func (g *guests) note(ids ...uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, v := range g.all {
		if !slices.Contains(ids, v.id) {
			continue
		}
		select {
		case <-v.noted:
		default:
			close(v.noted)
		}
	}
}

// offered are the guests that the server knows from its offer.
func (g *guests) offered() []uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.told
}

// living are the guests now, who began last first.
func (g *guests) living() []*guest {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.all)
}

// settled are those of them that know that they are guests.
func (g *guests) settled() []*guest {
	return slices.DeleteFunc(g.living(), func(v *guest) bool { return !v.hosted.Load() })
}

// awaitKnown waits until the guests of the holder before this one, whose sockets are in the state folder, have come: their
// programs must not be served by another's server meanwhile.
func (g *guests) awaitKnown(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, knownLimit)
	defer cancel()
	for {
		g.mu.Lock()
		all, came := slices.Clone(g.all), g.came
		g.mu.Unlock()
		if !slices.ContainsFunc(g.holder.knownTrees(), func(tree int) bool {
			return !slices.ContainsFunc(all, func(v *guest) bool { return v.Tree == tree })
		}) {
			return
		}
		select {
		case <-came:
		case <-ctx.Done():
			return
		}
	}
}

// knownTrees are the living processes whose trees have a server, other than this holder's own.
func (h *Holder) knownTrees() []int {
	paths, _ := filepath.Glob(filepath.Join(h.state.Dir, treeSocketPattern)) // a pattern without a mistake
	var trees []int
	for _, path := range paths {
		tree, ok := treeOf(path)
		if ok && tree != h.options.Tree && !errors.Is(syscall.Kill(tree, 0), syscall.ESRCH) {
			trees = append(trees, tree)
		}
	}
	return trees
}

// treeSocketPattern matches the control sockets of servers that serve a tree.
const treeSocketPattern = "tree-*.sock"

// treeSocket is the control socket's name of the server for what descends from a process.
func treeSocket(tree int) string { return "tree-" + strconv.Itoa(tree) + ".sock" }

// treeOf is the process whose tree a control socket is for.
func treeOf(path string) (int, bool) {
	var tree int
	n, err := fmt.Sscanf(filepath.Base(path), "tree-%d.sock", &tree)
	return tree, n == 1 && err == nil && tree > 0
}
