package netsetup

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
)

// Mode is a way of intercepting.
type Mode string

// The modes. Auto is a wish that [Choose] turns into IPTables or Loopback; a [Plan] never carries it.
const (
	Auto     Mode = "auto"
	IPTables Mode = "iptables" // jumps in nat/OUTPUT for the users who are served, redirected to a privileged port on 127.0.0.1
	Loopback Mode = "loopback" // the endpoint's address on lo
	Dummy    Mode = "dummy"    // the same on a link of our own, of the kernel's type dummy
	None     Mode = "none"     // nothing is intercepted: Endpoint is an address of 127.0.0.1 that clients are told of ([ListenAlone])
)

// Endpoint is the address and port of the Azure Instance Metadata Service, the same on every Azure VM.
var Endpoint = netip.AddrPortFrom(netip.AddrFrom4([4]byte{169, 254, 169, 254}), 80)

// maxPrivileged is the highest port that only CAP_NET_BIND_SERVICE may take, where ip_unprivileged_port_start is at its
// default (see [UnprivilegedPortStart]): no other user can sit on a redirection that a crash left behind.
const maxPrivileged = 1023

// Plan is what the network namespace should look like. The zero Plan wants nothing. It round-trips through JSON.
type Plan struct {
	Mode     Mode           `json:"mode"`
	Endpoint netip.AddrPort `json:"endpoint"` // what clients dial; IPv4, in mode None each bridge's own with this port, too
	Owner    uint32         `json:"owner"`    // the uid that is served
	Backend  netip.AddrPort `json:"backend"`  // where the listener is. IPTables: 127.0.0.1 and a port below 1024; else Endpoint
	// Who is served besides the owner: uids, groups by their gids, or every local user. In mode IPTables their traffic is
	// redirected, too; in the others everybody else's is refused where Refuses says so.
	Admitted []uint32 `json:"admitted,omitempty"`
	Groups   []uint32 `json:"groups,omitempty"`
	AnyLocal bool     `json:"anyLocal,omitempty"`
	// Bridges are the devices whose containers are served, each by a listener of its own ([ListenBridge]): names, or patterns
	// such as br-*.
	Bridges []string `json:"bridges,omitempty"`
	// ExemptGroup is a group whose members, supplementary ones too, are not redirected: it lets an agent reach a real
	// metadata service. 0 means none. IPTables only.
	ExemptGroup uint32 `json:"exemptGroup,omitempty"`
	// Shadows says that a real metadata service is behind the endpoint: who is not intercepted must go on reaching it, and
	// is otherwise refused at once. IPTables only.
	Shadows bool `json:"shadows,omitempty"`
	// Precedes says that other people's rules are in nat and one of ours has to come before them: such as Docker's for
	// published ports take whatever is dialled on a local address. Loopback and Dummy only; [Adapt] finds out.
	Precedes bool `json:"precedes,omitempty"`
	// Refuses says that netfilter refuses the endpoint to local users who are not served, so that they find a closed port and
	// no connection that is reset. Loopback and Dummy only, as mode IPTables always does; [Adapt] finds out.
	Refuses bool `json:"refuses,omitempty"`
}

// IsZero tells whether p is the zero Plan.
func (p Plan) IsZero() bool { return reflect.ValueOf(p).IsZero() }

// String prints the plan as the commands that would make it, one a line, in the order of Up. Run as root they do make it.
func (p Plan) String() string {
	var b strings.Builder
	for _, piece := range p.pieces() {
		b.WriteString(piece.adding())
		b.WriteByte('\n')
	}
	return b.String()
}

// Validate tells whether Up could make the plan.
func (p Plan) Validate() error {
	if !p.Endpoint.Addr().Is4() || p.Endpoint.Port() == 0 {
		return fmt.Errorf("checking endpoint %q: not an IPv4 address and port", p.Endpoint)
	}
	for _, name := range p.Bridges {
		if err := checkBridge(name); err != nil {
			return fmt.Errorf("checking bridge %q: %w", name, err)
		}
	}
	switch p.Mode {
	case None:
		if p.Endpoint.Addr() != backendAddr || p.Backend != p.Endpoint {
			return fmt.Errorf("checking endpoint %q: mode %q listens on %s, on the endpoint itself", p.Endpoint, p.Mode, backendAddr)
		}
	case Loopback, Dummy:
		if p.Backend != p.Endpoint {
			return fmt.Errorf("checking backend %q: mode %q listens on the endpoint itself, %s", p.Backend, p.Mode, p.Endpoint)
		}
		if p.ExemptGroup != 0 {
			return fmt.Errorf("checking exempt group %d: mode %q cannot exempt anyone", p.ExemptGroup, p.Mode)
		}
	case IPTables:
		// REDIRECT in OUTPUT rewrites the destination to 127.0.0.1, to no other address.
		if p.Backend.Addr() != backendAddr || p.Backend.Port() == 0 || p.Backend.Port() > maxPrivileged && !without("privileged") {
			return fmt.Errorf("checking backend %q: mode %q needs %s and a port from 1 to %d", p.Backend, p.Mode, backendAddr, maxPrivileged)
		}
		if p.Precedes {
			return fmt.Errorf("checking mode %q: its jump precedes other rules as it is", p.Mode)
		}
		if p.Refuses {
			return fmt.Errorf("checking mode %q: it refuses others as it is", p.Mode)
		}
	default:
		return fmt.Errorf("checking mode %q: not one of %q, %q, %q", p.Mode, IPTables, Loopback, Dummy)
	}
	return nil
}

// onAddress tells whether the plan has the endpoint's address on a device.
func (p Plan) onAddress() bool { return p.Mode == Loopback || p.Mode == Dummy }

// needsFirewall tells whether the plan cannot be made, nor known to be gone, without the iptables program.
func (p Plan) needsFirewall() bool { return p.Mode == IPTables || p.Precedes || p.Refuses }

// need is what a survey for the plan needs of the firewall.
func (p Plan) need() need {
	switch {
	case p.IsZero():
		return ifAny
	case p.needsFirewall():
		return needed
	default:
		return unneeded
	}
}

// device is the one that the kernel reports as the input interface of a local client's connection: the holder of the
// address that it dialled, although every such packet travels by lo.
func (p Plan) device() string {
	if p.Mode == Dummy {
		return dummyDevice
	}
	return loopbackDevice
}
