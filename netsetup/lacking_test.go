package netsetup

import (
	"errors"
	"reflect"
	"testing"
)

func TestLacking(t *testing.T) {
	for said, want := range map[string]bool{
		"iptables v1.8.9 (nf_tables): Could not fetch rule set generation id: Invalid argument\n":                                       true,
		"iptables/1.8.2 Failed to initialize nft: Protocol not supported\n":                                                             true,
		"iptables v1.8.9 (legacy): can't initialize iptables table `nat': Table does not exist (do you need to insmod?)\nPerhaps ...\n": true,
		"iptables v1.8.9 (nf_tables): Could not fetch rule set generation id: Permission denied (you must be root)\n":                   false,
		"iptables v1.8.9 (legacy): can't initialize iptables table `nat': Permission denied (you must be root)\n":                       false,
		"Another app is currently holding the xtables lock; still 5s 0us time ahead to have a chance to grab the lock...\n":             false,
		"iptables v1.8.9 (nf_tables):  RULE_INSERT failed (Operation not supported): rule in chain OUTPUT\n":                            false,
		"iptables: No chain/target/match by that name.\n":                                                                               false,
	} {
		if got := lacking(said); got != want {
			t.Errorf("lacking(%q) = %v", said, got)
		}
	}
}

// A kernel without netfilter is as a machine without the program, but is named.
func TestWithoutNetfilter(t *testing.T) {
	h := newFakeHost()
	h.noFirewall = ErrNoNetfilter
	i := h.interceptor(Options{})
	for _, p := range []Plan{loopbackPlan, dummyPlan} {
		if err := errors.Join(i.Up(t.Context(), p), i.Down(t.Context(), p)); err != nil {
			t.Errorf("%s: %v", p.Mode, err)
		}
	}
	if removed, err := i.Sweep(t.Context()); len(removed) > 0 || err != nil {
		t.Errorf("Sweep = %q, %v", removed, err)
	}
	for _, p := range []Plan{iptablesPlan, preceding(dummyPlan)} {
		if err := i.Up(t.Context(), p); !errors.Is(err, ErrNoNetfilter) {
			t.Errorf("Up of %+v: %v", p, err)
		}
		if err := i.Down(t.Context(), p); !errors.Is(err, ErrNoNetfilter) {
			t.Errorf("Down of %+v: %v", p, err)
		}
	}
	if p, err := i.adapt(t.Context(), loopbackPlan, Want{}); !reflect.DeepEqual(p, loopbackPlan) || err != nil {
		t.Errorf("adapt = %+v, %v", p, err)
	}
}
