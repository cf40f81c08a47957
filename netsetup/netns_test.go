package netsetup

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"azimds/test/netns"
)

// dialVariable makes the test binary a client that dials its value, says what came and exits: a process with a uid of its own.
const dialVariable = "NETSETUP_TEST_DIAL"

// dialTime bounds a dial whose packets may be lost.
const dialTime = 2 * time.Second

func TestMain(m *testing.M) {
	if addr := os.Getenv(dialVariable); addr != "" {
		fmt.Print(dial(addr))
		os.Exit(0)
	}
	os.Exit(netns.Main(m))
}

// backends runs a test with each back end of iptables that this machine has.
func backends(t *testing.T, test func(t *testing.T, ns *netns.NS)) {
	for _, backend := range []string{"nft", "legacy"} {
		t.Run(backend, func(t *testing.T) {
			dir := t.TempDir()
			for _, name := range []string{"iptables", "iptables-save"} {
				path, err := exec.LookPath(strings.Replace(name, "iptables", "/usr/sbin/iptables-"+backend, 1))
				netns.Need(t, "iptables-"+backend, err)
				if err := os.Symlink(path, filepath.Join(dir, name)); err != nil {
					t.Fatal(err)
				}
			}
			named(t, func() (string, error) { return "/usr/sbin/iptables-" + backend, nil })
			t.Setenv("PATH", dir+":/usr/sbin:/sbin:"+os.Getenv("PATH"))
			t.Setenv("XTABLES_LOCKFILE", filepath.Join(dir, "lock"))
			ns := netns.New(t)
			if !inMachine {
				plantCanaries(t, ns)
			}
			test(t, ns)
		})
	}
}

// named replaces the search for the iptables program for the time of a test.
func named(t *testing.T, by func() (string, error)) {
	t.Helper()
	before := find
	find = by
	t.Cleanup(func() { find = before })
}

// plantCanaries puts things of other people into a namespace, each as near to ours as can be.
func plantCanaries(t *testing.T, ns *netns.NS) {
	t.Helper()
	for _, command := range []string{
		"ip addr add 169.254.1.1/32 dev lo scope host label lo:other",
		"ip route add local 192.0.2.1/32 dev lo proto 170 table 169254",
		"ip rule add to 192.0.2.1/32 lookup 169254 pref 40000 proto 170",
		"iptables -t nat -N OTHER",
		"iptables -t nat -A OTHER -p tcp -j REDIRECT --to-ports 981",
		"iptables -t nat -A OUTPUT -d 192.0.2.1/32 -j OTHER",
		"iptables -t nat -A OUTPUT -m comment --comment azimds -j RETURN",
		"iptables -t nat -A PREROUTING -i br-0 -p tcp -m comment --comment azimds -j REDIRECT --to-ports 981",
		"iptables -t filter -A INPUT -i br-0 -p tcp -m tcp --dport 981 -m comment --comment azimds -j REJECT --reject-with tcp-reset",
		"iptables -t filter -A OUTPUT -o lo -p udp -j ACCEPT",
		"iptables -t filter -A OUTPUT -d 192.0.2.1/32 -p tcp -m comment --comment azimds -j REJECT --reject-with tcp-reset",
	} {
		ns.Run(t, "sh", "-c", command)
	}
}

var (
	counters   = regexp.MustCompile(`\[\d+:\d+\]`)
	comment    = regexp.MustCompile(`(?m)^#.*\n`)
	carrier    = regexp.MustCompile(` linkdown|\b(NO-CARRIER|LOWER_UP|M-DOWN),|,(NO-CARRIER|LOWER_UP|M-DOWN)\b| state \w+`) // follows a veth's peer a moment later
	timer      = regexp.MustCompile(`timer +[\d.]+`)                                                                        // a bridge's
	emptyTable = regexp.MustCompile(`(?m)^\*\w+\n(:\w+ \w+ *\n)*COMMIT\n`)
)

// snapshot is everything of a namespace that we could change.
func snapshot(t *testing.T, ns *netns.NS) string {
	t.Helper()
	tables := comment.ReplaceAllString(counters.ReplaceAllString(ns.Run(t, "iptables-save"), ""), "")
	devices := ns.Run(t, "ip", "-d", "link") + ns.Run(t, "ip", "-4", "addr") + ns.Run(t, "ip", "-4", "rule") +
		ns.Run(t, "ip", "-4", "route", "show", "table", "all")
	return timer.ReplaceAllString(carrier.ReplaceAllString(devices, ""), "") + emptyTable.ReplaceAllString(tables, "")
}

// dial says "connected" or why not.
func dial(addr string) string {
	conn, err := net.DialTimeout("tcp4", addr, dialTime)
	if err != nil {
		return err.Error()
	}
	if err := conn.Close(); err != nil {
		return err.Error()
	}
	return "connected"
}

// dialIn dials from within a namespace, as the test's own uid.
func dialIn(t *testing.T, ns *netns.NS, addr string) (said string) {
	t.Helper()
	do(t, ns, func() error { said = dial(addr); return nil })
	return said
}

func do(t *testing.T, ns *netns.NS, f func() error) {
	t.Helper()
	if err := ns.Do(f); err != nil {
		t.Fatal(err)
	}
}

// listen opens the plan's listener in a namespace and closes it when the test ends. The kernel completes connections, so
// nobody needs to accept.
func listen(t *testing.T, ns *netns.NS, p Plan) {
	t.Helper()
	do(t, ns, func() error {
		ln, err := Listen(t.Context(), p)
		if err == nil {
			t.Cleanup(func() { ln.Close() })
		}
		return err
	})
}

func guard(t *testing.T, ns *netns.NS, p Plan) {
	t.Helper()
	do(t, ns, func() error { return NewHost(Options{}).Guard(t.Context(), p) })
}

func up(t *testing.T, ns *netns.NS, p Plan) {
	t.Helper()
	do(t, ns, func() error { return NewHost(Options{}).Up(t.Context(), p) })
}

func down(t *testing.T, ns *netns.NS, p Plan) {
	t.Helper()
	do(t, ns, func() error { return NewHost(Options{}).Down(t.Context(), p) })
}

func check(t *testing.T, ns *netns.NS, p Plan) (report Report) {
	t.Helper()
	do(t, ns, func() (err error) {
		report, err = NewHost(Options{}).Check(t.Context(), p)
		return err
	})
	return report
}

// rootPlan intercepts the uid that the tests run as.
var rootPlan = Plan{Mode: IPTables, Endpoint: Endpoint, Backend: iptablesPlan.Backend}

// hostPlans are plans whose uids and groups the kernel knows here: inside a user namespace of one uid, that one alone.
func hostPlans(t *testing.T) []Plan {
	t.Helper()
	if inMachine { // those of the other modes are tested on every kernel
		return []Plan{dummyPlan, refusing(dummyPlan)}
	}
	plans := []Plan{rootPlan}
	for _, p := range addressPlans() {
		bridged := refusing(preceding(p))
		bridged.Bridges = []string{"br-*"}
		plans = append(plans, p, preceding(p), bridged)
	}
	if manyUIDs(t) {
		plans = append(plans, exemptPlan, severalOnLoopback, severalByIPTables, anyByIPTables)
	}
	return plans
}

func manyUIDs(t *testing.T) bool {
	t.Helper()
	uids, err := os.ReadFile("/proc/self/uid_map") // first inside, first outside, how many
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(uids))
	return fields[2] != "1"
}
