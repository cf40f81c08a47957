package imds

import (
	"errors"
	"net/netip"
	"sync"

	"azimds/imds/caller"
)

// errTooMany refuses a connection beyond [Limits.Connections], or beyond what one caller may have of them.
var errTooMany = errors.New("too many connections")

// Of all connections, those who are not the owner may have half together, and each of them an eighth: however many they open,
// the owner is served.
const (
	othersShare = 2
	otherShare  = 8
)

// places are the connections that are open. When there are too many, the one on which nothing has been asked for longest makes
// room: a client makes a new one when it has something to ask. Where all are in use, the new one is refused.
type places struct {
	limit int

	ebbed func() // called, under mu, when most of many have been given back; nil: nothing

	mu     sync.Mutex
	most   int // taken at once since ebbed was called last
	taken  map[*conn]place
	others map[who]int
	sum    int // of others
}

// manyPlaces is how many connections take memory worth giving back when most of them are gone: about 1 MB.
const manyPlaces = 64

// place says whose a connection is; the zero place is the owner's.
type place struct {
	who   who
	other bool
}

// who is whose connections are counted together.
type who struct {
	uid     uint32
	bridge  string
	address netip.Addr
}

func whose(c caller.Caller) who { return who{c.UID, c.Bridge, c.Address} }

// take gives a connection a place.
func (p *places) take(c *conn, owner bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken == nil {
		p.taken, p.others = map[*conn]place{}, map[who]int{}
	}
	own := place{whose(c.caller), !owner}
	full := len(p.taken) >= p.limit
	fits := func(place) bool { return true }
	switch {
	case own.other && p.others[own.who] >= max(1, p.limit/otherShare):
		fits = func(of place) bool { return of == own }
	case own.other && (full || p.sum >= max(1, p.limit/othersShare)):
		fits = func(of place) bool { return of.other }
	case !full:
		p.put(c, own)
		return nil
	}
	if !p.makeRoom(fits) {
		return errTooMany
	}
	p.put(c, own)
	return nil
}

// makeRoom ends the connection, of those that fit, on which nothing has been asked for longest.
func (p *places) makeRoom(fits func(place) bool) bool {
	var longest *conn
	var since int64
	for c, of := range p.taken {
		if idle := c.idle.Load(); idle != 0 && fits(of) && (longest == nil || idle < since) {
			longest, since = c, idle
		}
	}
	if longest == nil {
		return false
	}
	p.drop(longest)
	_ = longest.TCPConn.Close() // its goroutine sees that and closes the rest
	return true
}

// leave gives a place back; it may have been taken away before.
func (p *places) leave(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drop(c)
	if p.most < manyPlaces || len(p.taken) > p.most/4 {
		return
	}
	p.most = len(p.taken)
	if p.ebbed != nil {
		p.ebbed()
	}
}

func (p *places) put(c *conn, of place) {
	p.taken[c] = of
	p.most = max(p.most, len(p.taken))
	if of.other {
		p.others[of.who]++
		p.sum++
	}
}

func (p *places) drop(c *conn) {
	of, taken := p.taken[c]
	if !taken {
		return
	}
	delete(p.taken, c)
	close(c.gone)
	if of.other {
		p.sum--
		if p.others[of.who]--; p.others[of.who] == 0 {
			delete(p.others, of.who)
		}
	}
}
