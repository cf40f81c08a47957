package imds_test

import (
	"errors"
	"net/http"
	"sync/atomic"
	"testing"

	"azimds/imds"
	"azimds/imds/caller"
)

// However many are refused while it is found out who the first ones are, more is looked for of few.
func TestFewAreDescribed(t *testing.T) {
	const refused, described = 50, 20
	release := make(chan struct{})
	defer close(release)
	var asked atomic.Int64
	quiet := make(chan struct{}, refused)
	a := start(t, func(o *imds.Options) {
		o.Admit = func(c caller.Caller) error {
			if c.UID == 1001 {
				return nil
			}
			return errors.New("not the owner")
		}
		o.Describe = func(caller.Caller) caller.Detail {
			asked.Add(1)
			<-release
			return caller.Detail{}
		}
		o.Observe = func(e imds.Event) {
			if e.Refused() {
				quiet <- struct{}{}
			}
		}
	})
	for range refused {
		if c, err := a.connect(2); err == nil { // else it was reset that fast
			defer c.Close()
		}
	}
	for range refused - described {
		<-quiet // and no more: the others are being described
	}
	if got := a.status(t, get()); got != "200" {
		t.Errorf("status %s of the owner meanwhile, want %d", got, http.StatusOK)
	}
	if n := asked.Load(); n > described {
		t.Errorf("%d were described, want at most %d", n, described)
	}
}
