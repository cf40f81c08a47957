package netsetup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

var errInjected = errors.New("injected")

// fakeHost is a network namespace that prints itself. It prints back what iptables of old prints, comments in quotes, so
// that a comparison of strings would fail.
type fakeHost struct {
	down       bool // lo
	objects    []piece
	chains     map[chain][]string // specs without quotes
	noFirewall error              // what every call for iptables then wraps
	noDummy    bool
	calls      int
	failAt     int // the call that fails, from 1; 0: none
}

// newFakeHost has things of other people in it: canaries.
func newFakeHost() *fakeHost {
	return &fakeHost{
		objects: []piece{
			address{netip.MustParsePrefix("127.0.0.1/8"), "lo", "lo"},
			address{netip.MustParsePrefix("10.0.0.7/24"), "eth0", "eth0"},
			link{"dummy0", "dummy", 0},
			link{"sandbox0", "dummy", dummyGroup},
			upLink{"sandbox0"},
			localRoute{netip.MustParsePrefix("192.0.2.1/32"), backendAddr, "lo", routeTable, 4},
			policy{"eth0", netip.MustParsePrefix("192.0.2.0/24"), allUIDs, [2]uint16{}, routeTable, policyPriority, 170},
		},
		chains: map[chain][]string{
			natOutput:     {"-d 192.0.2.9/32 -j ACCEPT", "-m comment --comment azimds -j RETURN"},
			natPrerouting: {"-i docker0 -m comment --comment azimds -j ACCEPT", "-m comment --comment azimds -j REDIRECT --to-ports 981"},
			filterOutput:  {"-o lo -j ACCEPT", "-m comment --comment azimds -j REJECT"},
			filterInput:   {"-i docker0 -j ACCEPT", "-i docker0 -m comment --comment azimds -j REJECT"},
		},
	}
}

func (h *fakeHost) clone() *fakeHost {
	c := *h
	c.objects = slices.Clone(h.objects)
	c.chains = make(map[chain][]string, len(h.chains))
	for name, specs := range h.chains {
		c.chains[name] = slices.Clone(specs)
	}
	return &c
}

// String prints what a person would see of the namespace, in no particular order of commands but always the same.
func (h *fakeHost) String() string {
	var lines []string
	for _, o := range h.objects {
		lines = append(lines, strings.Replace(o.adding(), " add ", " ", 1))
	}
	slices.Sort(lines)
	for _, c := range slices.SortedFunc(maps.Keys(h.chains), func(a, b chain) int { return cmp.Compare(a.String(), b.String()) }) {
		lines = append(lines, c.String()+":")
		for _, spec := range h.chains[c] {
			lines = append(lines, "  "+spec)
		}
	}
	return strings.Join(lines, "\n") + "\n"
}

// call counts and fails when it is the call's turn.
func (h *fakeHost) call() error {
	h.calls++
	if h.calls == h.failAt {
		return errInjected
	}
	return nil
}

func (h *fakeHost) iptables(ctx context.Context) error {
	if h.noFirewall != nil {
		return fmt.Errorf("looking for iptables: %w", h.noFirewall)
	}
	return errors.Join(ctx.Err(), h.call())
}

func (h *fakeHost) Links(context.Context) ([]linkState, error) {
	states := []linkState{{link{loopbackDevice, "device", 0}, !h.down}}
	for _, l := range only[link](h.objects) {
		states = append(states, linkState{l, slices.Contains(h.objects, piece(upLink{l.name}))})
	}
	return states, h.call()
}

func (h *fakeHost) Addresses(context.Context) ([]address, error) {
	return only[address](h.objects), h.call()
}

func (h *fakeHost) Routes(_ context.Context, table int) ([]localRoute, error) {
	routes := only[localRoute](h.objects)
	return slices.DeleteFunc(routes, func(r localRoute) bool { return r.table != table }), h.call()
}

func (h *fakeHost) Policies(context.Context) ([]policy, error) {
	return only[policy](h.objects), h.call()
}

func (h *fakeHost) Add(_ context.Context, object any) error {
	if err := h.call(); err != nil {
		return err
	}
	switch o := object.(type) {
	case link:
		if h.noDummy {
			return fmt.Errorf("%w (operation not supported)", ErrNoDummy)
		}
		if slices.ContainsFunc(h.objects, func(p piece) bool { l, ok := p.(link); return ok && l.name == o.name }) {
			return errors.New("file exists")
		}
	case upLink:
		if !h.hasDevice(o.device) {
			return errors.New("no such device")
		}
	case address:
		if !h.hasDevice(o.device) {
			return errors.New("no such device")
		}
	}
	if slices.Contains(h.objects, object.(piece)) {
		return errors.New("file exists")
	}
	h.objects = append(h.objects, object.(piece))
	return nil
}

func (h *fakeHost) Delete(_ context.Context, object any) error {
	if err := h.call(); err != nil {
		return err
	}
	gone, isLink := object.(link)
	h.objects = slices.DeleteFunc(h.objects, func(o piece) bool {
		a, isAddress := o.(address)
		return o == object.(piece) || isLink && (o == upLink{gone.name} || isAddress && a.device == gone.name)
	})
	return nil
}

func (h *fakeHost) hasDevice(name string) bool {
	return slices.Contains([]string{loopbackDevice, "eth0"}, name) ||
		slices.ContainsFunc(only[link](h.objects), func(l link) bool { return l.name == name })
}

func (h *fakeHost) Rules(ctx context.Context, c chain) ([]string, bool, error) {
	specs, exists := h.chains[c]
	var printed []string
	for _, spec := range specs {
		printed = append(printed, strings.Replace(spec, "--comment azimds", `--comment "azimds"`, 1))
	}
	return printed, exists, h.iptables(ctx)
}

func (h *fakeHost) Has(ctx context.Context, c chain, spec string) (bool, error) {
	if err := h.known(c, spec); err != nil {
		return false, err
	}
	return slices.Contains(h.chains[c], unquoted(spec)), h.iptables(ctx)
}

func (h *fakeHost) Insert(ctx context.Context, c chain, pos int, spec string) error {
	specs, exists := h.chains[c]
	if err := errors.Join(h.iptables(ctx), h.known(c, spec)); err != nil {
		return err
	}
	if !exists || pos < 1 || pos > len(specs)+1 {
		return fmt.Errorf("chain %q: index of insertion %d too big", c, pos)
	}
	h.chains[c] = slices.Insert(specs, pos-1, unquoted(spec))
	return nil
}

func (h *fakeHost) deleteRule(ctx context.Context, c chain, spec string) error {
	if err := h.iptables(ctx); err != nil {
		return err
	}
	if at := slices.Index(h.chains[c], unquoted(spec)); at >= 0 {
		h.chains[c] = slices.Delete(h.chains[c], at, at+1)
	}
	return nil
}

func (h *fakeHost) NewChain(ctx context.Context, c chain) error {
	if err := h.iptables(ctx); err != nil {
		return err
	}
	if _, exists := h.chains[c]; exists {
		return errors.New("chain already exists")
	}
	h.chains[c] = nil
	return nil
}

func (h *fakeHost) DeleteChain(ctx context.Context, c chain) error {
	if err := h.iptables(ctx); err != nil {
		return err
	}
	if len(h.chains[c]) > 0 {
		return errors.New("directory not empty")
	}
	for from, specs := range h.chains {
		for _, spec := range specs {
			if from.table == c.table && target(spec) == c.name {
				return errors.New("too many links")
			}
		}
	}
	delete(h.chains, c)
	return nil
}

// known fails for a rule whose target does not exist, as iptables does for -I and -C.
func (h *fakeHost) known(c chain, spec string) error {
	to := target(spec)
	if _, exists := h.chains[chain{c.table, to}]; exists || slices.Contains([]string{"ACCEPT", "RETURN"}, to) ||
		to == map[string]string{"nat": "REDIRECT", "filter": "REJECT"}[c.table] {
		return nil
	}
	return fmt.Errorf("chain %q does not exist", to)
}

// fakeFirewall gives a fakeHost the method that both seams call Delete.
type fakeFirewall struct{ *fakeHost }

func (f fakeFirewall) Delete(ctx context.Context, c chain, spec string) error {
	return f.deleteRule(ctx, c, spec)
}

func (h *fakeHost) interceptor(o Options) *Interceptor {
	return newInterceptor(h, fakeFirewall{h}, o)
}

// unquoted is a spec as the kernel keeps it.
func unquoted(spec string) string { return strings.ReplaceAll(spec, `"`, "") }

func only[T piece](objects []piece) []T {
	var found []T
	for _, o := range objects {
		if t, ok := o.(T); ok {
			found = append(found, t)
		}
	}
	return found
}
