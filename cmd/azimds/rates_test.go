package main

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"azimds/imds/policy"
)

// local and behind are callers.
func local(uid uint32) policy.Caller { return policy.Caller{Zone: policy.Local, UID: uid} }

func behind(bridge, address string) policy.Caller {
	return policy.Caller{Zone: bridge, Address: netip.MustParseAddr(address)}
}

// A caller may ask as often at once as in a minute, and then as often as the minute's share comes round. Each caller has its own
// count, by each rule that has a rate.
func TestRates(t *testing.T) {
	byRule := func(rule, rate int) policy.Decision { return policy.Decision{Rule: rule, Rate: rate} }
	none := policy.Decision{Rule: -1}
	synctest.Test(t, func(t *testing.T) {
		r := newRates(2)
		take := func(name string, c policy.Caller, d policy.Decision, want time.Duration) {
			t.Helper()
			if got := r.take(c, d); got != want {
				t.Errorf("%s: wait %s, want %s", name, got, want)
			}
		}
		for range 2 {
			take("everybody's rate", local(1), none, 0)
		}
		take("one too many", local(1), none, 30*time.Second)
		take("by a rule without a rate it is the same count", local(1), byRule(3, 0), 30*time.Second)
		take("another user", local(2), none, 0)
		take("an address", behind("docker0", "10.8.0.2"), none, 0)
		take("another address", behind("docker0", "10.8.0.3"), none, 0)
		take("the same address elsewhere", behind("br-1", "10.8.0.2"), none, 0)
		for range 3 {
			take("a rule's rate counts in its place", local(1), byRule(0, 3), 0)
		}
		take("one too many by the rule", local(1), byRule(0, 3), 20*time.Second)
		take("another rule's rate", local(1), byRule(1, 3), 0)

		time.Sleep(30*time.Second - 1)
		take("before its share has come", local(1), none, 30*time.Second)
		time.Sleep(time.Nanosecond)
		take("its share has come", local(1), none, 0)
		take("no more than that", local(1), none, 30*time.Second)
		time.Sleep(time.Hour)
		for range 2 {
			take("a minute's at most", local(1), none, 0)
		}
		take("a minute's at most", local(1), none, 30*time.Second)

		r.change(1)
		take("another rate counts anew", local(1), none, 0)
		take("another rate counts anew", local(1), none, time.Minute)
		r.change(0)
		for range 100 {
			take("no limit", local(1), none, 0)
		}
		if len(r.counts) != 0 {
			t.Errorf("%d callers are counted", len(r.counts))
		}
	})
}

// A container that takes one address after another gives no user of this machine a new count, and takes no more memory.
func TestRatesOfManyAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRates(1)
		none := policy.Decision{Rule: -1}
		r.take(local(1), none)
		address := netip.MustParseAddr("10.0.0.1")
		for range 2 * maxRated {
			if r.take(policy.Caller{Zone: "docker0", Address: address}, none) != 0 {
				t.Fatalf("%s has to wait", address)
			}
			address = address.Next()
		}
		if r.take(local(1), none) == 0 {
			t.Error("the user has a new count")
		}
		if len(r.counts) > maxRated {
			t.Errorf("%d callers are counted", len(r.counts))
		}
	})
	r := newRates(1) // as many users are no more than that, either
	for uid := range uint32(2 * maxRated) {
		r.take(local(uid), policy.Decision{Rule: -1})
	}
	if len(r.counts) > maxRated {
		t.Errorf("%d users are counted", len(r.counts))
	}
}
