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

	Admitted []uint32 // these four as in Plan; mode iptables must then be able to match groups
	Groups   []uint32
	AnyLocal bool
	Bridges  []string
	Networks []string // of container engines, whose bridges are to be found ([azimds/netsetup/engine])
}

// facts are what Choose found out. A nil error means that the mode works.
type facts struct {
	metadata  bool // something answers at the endpoint
	elsewhere bool // not in the host's network namespace
	iptables  error
	loopback  error
	dummy     error
}

// Choose turns a wish into a mode that works in the calling thread's network namespace, and says why in a few words
// that read on after its name, and that include a port which is not root's alone ([UnprivilegedPortStart]).
// It prefers iptables, which leaves other users and a web server on port 80 alone. It does not consider dummy, which is for
// those who ask for it: whatever is in the way of loopback is in the way of dummy too, and dummy needs a module besides. A
// mode asked for by name is verified and never exchanged for another.
//
// Where a metadata service answers, its place is taken if that was asked for. Auto takes it unasked where this is not the
// host's network namespace but that of a container or a sandbox, and says so in the reason. Other people's rules, such as Docker's for published ports,
// are no reason for or against a mode: see [Adapt].
//
// It wraps [ErrMetadataService] where one answers and its place may not be taken; else the reason why the mode, or each of
// them, does not work: [ErrNotPermitted], [ErrNoIPTables], [ErrNoNetfilter], [ErrNoDummy], [ErrLoopbackDown], [*ForeignError], [*InUseError] and others.
//
// It expects that nothing of ours is there, so [Sweep] first. It makes a chain that nothing jumps to, and a guard of port 0,
// to see whether the kernel has what mode iptables needs, or the link of mode dummy, and removes them.
func Choose(ctx context.Context, w Want) (Mode, string, error) {
	if err := permitted(); err != nil {
		return "", "", err
	}
	var f facts
	var err error
	if !w.ShadowMetadata {
		if f.metadata, err = metadataAnswers(ctx); err != nil {
			return "", "", err
		}
	}
	f.elsewhere = elsewhere()
	i := NewHost(Options{})
	if w.Mode == Auto || w.Mode == IPTables {
		f.iptables = i.tryIPTables(ctx, w)
	}
	if w.Mode == Loopback || w.Mode == Auto && f.iptables != nil {
		f.loopback = i.tryAddress(ctx, Loopback)
	}
	if w.Mode == Dummy {
		f.dummy = i.tryAddress(ctx, Dummy)
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

// decide chooses, and says why.
func decide(w Want, f facts) (Mode, string, error) {
	shadows := f.metadata && !w.ShadowMetadata
	if shadows && (w.Mode != Auto || !f.elsewhere) {
		return "", "", fmt.Errorf("dialling %q: %w", Endpoint, ErrMetadataService)
	}
	mode, reason, err := decideMode(w, f)
	if err == nil && shadows {
		reason += fmt.Sprintf("; takes the place of a metadata service that answers at %s, as this network namespace is not the host's",
			Endpoint)
	}
	return mode, reason, err
}

func decideMode(w Want, f facts) (Mode, string, error) {
	if w.Mode != Auto {
		tried, known := map[Mode]error{IPTables: f.iptables, Loopback: f.loopback, Dummy: f.dummy}[w.Mode]
		switch {
		case !known:
			return "", "", fmt.Errorf("choosing mode %q: not one of %q, %q, %q, %q", w.Mode, Auto, IPTables, Loopback, Dummy)
		case tried != nil:
			return "", "", fmt.Errorf("trying mode %q: %w", w.Mode, tried)
		default:
			return w.Mode, "asked for, and works here", nil
		}
	}
	switch {
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
func (i *Interceptor) tryIPTables(ctx context.Context, w Want) error {
	backend := netip.AddrPortFrom(backendAddr, firstBackendPort)
	p := Plan{Mode: IPTables, Endpoint: Endpoint, Backend: backend, ExemptGroup: w.ExemptGroup, Groups: w.Groups}
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
	for _, who := range p.served() { // the jumps' own words, with another target
		trial = append(trial, change{piece: rule{ownChain, 1, selection(p.Endpoint, who) + " -j RETURN"}})
	}
	trial = append(trial, change{piece: rule{filterOutput, 1, protection(0)}}) // the guard of a port that nobody can dial
	if err := i.commit(ctx, trial); err != nil {
		return err
	}
	return i.undo(ctx, trial)
}

// tryAddress opens the listener of a mode that has the address on a device, which needs the device but no address yet, and
// closes it again.
func (i *Interceptor) tryAddress(ctx context.Context, m Mode) error {
	p := Plan{Mode: m, Endpoint: Endpoint, Backend: Endpoint}
	if _, err := i.ready(ctx, p); err != nil {
		return err
	}
	diff, err := i.kernel.surveyOwnLink(ctx, p)
	if err != nil {
		return err
	}
	if err := i.commit(ctx, diff.changes()); err != nil {
		return err
	}
	ln, err := Listen(ctx, p)
	if err == nil {
		err = ln.Close()
	}
	return errors.Join(err, i.undo(ctx, diff.changes()))
}

// Adapt completes a plan by what it depends on in the calling thread's network namespace, beside the mode: Shadows in mode
// iptables, and Precedes and Refuses where the address is on a device.
//
// Other people's rules are preceded whatever they are: which of them would redirect what, and what they will be tomorrow, is
// not for us to say. Where there are none now, those that come later are not. Without the iptables program or netfilter in
// the kernel there are none; those made by nft(8), or through the other back end of iptables, are not seen.
//
// Whether others can be refused is tried out with a rule of port 0, which it removes again. Where they cannot, because the
// kernel lacks the owner match for one, the server has to refuse them alone.
//
// Its errors are those of listing rules, and of a ctx that ends.
func Adapt(ctx context.Context, p Plan, w Want) (Plan, error) {
	return NewHost(Options{}).adapt(ctx, p, w)
}

func (i *Interceptor) adapt(ctx context.Context, p Plan, w Want) (Plan, error) {
	if !p.onAddress() {
		p.Shadows = w.ShadowMetadata
		if p.Shadows || w.Mode != Auto || !elsewhere() {
			return p, nil
		}
		var err error
		p.Shadows, err = metadataAnswers(ctx)
		return p, err
	}
	var err error
	p.Precedes, err = i.others(ctx, p)
	if noFirewall(err) || errors.Is(err, ErrIPTables) {
		return p, nil
	}
	if err != nil {
		return p, err
	}
	p.Refuses, err = i.canRefuse(ctx, p)
	return p, err
}

// others tells whether other people's rules are where some would take what is dialled at the endpoint.
func (i *Interceptor) others(ctx context.Context, p Plan) (found bool, err error) {
	chains := []chain{natOutput}
	if len(p.Bridges) > 0 {
		chains = append(chains, natPrerouting)
	}
	for _, c := range chains {
		listed, _, err := i.kernel.rules(ctx, c)
		if err != nil {
			return found, err
		}
		found = found || slices.ContainsFunc(listed, func(spec string) bool { return !isOurNAT(spec) })
	}
	return found, nil
}

// isOurNAT tells whether a rule of OUTPUT or PREROUTING in nat is ours.
func isOurNAT(spec string) bool { return isOurJump(spec) || isOurPass(spec) || isOurRedirection(spec) }

// canRefuse puts up the rule that refuses others, for a port that nobody can dial, and removes it again.
func (i *Interceptor) canRefuse(ctx context.Context, p Plan) (bool, error) {
	if p.AnyLocal {
		return false, nil
	}
	trial := []change{{piece: rule{filterOutput, 1, p.exclusion(netip.AddrPortFrom(p.Endpoint.Addr(), 0))}}}
	if err := i.commit(ctx, trial); err != nil {
		i.o.Log.Debug("cannot refuse others by netfilter", "error", err)
		return false, ctx.Err()
	}
	return true, i.undo(ctx, trial)
}
