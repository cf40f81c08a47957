package netsetup

import (
	"bytes"
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"
)

// everything is of sources of which each datagram matters.
func everything([]byte) bool { return true }

// networkMatters tells whether a datagram of rtnetlink(7) may be about a piece of a plan: about lo or our link, the endpoint's
// address, a route or a policy rule of our table. Routing daemons and containers make others all the time. What cannot be read
// matters.
func networkMatters(datagram []byte) bool {
	return anyMessage(datagram, func(kind uint16, body []byte) bool {
		switch kind {
		case unix.RTM_NEWLINK, unix.RTM_DELLINK:
			name, ok := attribute(body, unix.SizeofIfInfomsg, unix.IFLA_IFNAME)
			device := string(bytes.TrimRight(name, "\x00"))
			return !ok || device == loopbackDevice || device == dummyDevice
		case unix.RTM_NEWADDR, unix.RTM_DELADDR:
			local, ok := attribute(body, unix.SizeofIfAddrmsg, unix.IFA_LOCAL)
			return !ok || bytes.Equal(local, Endpoint.Addr().AsSlice())
		case unix.RTM_NEWROUTE, unix.RTM_DELROUTE, unix.RTM_NEWRULE, unix.RTM_DELRULE:
			table, ok := attribute(body, unix.SizeofRtMsg, unix.RTA_TABLE) // FRA_TABLE has the same number, and both headers one length
			return !ok || len(table) != 4 || binary.NativeEndian.Uint32(table) == routeTable
		default:
			return true
		}
	})
}

// Of include/uapi/linux/netfilter/nfnetlink.h and nf_tables.h. The name of its table is the first attribute of each kind of
// message but NFT_MSG_NEWGEN, which ends a transaction and says no more.
const (
	subsystemTables = 10
	newGeneration   = subsystemTables<<8 | 15
	sizeofNfgenmsg  = 4
	attributeTable  = 1
)

// ourTables are the tables of IPv4 in which rules of a plan are.
var ourTables = []string{ownChain.table, filterOutput.table}

// rulesMatter tells whether a datagram of nf_tables may be about a rule of a plan, or one in its way: in a table that iptables
// uses, too, and not in one of nft(8)'s or firewalld's. What cannot be read matters.
func rulesMatter(datagram []byte) bool {
	return anyMessage(datagram, func(kind uint16, body []byte) bool {
		if kind == newGeneration {
			return false
		}
		name, ok := attribute(body, sizeofNfgenmsg, attributeTable)
		return !ok || body[0] == unix.NFPROTO_IPV4 && slices.Contains(ourTables, string(bytes.TrimRight(name, "\x00")))
	})
}

// anyMessage tells whether one of a datagram's messages is as asked for, or cannot be read (netlink(7)).
func anyMessage(datagram []byte, is func(kind uint16, body []byte) bool) bool {
	for len(datagram) > 0 {
		if len(datagram) < unix.SizeofNlMsghdr {
			return true
		}
		length := int(binary.NativeEndian.Uint32(datagram))
		if length < unix.SizeofNlMsghdr || length > len(datagram) {
			return true
		}
		if is(binary.NativeEndian.Uint16(datagram[4:]), datagram[unix.SizeofNlMsghdr:length]) {
			return true
		}
		datagram = datagram[min(align(length), len(datagram)):]
	}
	return false
}

// attribute is the first attribute of a kind behind a message's own header, of a length; ok is false where there is none.
func attribute(body []byte, header, kind int) (value []byte, ok bool) {
	for rest := body[min(align(header), len(body)):]; len(rest) >= unix.SizeofNlAttr; {
		length := int(binary.NativeEndian.Uint16(rest))
		if length < unix.SizeofNlAttr || length > len(rest) {
			return nil, false
		}
		if int(binary.NativeEndian.Uint16(rest[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER)) == kind {
			return rest[unix.SizeofNlAttr:length], true
		}
		rest = rest[min(align(length), len(rest)):]
	}
	return nil, false
}

// align is the length of a message or attribute with what fills it up: NLMSG_ALIGN and NLA_ALIGN in include/uapi/linux/netlink.h.
func align(length int) int { return (length + 3) &^ 3 }
