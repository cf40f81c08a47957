package netsetup

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"azimds/test/netns"
)

// firewalls are rules of other people's in filter: for iptables-nft or iptables-legacy, whose name is put in the place of IPT. They
// reject, so that a dial ends at once.
var firewalls = []struct {
	name   string
	rules  string
	closed string // the rule that closes the bridge to mode iptables; "" for none
	open   bool   // but not to mode loopback
}{
	{name: "nothing", rules: "true"},
	{name: "all rejected", rules: "IPT -A INPUT -j REJECT", closed: "-A INPUT -j REJECT --reject-with icmp-port-unreachable"},
	{name: "the usual, without the bridge",
		rules: "IPT -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT; IPT -A INPUT -i lo -j ACCEPT; " +
			"IPT -A INPUT -p icmp -j ACCEPT; IPT -A INPUT -p tcp -m multiport --dports 22,443 -j ACCEPT; IPT -A INPUT -j REJECT",
		closed: "-A INPUT -j REJECT --reject-with icmp-port-unreachable"},
	{name: "the bridge accepted before", rules: "IPT -A INPUT -i br+ -j ACCEPT; IPT -A INPUT -j REJECT"},
	{name: "the subnet accepted", rules: "IPT -A INPUT -s 10.8.0.0/16 -j ACCEPT; IPT -A INPUT -j REJECT"},
	{name: "another bridge accepted", rules: "IPT -A INPUT ! -i br0 -j ACCEPT; IPT -A INPUT -j REJECT",
		closed: "-A INPUT -j REJECT --reject-with icmp-port-unreachable"},
	{name: "what was redirected accepted", rules: "IPT -A INPUT -m conntrack --ctstate DNAT -j ACCEPT; IPT -A INPUT -p udp -j DROP"},
	{name: "a chain of its own", rules: "IPT -N mine; IPT -A mine -p tcp --dport 981 -j REJECT; IPT -A INPUT -i br0 -j mine",
		closed: "-A mine -p tcp -m tcp --dport 981 -j REJECT --reject-with icmp-port-unreachable", open: true},
	{name: "a chain that returns", rules: "IPT -N mine; IPT -A mine -i br0 -j RETURN; IPT -A mine -j REJECT; IPT -A INPUT -j mine"},
	{name: "a chain that is not returned from",
		rules: "IPT -N mine; IPT -A INPUT -i br0 -g mine; IPT -A INPUT -j REJECT"},
	{name: "other ports", rules: "IPT -A INPUT -p tcp --dport 22:79 -j REJECT"},
}

// What is said of a firewall is what a container finds, in each mode and with each back end, and the command opens it.
func TestListClosed(t *testing.T) {
	t.Setenv("XTABLES_LOCKFILE", filepath.Join(t.TempDir(), "lock"))
	for _, backend := range []string{backendNFT, backendLegacy} {
		_, err := exec.LookPath("/usr/sbin/" + backend)
		netns.Need(t, backend, err)
		for _, p := range []Plan{rootPlan, loopbackPlan} {
			p.Bridges = []string{"br0"}
			for _, tt := range firewalls {
				t.Run(fmt.Sprintf("%s/%s/%s", backend, p.Mode, tt.name), func(t *testing.T) {
					testClosed(t, backend, p, tt.rules, tt.closed, tt.closed != "" && (!tt.open || p.Mode == IPTables))
				})
			}
		}
	}
}

func testClosed(t *testing.T, backend string, p Plan, rules, rule string, want bool) {
	host, container := netns.New(t), netns.New(t)
	host.Bridge(t, "br0", "10.8.0.1/24")
	host.Plug(t, "br0", container, "10.8.0.2/24", "10.8.0.1")
	host.Run(t, "sh", "-ec", strings.ReplaceAll(rules, "IPT", backend+" -w"))
	answerBridges(t, host, p)
	up(t, host, p)
	look := func() (closed []Closed) {
		do(t, host, func() (err error) {
			closed, err = ListClosed(t.Context(), p.Bridges, p.Mode, p.Backend.Port())
			return err
		})
		return closed
	}
	reaches := func() bool { return hears(t, container, Endpoint.String()) == "br0: "+Endpoint.String() }
	closed := look()
	if reached := reaches(); reached == want || len(closed) == 1 != want {
		t.Fatalf("the container reaches the endpoint: %t, and found is %+v", reached, closed)
	}
	if !want {
		return
	}
	if closed[0].Rule != rule || closed[0].By != backend || closed[0].Unclear {
		t.Errorf("found %+v, want %q of %s", closed[0], rule, backend)
	}
	host.Run(t, "sh", "-ec", closed[0].Open)
	if closed := look(); len(closed) > 0 || !reaches() {
		t.Errorf("after its command: %+v", closed)
	}
}

// A policy closes a bridge as a rule does. It drops, which a dial waits for.
func TestListClosedPolicy(t *testing.T) {
	p := rootPlan
	p.Bridges = []string{"br0"}
	testClosed(t, backendNFT, p, "IPT -P INPUT DROP", "the policy of INPUT", true)
}

// Whose rules they are, which command opens them, and what cannot be told, by rule sets as those programs make them. They were
// recorded of ufw 0.36.2 (iptables -S), and of firewalld 1.3.3 and nft 1.0.6 (nft -j list ruleset).
func TestClosedBy(t *testing.T) {
	bridge := Bridge{Name: "br0", Addresses: []netip.Addr{netip.MustParseAddr("10.8.0.1")}, Subnets: []netip.Prefix{netip.MustParsePrefix("10.8.0.0/24")}}
	const nothing = "-P INPUT ACCEPT\n"
	for _, tt := range []struct {
		name, iptables, nft string // files of testdata/firewalls, or a listing
		mode                Mode
		want                *Closed
	}{
		{name: "ufw", iptables: "ufw.txt", mode: IPTables, want: &Closed{By: backendNFT, Manager: "ufw", Rule: "the policy of INPUT",
			Open: "ufw allow in on br0 proto tcp to 10.8.0.1 port 981"}},
		{name: "ufw, mode loopback", iptables: "ufw.txt", mode: Loopback, want: &Closed{By: backendNFT, Manager: "ufw", Rule: "the policy of INPUT",
			Open: "ufw allow in on br0 proto tcp to 169.254.169.254 port 80"}},
		{name: "ufw, opened", iptables: "ufw-opened.txt", mode: IPTables},
		{name: "firewalld lets in what was redirected", nft: "firewalld.json", mode: IPTables},
		{name: "firewalld, mode loopback", nft: "firewalld.json", mode: Loopback,
			want: &Closed{By: "nft, table inet firewalld", Manager: "firewalld", Rule: "rule 72 of chain filter_IN_public",
				Open: `firewall-cmd --add-rich-rule='rule family="ipv4" destination address="169.254.169.254" port port="80" protocol="tcp" accept' ` +
					`--zone="$(firewall-cmd --get-zone-of-interface=br0 || firewall-cmd --get-default-zone)"`}},
		{name: "firewalld, mode loopback, opened", nft: "firewalld-opened.json", mode: Loopback},
		{name: "nftables.conf", nft: "nftables.json", mode: IPTables,
			want: &Closed{By: "nft, table inet filter", Rule: "the policy of chain input",
				Open: "nft insert rule inet filter input iifname br0 ct original ip daddr 169.254.169.254 accept"}},
		{name: "nftables.conf, opened", nft: "nftables-opened.json", mode: IPTables},
		{name: "words that are not known", iptables: "-P INPUT DROP\n-A INPUT -m set --match-set good src -j ACCEPT\n", mode: IPTables,
			want: &Closed{By: backendNFT, Rule: "the policy of INPUT", Unclear: true,
				Open: "iptables -I INPUT -i br0 -p tcp -m conntrack --ctorigdst 169.254.169.254 --ctorigdstport 80 -j ACCEPT"}},
		{name: "what may drop some", iptables: "-P INPUT ACCEPT\n-A INPUT -m limit --limit 9/sec -j DROP\n", mode: IPTables},
	} {
		t.Run(tt.name, func(t *testing.T) {
			read := func(name string) string {
				if !strings.HasSuffix(name, ".txt") && !strings.HasSuffix(name, ".json") {
					return name
				}
				text, err := os.ReadFile("testdata/firewalls/" + name)
				if err != nil {
					t.Fatal(err)
				}
				return string(text)
			}
			listing := nothing
			if tt.iptables != "" {
				listing = read(tt.iptables)
			}
			l := listedBackends{backendNFT, map[string]backendRules{backendNFT: {{"filter", listing}}}}
			got, err := l.closed(inbound(bridge, tt.mode, firstBackendPort), read(tt.nft))
			if err != nil {
				t.Fatal(err)
			}
			if tt.want != nil {
				tt.want.Bridge = "br0"
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("closed (-want +got):\n%s", diff)
			}
		})
	}
}

// Both back ends having rules is said, with commands that move one's rules over; one alone is not.
func TestListBackends(t *testing.T) {
	t.Setenv("XTABLES_LOCKFILE", filepath.Join(t.TempDir(), "lock"))
	for _, backend := range []string{backendNFT, backendLegacy} {
		_, err := exec.LookPath("/usr/sbin/" + backend)
		netns.Need(t, backend, err)
	}
	for _, tt := range []struct{ name, made, other string }{
		{name: "none", made: "true"},
		{name: "nft alone", made: "iptables-nft -A INPUT -p udp -j ACCEPT"},
		{name: "legacy alone", made: "iptables-legacy -A INPUT -p udp -j ACCEPT"},
		{name: "an empty table of legacy", made: "iptables-nft -A INPUT -p udp -j ACCEPT; iptables-legacy -t nat -S"},
		{name: "both", made: "iptables-nft -A INPUT -p udp -j ACCEPT; iptables-legacy -t nat -A OUTPUT -p udp -j ACCEPT", other: backendLegacy},
		{name: "a policy and a chain", made: "iptables-nft -N mine; iptables-nft -A mine -j DROP; iptables-legacy -P FORWARD DROP; iptables-legacy -N other",
			other: backendLegacy},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ns := netns.New(t)
			ns.Run(t, "sh", "-ec", tt.made)
			look := func() (b Backends) {
				do(t, ns, func() (err error) {
					b, err = ListBackends(t.Context())
					return err
				})
				return b
			}
			b := look()
			if b.Uses != backendNFT || b.Other != tt.other {
				t.Fatalf("found %+v, want %q besides", b, tt.other)
			}
			if b.Other == "" {
				return
			}
			both := ns.Run(t, "sh", "-ec", "iptables-nft -S; iptables-legacy -S; iptables-legacy -t nat -S; iptables-nft -t nat -S")
			ns.Run(t, "sh", "-ec", strings.Join(b.Move, "\n"))
			if b := look(); b.Other != "" {
				t.Errorf("after its commands: %+v", b)
			}
			moved := ns.Run(t, "sh", "-ec", "iptables-nft -S; iptables-nft -t nat -S")
			for line := range strings.Lines(both) {
				if strings.HasSuffix(line, " ACCEPT\n") && strings.HasPrefix(line, "-P") || strings.HasPrefix(line, "#") {
					continue
				}
				if !strings.Contains(moved, line) {
					t.Errorf("%q was not moved:\n%s", line, moved)
				}
			}
		})
	}
}
