package main

import (
	"maps"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"azimds/imds/policy"
)

// maxRated bounds how many callers are counted. Behind a bridge a caller can take many addresses.
const maxRated = 4096

// rates count the token requests of callers.
type rates struct {
	mu        sync.Mutex
	everybody int // a minute, where no rule says otherwise; 0 is no limit
	counts    map[rated]*rate.Limiter
}

// rated is who is counted, and by which rule.
type rated struct {
	zone    string
	address netip.Addr
	uid     uint32
	rule    int
}

func newRates(everybody int) *rates { return &rates{everybody: everybody} }

// change puts another rate of everybody's to use, and counts anew.
func (r *rates) change(everybody int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.everybody, r.counts = everybody, nil
}

// take counts a request; it returns how long the caller has to wait, 0 for not at all. A caller may ask for as many at once as it
// may in a minute.
func (r *rates) take(c policy.Caller, d policy.Decision) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	most, rule := d.Rate, d.Rule
	if most == 0 {
		most, rule = r.everybody, -1
	}
	if most == 0 {
		return 0
	}
	key := rated{c.Zone, c.Address, c.UID, rule}
	count, known := r.counts[key]
	if !known {
		if len(r.counts) >= maxRated { // what has made so many loses its counts, and this machine's users keep theirs
			maps.DeleteFunc(r.counts, func(k rated, _ *rate.Limiter) bool { return k.zone != policy.Local })
		}
		if len(r.counts) >= maxRated || r.counts == nil {
			r.counts = map[rated]*rate.Limiter{}
		}
		count = rate.NewLimiter(rate.Every(time.Minute/time.Duration(most)), most)
		r.counts[key] = count
	}
	if count.Allow() {
		return 0
	}
	return time.Minute / time.Duration(most)
}
