package caller

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
)

// Resolver asks the kernel who opened a connection. It is safe for concurrent use; the questions, a few microseconds
// each, go one after another. [NewResolver] makes one.
type Resolver struct {
	open func() (*diag, error)

	mu     sync.Mutex
	diag   *diag // nil until the first question, and after one that broke it
	closed bool
}

// NewResolver returns a Resolver that has opened nothing yet. It is bound to the network namespace of the thread on
// which Resolve opens its descriptor: at the first call, and again after an error.
func NewResolver() *Resolver { return &Resolver{open: openDiag} }

// Resolve names the owner of the socket that is connected from client to dialed, both IPv4 (mapped or plain), dialed as
// the client sees it. It allocates nothing when it succeeds.
//
// An error that wraps [ErrUnknown] says that the kernel knows of nobody; any other that it could not be asked
// ([net.ErrClosed] after Close). Both mean: refuse.
func (r *Resolver) Resolve(client, dialed netip.AddrPort) (Caller, error) {
	client, dialed = plain(client), plain(dialed)
	if !client.Addr().Is4() || !dialed.Addr().Is4() {
		return Caller{}, fmt.Errorf("%w: %s -> %s is not IPv4", ErrUnknown, client, dialed)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c, err := r.ask(client, dialed)
	if err == nil || errors.Is(err, ErrUnknown) || errors.Is(err, net.ErrClosed) {
		return c, err
	}
	c, again := r.ask(client, dialed) // on a new descriptor
	if again != nil && !errors.Is(again, ErrUnknown) {
		return Caller{}, fmt.Errorf("looking up caller %s -> %s: %w", client, dialed, errors.Join(err, again))
	}
	return c, again
}

// Close closes the descriptor. Closing again does nothing.
func (r *Resolver) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	return r.drop()
}

// ask opens a descriptor if there is none, puts the question, and drops the descriptor if that failed.
//
// First it asks for a socket bound to no device, then for one bound to lo, which the first question does not find. The
// order matters where both exist under the same addresses: the kernel lets an unbound socket be made beside a bound one
// and not the other way round, so the unbound one is the younger, and the peer of the connection.
func (r *Resolver) ask(client, dialed netip.AddrPort) (Caller, error) {
	if r.closed {
		return Caller{}, fmt.Errorf("asking sock_diag: %w", net.ErrClosed)
	}
	if r.diag == nil {
		d, err := r.open()
		if err != nil {
			return Caller{}, err
		}
		r.diag = d
	}
	var err error
	for _, device := range [...]uint32{anyDevice, loopbackDevice} {
		var s socket
		if s, err = r.diag.find(client, dialed, device); err == nil {
			err = s.answers(client, dialed)
		}
		switch {
		case err == nil:
			return s.owner(r.diag.overflow)
		case !errors.Is(err, errNoSocket):
			return Caller{}, errors.Join(err, r.drop())
		}
	}
	return Caller{}, fmt.Errorf("%w: %s -> %s: %w", ErrUnknown, client, dialed, err)
}

// drop closes the descriptor, if there is one.
func (r *Resolver) drop() error {
	if r.diag == nil {
		return nil
	}
	d := r.diag
	r.diag = nil
	return d.close()
}

// answers refuses a reply about another socket than the one asked for: when there is no connected socket, the kernel's
// lookup (inet_lookup) falls back to a listener on the source port, which may be anybody's.
func (s socket) answers(client, dialed netip.AddrPort) error {
	if (s.src != client || s.dst != dialed) && !without("socket") {
		return fmt.Errorf("%w, only %s -> %s of uid %d in state %d", errNoSocket, s.src, s.dst, s.uid, s.state)
	}
	return nil
}

// owner names whom the socket belongs to, or says why nobody can be named.
func (s socket) owner(overflow uint32) (Caller, error) {
	switch {
	case s.inode == 0 && !without("inode"):
		// Closed by its owner, or TIME_WAIT: the kernel then says uid 0, too.
		return Caller{}, fmt.Errorf("%w: socket %s -> %s belongs to no process (state %d)", ErrUnknown, s.src, s.dst, s.state)
	case s.uid == overflow:
		// Any uid that has no number in this user namespace. A real user of that number, the customary nobody, cannot be
		// told from these.
		return Caller{}, fmt.Errorf("%w: socket %s -> %s has overflow uid %d", ErrUnknown, s.src, s.dst, s.uid)
	}
	switch s.state {
	case stateEstablished, stateCloseWait, stateFinWait1, stateFinWait2: // FIN_WAIT: half-closed, still reading
	default: // above all LISTEN: never anybody's connection
		if !without("socket") {
			return Caller{}, fmt.Errorf("%w: socket %s -> %s is not connected (state %d)", ErrUnknown, s.src, s.dst, s.state)
		}
	}
	return Caller{UID: s.uid, Inode: uint64(s.inode), Cgroup: s.cgroup}, nil
}

// plain turns an IPv4 address mapped to IPv6 into IPv4.
func plain(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }
