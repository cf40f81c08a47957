package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"azimds/imds"
	"azimds/imds/caller"
	"azimds/imds/control"
	"azimds/imds/policy"
	"azimds/imds/token"
	"azimds/netsetup/holder"
	"azimds/systemd"
)

// rememberedCallers is how many of the last requests and refusals a status shows.
const rememberedCallers = 10

// agent is what the metadata endpoint, the control socket and the link to the holder have in common.
type agent struct {
	*server
	offered  atomic.Pointer[holder.Offer] // what the holder has: another holder's plan may come
	guests   guests
	since    time.Time
	supply   atomic.Pointer[supply]
	keeper   *gatekeeper
	endpoint *endpoint
	env      *imds.EnvEndpoint // nil where requests are intercepted
	zones    *zones
	control  func(*net.UnixListener) // serves on a control socket

	children atomic.Int64 // programs that this process started and that may be running

	expected atomic.Uint64 // the socket inode of the holder's own connection; 0 expects none
	checked  atomic.Uint64 // the same when it has come and is not answered yet: nobody's request; 0 is none
	requests atomic.Uint64
	given    atomic.Uint64
	failures atomic.Uint64
	refused  atomic.Uint64

	pause atomic.Pointer[time.Time] // until when no tokens are given; see paused

	hub control.Hub // of who watches

	mu     sync.Mutex
	recent []control.Activity
	asked  uint64
	asks   map[uint64]chan holder.Message

	readied   atomic.Bool // the holder's own probe has been answered
	releasing sync.Once
	telling   sync.Once
	told      chan struct{} // closed when the holder wants this process to stop
	stopped   chan struct{} // closed when the holder has taken the interception down
	lost      chan struct{} // closed when the link is gone
}

func newAgent(s *server, offer *holder.Offer) (*agent, error) {
	admission, err := admission(s.config, offer.Owner.UID)
	if err != nil {
		return nil, err
	}
	policy, err := policyOf(s.config)
	if err != nil {
		return nil, err
	}
	a := &agent{
		server: s, since: time.Now(), asks: map[uint64]chan holder.Message{},
		stopped: make(chan struct{}), lost: make(chan struct{}), told: make(chan struct{}),
	}
	a.offered.Store(offer)
	if a.keeper, err = newGatekeeper("/proc", offer.Owner, admission, policy, s.config.Limits.Rate); err != nil {
		return nil, err
	}
	if a.keeper.sharing, err = inContainer(); err != nil {
		s.log.Warn("this is taken for no container", "error", err)
		a.keeper.sharing = false
	}
	a.keeper.find = a.find
	if offer.Tree != 0 {
		a.keeper.tree = a.inTree
	}
	a.supply.Store(newSupply(s.config, s.credential, s.log, &a.children))
	return a, nil
}

// offer is what the holder has, now.
func (a *agent) offer() *holder.Offer { return a.offered.Load() }

// admit says who may talk to the metadata endpoint, as far as the kernel tells at once. The holder's own connection is known by
// its socket, and what the kernel says of it goes back to the holder.
func (a *agent) admit(c caller.Caller) error {
	if c.Inode != 0 && a.expected.CompareAndSwap(c.Inode, 0) {
		a.checked.Store(c.Inode)
		a.keeper.home.Store(c.Cgroup)
		if err := a.link.Send(holder.Message{Kind: holder.KindSeen, UID: c.UID}); err != nil {
			return err
		}
		if c.UID == a.offer().Owner.UID {
			return nil
		}
	}
	return a.keeper.admit(c)
}

// screen says who a caller is, and looks closer at whether it may talk to the metadata endpoint.
func (a *agent) screen(gone <-chan struct{}, c caller.Caller) (caller.Detail, error) {
	if a.ours(c) {
		return caller.Detail{}, nil
	}
	return a.keeper.screen(gone, c)
}

// ours tells the holder's own connection, for as long as it lasts. Its inode is another socket's afterwards: the numbers come round,
// and sooner where somebody makes sockets for that.
func (a *agent) ours(c caller.Caller) bool { return c.Inode != 0 && c.Inode == a.checked.Load() }

// find asks the holder whose a socket is, as this process may not look at everybody's.
func (a *agent) find(c caller.Caller) (caller.Process, bool) {
	answer, err := a.ask(context.Background(), holder.Message{Kind: holder.KindFind, Inode: c.Inode, UID: c.UID, Client: c.Client})
	if err != nil {
		a.log.Debug("looking for a caller", "error", err)
	}
	if err != nil || answer.Process == nil {
		return caller.Process{}, false
	}
	return caller.Process(*answer.Process), true
}

// inTree tells whether a socket belongs to the command's process tree. Where this process may not look, the holder does.
func (a *agent) inTree(inode uint64) (bool, error) {
	ok, err := inTree(a.offer().Tree, os.Getpid())(inode)
	if ok || err == nil {
		return ok, nil
	}
	answer, askErr := a.ask(context.Background(), holder.Message{Kind: holder.KindAsk, Inode: inode})
	if askErr != nil {
		return false, errors.Join(err, askErr)
	}
	return answer.InTree, nil
}

// observe counts and remembers what the metadata endpoint did, and tells who watches.
func (a *agent) observe(e imds.Event) {
	if a.ours(e.Caller) {
		a.checked.Store(0) // it has one request
		return
	}
	switch {
	case e.Refused():
		a.refused.Add(1)
	case e.Route == "token" && e.Status == 200:
		a.requests.Add(1)
		a.given.Add(1)
	case e.Status >= 500:
		a.requests.Add(1)
		a.failures.Add(1)
	default:
		a.requests.Add(1)
	}
	seen := activity(e)
	a.hub.Publish(seen)
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.recent) == rememberedCallers {
		copy(a.recent, a.recent[1:])
		a.recent = a.recent[:rememberedCallers-1]
	}
	a.recent = append(a.recent, seen)
}

// followHolder acts on what the holder says, until it has taken the interception down or is gone.
func (a *agent) followHolder() error {
	for {
		m, files, err := a.link.Receive()
		if err == nil {
			err = a.listen(m, files)
		}
		for _, f := range files {
			f.Close() // a listener is a duplicate, and no other file is awaited
		}
		if err != nil {
			select {
			case <-a.stopped:
				return nil
			default:
			}
			close(a.lost)
			if errors.Is(err, io.EOF) {
				err = errHolderGone
			}
			return err
		}
		if done, err := a.act(m); done || err != nil {
			return err
		}
	}
}

func (a *agent) act(m holder.Message) (done bool, err error) {
	switch m.Kind {
	case holder.KindCheck:
		a.expected.Store(m.Inode)
		a.checked.Store(0) // the one before was never answered, and its inode may be another's by now
		return false, a.link.Send(holder.Message{Kind: holder.KindExpect})
	case holder.KindReady:
		return false, a.ready()
	case holder.KindAnswer:
		a.deliver(m)
	case holder.KindStop:
		a.telling.Do(func() { close(a.told) })
	case holder.KindFailed:
		if m.Failure != nil {
			close(a.lost)
			return true, m.Failure
		}
	case holder.KindStopped:
		close(a.stopped)
		if m.Error != "" {
			return true, fmt.Errorf("taking the interception down: %s", m.Error)
		}
		return true, nil
	}
	return false, nil
}

// available tells whether there is a token to be had. The holder's own probe, at the start, wants an answer in any case.
func (a *agent) available() bool {
	return !a.readied.Load() || a.paused().IsZero() && a.supply.Load().source.Available()
}

// ready tells the person and whoever started this process.
func (a *agent) ready() error {
	a.readied.Store(true)
	if err := a.announce(); err != nil {
		a.log.Debug("announcing", "error", err) // nobody reads standard output any more
	}
	if a.tether == nil {
		return systemd.Ready(a.serviceStatus())
	}
	if err := a.tellVariables(); err != nil {
		return err
	}
	if _, err := io.WriteString(a.tether, readyLine); err != nil {
		return fmt.Errorf("reporting that the server is ready: %w", err)
	}
	return nil
}

// serviceStatus is what systemctl status says of the server.
func (a *agent) serviceStatus() string {
	if a.env != nil {
		return fmt.Sprintf("answers at %s for %s, endpoint %s, credential %s",
			a.offer().Plan.Endpoint, a.offer().Owner, a.env.Kind(), a.supply.Load().config.Credential)
	}
	return fmt.Sprintf("answers at %s for %s, mode %s, credential %s",
		a.offer().Plan.Endpoint, a.offer().Owner, a.offer().Plan.Mode, a.supply.Load().config.Credential)
}

// living returns when no other goroutine holds the agent's state for ever.
func (a *agent) living() {
	a.mu.Lock()
	defer a.mu.Unlock()
}

// release asks the holder, once, to take the interception down, or to have a guest go on with it: then nobody is accepted here any
// more, and who has been is answered as long as the holder can be asked about them.
func (a *agent) release() {
	a.releasing.Do(func() {
		if a.guests.any() {
			a.endpoint.end()
		}
		if err := a.link.Send(holder.Message{Kind: holder.KindStop}); err != nil {
			a.log.Debug("asking the holder to stop", "error", err)
		}
	})
}

// Stop has the holder take the interception down, and returns when it has.
func (a *agent) Stop(ctx context.Context) error {
	a.release()
	select {
	case <-a.stopped:
		return nil
	case <-a.lost:
		return errHolderGone
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Token gets a token as a client of the metadata endpoint would, for a process that may be one.
func (a *agent) Token(ctx context.Context, pid int, r token.Request) (token.Token, error) {
	if a.offer().Tree != 0 {
		ok, err := caller.Descends("/proc", pid, a.offer().Tree, os.Getpid())
		if err != nil {
			return token.Token{}, err
		}
		if !ok {
			return token.Token{}, &token.Error{
				Message: "this agent serves one command and what it starts; process " + strconv.Itoa(pid) + " is neither", Command: "azimds status",
			}
		}
	}
	asking, err := a.keeper.owners(pid)
	if refusal, ok := errors.AsType[*policy.Refusal](err); ok {
		return token.Token{}, &token.Error{Message: refusal.Reason, Command: "azimds policy explain"}
	}
	if err != nil {
		return token.Token{}, err
	}
	r, err = a.keeper.decide(asking, r)
	if denial, ok := errors.AsType[*policy.Denial](err); ok {
		return token.Token{}, &token.Error{Message: denial.Reason + ", by " + denial.By, Command: "azimds policy explain"}
	}
	return a.fromSupply(ctx, r)
}

// Refresh drops cached tokens: the next request for each is put to the credential.
func (a *agent) Refresh(resource string) int { return a.supply.Load().drop(resource) }

// Watch has a watcher get each activity from now on.
func (a *agent) Watch() (*control.Watcher, error) { return a.hub.Watch() }

// How long the holder may take to answer: whose a socket is, for which a client waits, and how the kernel compares with the plan,
// for which it starts programs of iptables.
const (
	askLimit    = 2 * time.Second
	whoseLimit  = 5 * time.Second // it asks guests in turn, and lets one go that does not answer in 4 s
	reportLimit = 10 * time.Second
)

// ask puts a question to the holder and waits for the answer.
func (a *agent) ask(ctx context.Context, m holder.Message) (holder.Message, error) {
	limit := askLimit
	switch {
	case m.Kind == holder.KindAsk && m.Inode == 0:
		limit = reportLimit
	case m.Kind == holder.KindWhose:
		limit = whoseLimit
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	answer := make(chan holder.Message, 1)
	a.mu.Lock()
	a.asked++
	m.ID = a.asked
	a.asks[m.ID] = answer
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.asks, m.ID)
	}()
	if err := a.link.Send(m); err != nil {
		return holder.Message{}, err
	}
	select {
	case got := <-answer:
		if got.Error != "" {
			return got, fmt.Errorf("asking the holder: %s", got.Error)
		}
		return got, nil
	case <-a.lost:
		return holder.Message{}, errHolderGone
	case <-ctx.Done():
		return holder.Message{}, fmt.Errorf("asking the holder: %w", ctx.Err())
	}
}

func (a *agent) deliver(m holder.Message) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if waiting, ok := a.asks[m.ID]; ok {
		waiting <- m
		delete(a.asks, m.ID)
	}
}
