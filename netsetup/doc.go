// Package netsetup makes a Linux network namespace answer for 169.254.169.254:80 with a listener of ours, and takes that
// back.
//
// A [Plan] is a value that says what the kernel should look like; an [Interceptor] compares it with what is there and
// makes the difference. What always holds:
//
//   - A local user or a bridge that the plan does not name is not served. Where netfilter works, the endpoint is refused to
//     the local users who are not, in mode iptables and in the others; where it does not, they can connect, and the server
//     alone refuses them.
//   - Everything made here carries a mark: the label lo:azimds or azimds0:azimds on an address, the group 169254 and the name
//     azimds0 on a link of type dummy, the protocol number 169 on a route and a policy rule, the chain AZIMDS and the comment
//     "azimds" in netfilter. What does not carry it is never touched. What somebody puts into a chain or on a link of ours
//     keeps it there.
//   - What makes the interception live is put up last and taken down first; what guards it, the other way round.
//   - Every operation can be repeated. Up replaces what an earlier run left, whatever its mode, owner or port; on failure
//     it puts back what it found. Down goes on past errors and joins them.
//   - A listener is bound to the device that holds its address: Linux accepts packets for a local address on every interface,
//     so that an address alone would serve the neighbours on the network too. It ends with that device; a link made again
//     needs a new listener.
//   - The containers of a bridge have a listener of their own, bound to the bridge: whom it serves is told by the device and
//     not by what a packet says. A device that is no bridge, or has a port that may lead out of this machine, has none.
//   - In mode iptables nobody connects to a listener but by a redirection: a direct dial of its port is refused, by lo and by a
//     bridge, before the connection tracker remembers it.
//   - Where the address is on a device and others have rules in nat/OUTPUT or nat/PREROUTING, one of ours comes before them,
//     since some, such as Docker's for published ports, take what is dialled on any local address.
//
// Other programs may remove what is here: systemd-networkd drops policy rules that it does not know when it starts
// (ManageForeignRoutingPolicyRules= in networkd.conf(5)), and firewall managers flush nat. A [Watch] tells that something has
// changed, Check what is missing, and Mend puts it back.
//
// All of it acts on the network namespace of the calling thread and needs CAP_NET_ADMIN there. The iptables program that it
// runs inherits the environment: see [ScrubEnvironment].
package netsetup
