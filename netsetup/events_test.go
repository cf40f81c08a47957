package netsetup

import (
	"encoding/binary"
	"log/slog"
	"strings"
	"testing"
	"time"

	"azimds/test/netns"

	"golang.org/x/sys/unix"
)

// changes follows a watch in a namespace until the test ends.
func changes(t *testing.T, ns *netns.NS) <-chan struct{} {
	t.Helper()
	var w *Watch
	do(t, ns, func() (err error) {
		w, err = OpenWatch(slog.New(slog.NewTextHandler(t.Output(), nil)))
		return err
	})
	if len(w.sources) != 2 {
		t.Fatalf("%d sources", len(w.sources))
	}
	return following(t, w)
}

func following(t *testing.T, w *Watch) <-chan struct{} {
	t.Helper()
	got, stop, ended := make(chan (<-chan struct{})), make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- w.Follow(func(changed <-chan struct{}) {
			got <- changed
			<-stop
		})
	}()
	t.Cleanup(func() {
		close(stop)
		if err := <-ended; err != nil {
			t.Errorf("Follow returned %v", err)
		}
	})
	return <-got
}

// told waits until a change is told.
func told(t *testing.T, changed <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-changed:
	case <-time.After(dialTime * 10):
		t.Fatalf("%s is not told", what)
	}
}

// Each change of a piece is told, those of rules where the back end is nf_tables. What is nobody's business is not: it comes
// before a change that is, and with it.
func TestWatch(t *testing.T) {
	backends(t, func(t *testing.T, ns *netns.NS) {
		nft := strings.Contains(ns.Run(t, "iptables", "-V"), "nf_tables")
		up(t, ns, rootPlan)
		changed := changes(t, ns)
		for _, command := range []string{
			"ip addr add 169.254.169.254/32 dev lo", "ip addr del 169.254.169.254/32 dev lo",
			"ip rule del pref 40000 proto 169", "ip route del local 169.254.169.254/32 dev lo table 169254",
			"ip link set lo down", "ip link set lo up", "ip link add azimds0 type bridge", "ip link del azimds0",
			"iptables -I OUTPUT -p udp -j ACCEPT", "iptables -t nat -F OUTPUT", "iptables -t nat -N ANOTHER",
		} {
			if strings.HasPrefix(command, "ip ") || nft {
				ns.Run(t, "sh", "-ec", command)
				told(t, changed, command)
			}
			for len(changed) > 0 { // what else came of it
				<-changed
			}
		}
	})
}

// A comparison with the plan changes nothing that would be told: else each would lead to the next.
func TestCheckIsNotTold(t *testing.T) {
	backends(t, func(t *testing.T, ns *netns.NS) {
		for _, p := range []Plan{rootPlan, refusing(preceding(loopbackPlan))} {
			up(t, ns, p)
			datagrams := make(chan string, 100)
			var w *Watch
			do(t, ns, func() (err error) {
				w, err = OpenWatch(slog.New(slog.DiscardHandler))
				return err
			})
			for n, s := range w.sources {
				w.sources[n].matters = func(datagram []byte) bool {
					datagrams <- string(datagram)
					return s.matters(datagram)
				}
			}
			changed := following(t, w)
			if r := check(t, ns, p); !r.OK() {
				t.Errorf("report %+v", r)
			}
			ns.Run(t, "ip", "link", "set", "lo", "down") // a change that is told after those
			told(t, changed, "the loopback device's end")
			ns.Run(t, "ip", "link", "set", "lo", "up")
			for first := <-datagrams; binary.NativeEndian.Uint16([]byte(first[4:])) != unix.RTM_NEWLINK; first = <-datagrams {
				t.Errorf("the comparison is told as %q", first)
			}
			down(t, ns, p)
		}
	})
}

// What the kernel had no room to tell counts as a change.
func TestWatchOverrun(t *testing.T) {
	ns := netns.New(t)
	var w *Watch
	do(t, ns, func() (err error) {
		w, err = OpenWatch(slog.New(slog.DiscardHandler))
		return err
	})
	events := w.sources[0].events
	conn, err := events.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var failed error
	err = conn.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 1) })
	if err != nil || failed != nil {
		t.Fatal(err, failed)
	}
	ns.Run(t, "sh", "-ec", "ip link add br0 type bridge; for n in $(seq 50); do ip link set br0 up; ip link set br0 down; done")
	w.sources[0].matters = func([]byte) bool { return false }
	told(t, following(t, w), "an overrun")
}

// A watch that nobody follows ends too.
func TestWatchClosed(t *testing.T) {
	do(t, netns.New(t), func() error {
		w, err := OpenWatch(slog.New(slog.DiscardHandler))
		if err != nil {
			return err
		}
		return w.Close()
	})
}

// message is a message of netlink: its kind, its own header and attributes.
func message(kind uint16, header string, attributes ...string) string {
	body := header
	for _, a := range attributes {
		body += a + strings.Repeat("\x00", align(len(a))-len(a))
	}
	b := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	return string(b) + strings.Repeat("\x00", 10) + body
}

func attr(kind uint16, value string) string {
	b := binary.NativeEndian.AppendUint16(nil, uint16(unix.SizeofNlAttr+len(value)))
	return string(binary.NativeEndian.AppendUint16(b, kind)) + value
}

func TestMatters(t *testing.T) {
	link, addr, route := strings.Repeat("\x00", unix.SizeofIfInfomsg), strings.Repeat("\x00", unix.SizeofIfAddrmsg), strings.Repeat("\x00", unix.SizeofRtMsg)
	number := func(n uint32) string { return string(binary.NativeEndian.AppendUint32(nil, n)) }
	rule := message(subsystemTables<<8|6, "\x02\x00\x00\x00", attr(1, "nat\x00"))
	for _, tt := range []struct {
		name     string
		matters  func([]byte) bool
		datagram string
		want     bool
	}{
		{"lo", networkMatters, message(unix.RTM_NEWLINK, link, attr(unix.IFLA_IFNAME, "lo\x00")), true},
		{"our link", networkMatters, message(unix.RTM_DELLINK, link, attr(unix.IFLA_MTU, number(1500)), attr(unix.IFLA_IFNAME, "azimds0\x00")), true},
		{"a card", networkMatters, message(unix.RTM_NEWLINK, link, attr(unix.IFLA_IFNAME, "wlan0\x00")), false},
		{"a link without a name", networkMatters, message(unix.RTM_NEWLINK, link), true},
		{"the endpoint", networkMatters, message(unix.RTM_DELADDR, addr, attr(unix.IFA_LOCAL, "\xa9\xfe\xa9\xfe")), true},
		{"an address", networkMatters, message(unix.RTM_NEWADDR, addr, attr(unix.IFA_LOCAL, "\xa9\xfe\xa9\xfd")), false},
		{"our table", networkMatters, message(unix.RTM_DELROUTE, route, attr(unix.RTA_TABLE, number(routeTable))), true},
		{"a rule for our table", networkMatters, message(unix.RTM_DELRULE, route, attr(unix.RTA_TABLE, number(routeTable))), true},
		{"a route", networkMatters, message(unix.RTM_NEWROUTE, route, attr(unix.RTA_TABLE, number(254))), false},
		{"a route, then our table", networkMatters, message(unix.RTM_NEWROUTE, route, attr(unix.RTA_TABLE, number(254))) +
			message(unix.RTM_NEWROUTE, route, attr(unix.RTA_TABLE, number(routeTable))), true},
		{"something else", networkMatters, message(unix.RTM_NEWNEIGH, route), true},
		{"a rule of nat", rulesMatter, rule, true},
		{"the end of a transaction", rulesMatter, message(newGeneration, "\x02\x00\x00\x00"), false},
		{"a rule of nat, and the end", rulesMatter, rule + message(newGeneration, "\x02\x00\x00\x00"), true},
		{"a rule of nat for IPv6", rulesMatter, message(subsystemTables<<8|6, "\x0a\x00\x00\x00", attr(1, "nat\x00")), false},
		{"firewalld's", rulesMatter, message(subsystemTables<<8|6, "\x01\x00\x00\x00", attr(1, "firewalld\x00")), false},
		{"a rule of mangle", rulesMatter, message(subsystemTables<<8|6, "\x02\x00\x00\x00", attr(1, "mangle\x00")), false},
		{"a rule of no table", rulesMatter, message(subsystemTables<<8|6, "\x02\x00\x00\x00"), true},
		{"nothing", rulesMatter, "", false},
		{"cut off", rulesMatter, rule[:len(rule)-1], true},
		{"too short", rulesMatter, "\x10\x00", true},
		{"an attribute cut off", rulesMatter, message(newGeneration+1, "\x02\x00\x00\x00", "\x40\x00\x01\x00"), true},
		{"no length", rulesMatter, strings.Repeat("\x00", 16), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.matters([]byte(tt.datagram)); got != tt.want {
				t.Errorf("%q matters: %v", tt.datagram, got)
			}
		})
	}
}

// Whatever a datagram is, it can be looked at, and what is before it makes no difference.
func FuzzMatters(f *testing.F) {
	f.Add([]byte(message(unix.RTM_NEWLINK, strings.Repeat("\x00", unix.SizeofIfInfomsg), attr(unix.IFLA_IFNAME, "lo\x00"))))
	f.Add([]byte(message(subsystemTables<<8|6, "\x02\x00\x00\x00", attr(1, "nat\x00"))))
	f.Add([]byte(message(newGeneration, "\x02\x00\x00\x00")))
	route := message(unix.RTM_NEWROUTE, strings.Repeat("\x00", unix.SizeofRtMsg), attr(unix.RTA_TABLE, "\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, datagram []byte) {
		for before, matters := range map[string]func([]byte) bool{
			route: networkMatters, message(newGeneration, "\x02\x00\x00\x00"): rulesMatter,
		} {
			if alone, behind := matters(datagram), matters(append([]byte(before), datagram...)); alone != behind {
				t.Errorf("matters: %v, behind another: %v", alone, behind)
			}
		}
	})
}
