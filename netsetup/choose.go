package netsetup

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"
)

// metadataTimeout bounds the look for a real metadata service. One answers from the hypervisor within milliseconds;
// elsewhere the packets are lost and this is what every start costs.
const metadataTimeout = 300 * time.Millisecond

// ErrMetadataService is wrapped when something answers at the endpoint already: this machine is a cloud VM, or another
// emulator runs. Taking its place has to be asked for.
var ErrMetadataService = errors.New("a metadata service answers there")

// Want is what [Choose] chooses from.
type Want struct {
	Mode           Mode   // Auto, or the mode to verify
	ExemptGroup    uint32 // as in Plan; mode iptables must then be able to match supplementary groups
	ShadowMetadata bool   // take the place of a real metadata service
}

// facts are what Choose found out. A nil error means that the mode works.
type facts struct {
	metadata bool
	iptables error
	loopback error
}

// Choose turns a wish into a mode that works in the calling thread's network namespace, and says why in a few words
// that read on after its name, and that include a port which is not root's alone ([UnprivilegedPortStart]).
// It prefers iptables, which leaves other users and a web server on port 80 alone. A mode asked for by name is verified
// and never exchanged for another.
//
// It wraps [ErrMetadataService] where one answers and shadowing it was not asked for; else the reason why the mode, or
// each of them, does not work: [ErrNoIPTables], [ErrLoopbackDown], [*ForeignError], [*InUseError] and others.
//
// It expects that nothing of ours is there, so [Sweep] first. It makes a chain that nothing jumps to, and a guard of port 0,
// to see whether the kernel has what mode iptables needs, and removes them.
func Choose(ctx context.Context, w Want) (Mode, string, error) {
	var f facts
	var err error
	if !w.ShadowMetadata {
		if f.metadata, err = metadataAnswers(ctx); err != nil {
			return "", "", err
		}
	}
	i := NewHost(Options{})
	if w.Mode == Auto || w.Mode == IPTables {
		f.iptables = i.tryIPTables(ctx, w.ExemptGroup)
	}
	if w.Mode == Loopback || w.Mode == Auto && f.iptables != nil {
		f.loopback = i.tryLoopback(ctx)
	}
	mode, reason, err := decide(w, f)
	if err != nil {
		return "", "", err
	}
	start, err := UnprivilegedPortStart()
	if err != nil {
		return "", "", err
	}
	return mode, reason + exposure(mode, start), nil
}

func decide(w Want, f facts) (Mode, string, error) {
	if f.metadata && !w.ShadowMetadata {
		return "", "", fmt.Errorf("dialling %q: %w", Endpoint, ErrMetadataService)
	}
	switch {
	case w.Mode == IPTables && f.iptables == nil, w.Mode == Loopback && f.loopback == nil:
		return w.Mode, "asked for, and works here", nil
	case w.Mode == IPTables:
		return "", "", fmt.Errorf("trying mode %q: %w", w.Mode, f.iptables)
	case w.Mode == Loopback:
		return "", "", fmt.Errorf("trying mode %q: %w", w.Mode, f.loopback)
	case w.Mode != Auto:
		return "", "", fmt.Errorf("choosing mode %q: not one of %q, %q, %q", w.Mode, Auto, IPTables, Loopback)
	case f.iptables == nil:
		return IPTables, "works here, and leaves other users and port 80 alone", nil
	case f.loopback == nil:
		return Loopback, fmt.Sprintf("port %d is free; iptables does not work here (%v)",
			Endpoint.Port(), f.iptables), nil
	default:
		return "", "", fmt.Errorf("trying mode %q: %w; trying mode %q: %w", IPTables, f.iptables, Loopback, f.loopback)
	}
}

// metadataAnswers tells whether something accepts connections at the endpoint. Without a route there, nothing is sent.
func metadataAnswers(ctx context.Context) (bool, error) {
	if !routed(Endpoint.Addr()) {
		return false, nil
	}
	dialer := net.Dialer{Timeout: metadataTimeout}
	conn, err := dialer.DialContext(ctx, "tcp4", Endpoint.String())
	if err != nil {
		return false, ctx.Err() // refused, lost or unreachable: nothing answers
	}
	return true, conn.Close()
}

// tryIPTables puts the rules that a plan would need where they match nothing, most into our chain, which nothing jumps to,
// and removes them again.
func (i *Interceptor) tryIPTables(ctx context.Context, exempt uint32) error {
	backend := netip.AddrPortFrom(backendAddr, firstBackendPort)
	p := Plan{Mode: IPTables, Endpoint: Endpoint, Backend: backend, ExemptGroup: exempt}
	diff, err := i.ready(ctx, p)
	if err != nil {
		return err
	}
	if !slices.Contains(diff.missing, piece(ownChain)) {
		return nil // made here before: a running instance's, or left by one
	}
	trial := []change{{piece: ownChain}}
	for _, r := range p.chainRules() {
		trial = append(trial, change{piece: r})
	}
	trial = append(trial,
		// The jump's own words, with another target.
		change{piece: rule{ownChain, 1, selection(p.Endpoint, p.Owner) + " -j RETURN"}},
		// The guard of a port that nobody can dial.
		change{piece: rule{filterOutput, 1, protection(0)}})
	if err := i.commit(ctx, trial); err != nil {
		return err
	}
	return i.undo(ctx, trial)
}

// tryLoopback opens the listener, which needs no address yet, and closes it again.
func (i *Interceptor) tryLoopback(ctx context.Context) error {
	p := Plan{Mode: Loopback, Endpoint: Endpoint, Backend: Endpoint}
	if _, err := i.ready(ctx, p); err != nil {
		return err
	}
	ln, err := Listen(ctx, p)
	if err != nil {
		return err
	}
	return ln.Close()
}
