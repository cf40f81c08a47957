package vm

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"azimds/test/netns"
)

// inMachine starts the agent in mode dummy, and runs netsetup's tests that need a kernel with links of type dummy, or one whose
// netfilter was taken away. Each "run" names the modules that the kernel must not load, and the patterns of the tests.
const inMachine = `
cd /vm
export CI=1
status=0
run() {
	echo "modules kept away: ${1:-none}"
	for module in $1; do
		echo "install $module /bin/false" >>/etc/modprobe.d/kept-away.conf
		modprobe -q -r "$module"
	done
	shift
	[ "$1" != agent ] || { agent 2>&1; shift; }
	for tests; do
		./netsetup.test -test.v -test.timeout 5m -test.run "$tests" || status=1
	done
	rm -f /etc/modprobe.d/kept-away.conf
}
agent() { ./azimds run --credential emulated --mode dummy "$@" || echo "agent: exit code $?"; }
ask='exec 3<>/dev/tcp/169.254.169.254/80
printf "GET /metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net HTTP/1.1\r\n" >&3
printf "Host: 169.254.169.254\r\nMetadata: true\r\nConnection: close\r\n\r\n" >&3
grep -o "HTTP/1.1 200 OK\|\"token_type\":\"Bearer\"" <&3'
run 'nf_tables ip_tables' '^TestNoNetfilter$' # before the agent makes rules, which keep the modules loaded
if agent --detach; then
	./azimds status | grep "^mode"
	bash -c "$ask"
	ip link del azimds0
	timeout 120 bash -c "until { $ask; } 2>/dev/null | grep 200; do :; done" | sed 's/^/healed: /'
	grep "repaired the interception" /var/log/azimds.log
	./azimds stop
	ip -o link show type dummy | sed 's/^/agent: left behind: /'
fi
modprobe -r dummy
run dummy agent '^TestDummyOnThisKernel$'
run '' '^Test(Kernel.*|Dummy.*|Listen.*|HostNamespaceIsInits)$' '^TestReach$/dummy' \
	'^TestHost(UpDown|PrintedPlan|DownInParallel)$/^nft$' '^TestChosenModeWorks$/^Docker.*_mode_dummy$/^nft$'
ip addr add 169.254.169.254/32 dev lo
systemd-socket-activate -l 169.254.169.254:80 sleep infinity & # which accepts nothing, and listens
server=$!
until (: | bash -c 'exec 3<>/dev/tcp/169.254.169.254/80') 2>/dev/null; do kill -0 $server || break; done
timeout -s INT 60 ./azimds run --credential emulated 2>&1 || echo "beside a metadata service: exit code $?"
kill $server
ip addr del 169.254.169.254/32 dev lo
exit $status
`

// mustPass are those of the tests that would mean nothing where they did not run.
var mustPass = []string{
	"TestKernelHasDummy", "TestNoNetfilter", "TestHostUpDown/nft", "TestHostPrintedPlan/nft", "TestHostDownInParallel/nft",
	"TestDummyOnThisKernel", "TestDummyDevice/listener_on_azimds0", "TestDummyLinkDown", "TestDummyLinkMadeAgain", "TestDummyMended",
	"TestDummyForeign/link_of_our_name", "TestDummyLinkShared", "TestDummyScope", "TestDummyClientAddress",
	"TestReach/dummy,_default_route", "TestListenBeforeAddress", "TestListenInUse/0.0.0.0:80,_dummy",
	"TestChosenModeWorks/Docker's_published_port,_mode_dummy/nft", "TestDummyAfterIPTables",
	"TestHostNamespaceIsInits",
}

// compile runs the go command for a program that needs no library of the machine's, and returns its path.
func compile(t *testing.T, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	args = slices.Insert(args, 1, "-o", path)
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return path
}

// Mode dummy, on a kernel that has it and on one that does not, and what becomes of auto without netfilter. The same machine
// shows that what it is given, what it says and how it ends come through.
func TestNetsetup(t *testing.T) {
	netns.Root(t)
	r := Run(t, Spec{
		Packages: []string{"iproute2", "iptables"},
		Files: map[string]string{
			"netsetup.test": compile(t, "test", "-c", "-tags", "azimdsvm", "azimds/netsetup"),
			"azimds":        compile(t, "build", "azimds/cmd/azimds"),
		},
		Command: inMachine,
	})
	t.Log(r.Output)
	passed := make(map[string]bool)
	for _, ended := range regexp.MustCompile(`(?m)^ *--- (\w+): (\S+)`).FindAllStringSubmatch(r.Output, -1) {
		if ended[1] == "PASS" {
			passed[ended[2]] = true
		} else {
			t.Errorf("%s: %s", ended[2], ended[1])
		}
	}
	for _, name := range mustPass {
		if !passed[name] {
			t.Errorf("%s did not pass", name)
		}
	}
	for _, said := range []string{
		"mode        dummy: asked for", "HTTP/1.1 200 OK\n", "\"token_type\":\"Bearer\"\n",
		"healed: HTTP/1.1 200 OK\n", "ip link add azimds0 group 169254 type dummy",
		"azimds run --shadow-metadata\n", "beside a metadata service: exit code 1\n",
		"modules kept away: dummy\n", "sudo modprobe dummy\n", "agent: exit code 1\n", "dummy false: ", "dummy true: ",
	} {
		if !strings.Contains(r.Output, said) {
			t.Errorf("the output lacks %q", said)
		}
	}
	if strings.Contains(r.Output, "agent: left behind") {
		t.Error("the agent left its link behind")
	}
	if t.Failed() || r.Exit != 0 {
		t.Errorf("exit code %d", r.Exit)
	}
}
