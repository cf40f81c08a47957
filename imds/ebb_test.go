package imds_test

import (
	"net/http"
	"sync/atomic"
	"testing"

	"azimds/imds"
)

// Once most of many connections have ended, that is said, and once: not of few, nor again for the last of them.
func TestEbb(t *testing.T) {
	const many = 64
	var ebbs atomic.Int64
	ebbed := make(chan struct{}, many)
	a := start(t, func(o *imds.Options) {
		o.Ebbed = func() {
			ebbs.Add(1)
			ebbed <- struct{}{}
		}
	})
	crowd := func(n int) (disperse func()) {
		var all []interface{ Close() error }
		for range n {
			c := a.busy(t, 1)
			if got := statusOfNext(t, c); got != http.StatusOK {
				t.Fatalf("status %d", got)
			}
			all = append(all, c)
		}
		return func() {
			for _, c := range all {
				if err := c.Close(); err != nil {
					t.Error(err)
				}
			}
		}
	}
	crowd(many / 4)()
	if n := ebbs.Load(); n != 0 {
		t.Errorf("said %d times of few connections", n)
	}
	for want := int64(1); want <= 2; want++ {
		crowd(many)()
		<-ebbed
		if n := ebbs.Load(); n != want {
			t.Errorf("said %d times after %d floods", n, want)
		}
	}
}
