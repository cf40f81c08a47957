package vm

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"azimds/test/netns"
)

// unitsCommand installs a bare program as a service, looks at it, and takes it away. Each part begins with "== name", and a command's
// exit code is a line "exit N".
const unitsCommand = `
cd /vm
useradd -m -s /bin/bash alice
useradd -m bob
install -m 755 azimds /usr/local/bin/azimds
part() { echo "== $*"; }
try() { "$@" 2>&1; echo "exit $?"; }
machine() {
	find /etc /run/azimds /usr/lib/systemd -not -name 'group*' -not -name 'gshadow*' -printf '%p %y %m %l\n' 2>/dev/null | sort
	ip -o addr | sed 's/valid_lft.*//'; ip rule; ip route show table all; iptables -S; iptables -t nat -S
}
again='--retry 5 --retry-all-errors' # a holder that has much to do on a slow machine may find nobody for a while
ask() {
	try su $1 -c "curl -sS -m 60 $2 -H Metadata:true \
		'http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net'" |
		sed 's/"access_token":"[^"]*"/a token/; s/after .* ms/later/'
}
iptables -t nat -S >/dev/null # tables are listed from now on
machine >/tmp/before
part plan; try su alice -c 'azimds install --credential emulated --mode iptables'
part plan changes nothing; machine | diff /tmp/before -
part no such user; try azimds install --user carol --credential emulated --commit
part nobody; try azimds install --credential emulated --commit
part no az; try azimds install --user alice --commit
part no root; try su alice -c 'azimds install --credential emulated --commit'
part no mode; try azimds install --user alice --credential emulated --mode tun --commit
part group; groupadd -g 65530 other; try azimds install --user alice --credential emulated --commit; groupdel other
part beside another; azimds run --detach --user alice --credential emulated --mode loopback >/dev/null
try azimds install --user alice --credential emulated --commit; azimds stop; rm -rf /run/azimds
part refusals change nothing; machine | diff /tmp/before -
part fails
mkdir /etc/systemd/system/azimds.service.d
printf '[Service]\nExecStartPre=/bin/false\n' >/etc/systemd/system/azimds.service.d/fails.conf
try azimds install --user alice --credential emulated --mode iptables --commit
rm -r /etc/systemd/system/azimds.service.d; systemctl daemon-reload
part failing changes nothing; machine | diff /tmp/before -
part install; try azimds install --user alice --credential emulated --mode iptables --commit
part states; systemctl is-enabled azimds-net azimds; systemctl is-active azimds-net azimds
part verify; try systemd-analyze verify --man=no azimds-net.service azimds.service
part exposure
systemd-analyze security --no-pager azimds.service azimds-net.service | grep Overall
try systemd-analyze security --no-pager --threshold=40 azimds.service | grep exit
try systemd-analyze security --no-pager --threshold=50 azimds-net.service | grep exit
part server
grep -E '^(Uid|Groups|NoNewPrivs|CapPrm|CapBnd):' /proc/$(systemctl show -P MainPID azimds.service)/status | tr -s '\t ' ' '
part alice; ask alice "$again"
part bob; ask bob
part reload; try systemctl reload azimds; systemctl is-active azimds; ask alice "$again"
part again; try azimds install --user alice --credential emulated --mode iptables --commit
part other mode; try azimds install --user alice --credential emulated --mode dummy --commit; ip -br addr show azimds0; ask alice "$again"; ask bob
part uninstall plan; try su alice -c 'azimds uninstall'
part alice still; ask alice "$again"
part uninstall; echo '# mine' >>/etc/systemd/system/azimds.service; try azimds uninstall --commit
part kept; cat /etc/systemd/system/azimds.service.saved | tail -1; rm /etc/systemd/system/azimds.service.saved
part uninstalling leaves nothing; machine | diff /tmp/before -
part uninstall again; try azimds uninstall --commit
part legacy; update-alternatives --quiet --set iptables /usr/sbin/iptables-legacy
rmmod iptable_nat iptable_filter ip_tables 2>/dev/null; lsmod | grep -c '^ip_tables'
try azimds install --user alice --credential emulated --mode iptables --commit; ask alice "$again"; ask bob
`

// parts parts what a machine printed at its lines "== name".
func parts(output string) map[string]string {
	found := map[string]string{}
	for part := range strings.SplitSeq(output, "== ") {
		name, text, _ := strings.Cut(part, "\n")
		found[name] = text
	}
	return found
}

// The services are installed, start, are confined, serve the user and nobody else, and go without a trace. A start that fails
// leaves none, either.
func TestUnits(t *testing.T) {
	netns.Root(t)
	r := Run(t, Spec{
		Packages: []string{"curl", "iproute2", "iptables"},
		Files:    map[string]string{"azimds": compile(t, "build", "azimds/cmd/azimds")},
		Command:  unitsCommand,
		Timeout:  25 * time.Minute,
	})
	t.Log(r.Output)
	got := parts(r.Output)
	for name, want := range map[string]string{
		"plan changes nothing":        "",
		"refusals change nothing":     "",
		"failing changes nothing":     "",
		"states":                      "enabled\nenabled\nactive\nactive\n",
		"verify":                      "exit 0\n",
		"again":                       "azimds is installed for alice (uid 1000) as asked: nothing to do\nexit 0\n",
		"kept":                        "# mine\n",
		"uninstalling leaves nothing": "",
		"uninstall again":             "azimds is not installed as a service: nothing to do\nexit 0\n",
		"server": "Uid: 1000 1000 1000 1000\nGroups: 1000 65530 \nCapPrm: 0000000000000000\n" +
			"CapBnd: 0000000000000000\nNoNewPrivs: 1\n",
	} {
		if diff := cmp.Diff(want, got[name]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	for name, wants := range map[string][]string{
		"plan":           {"write /etc/systemd/system/azimds.service (mode 0644)\n", "    User=alice\n", "  sudo azimds install", "--user alice --commit\n", "exit 0\n"},
		"no such user":   {"carol", "getent passwd", "exit 1\n"},
		"nobody":         {"--user", "azimds install --help", "exit 2\n"},
		"no az":          {"neither in PATH nor where", "exit 1\n"},
		"no root":        {"needs root", "sudo azimds install", "exit 1\n"},
		"no mode":        {"mode", "azimds install --help", "exit 2\n"},
		"group":          {"other", "getent group 65530", "exit 1\n"},
		"beside another": {"another azimds, process ", "exit 1\n"},
		"fails":          {"what was done has been taken back", "journalctl", "exit 1\n"},
		"install":        {"run systemctl restart azimds-net.service azimds.service\n", "azimds is installed for alice (uid 1000)", "exit 0\n"},
		"alice":          {"a token", "exit 0\n"},
		"bob":            {"Couldn't connect", "exit 7\n"},
		"reload":         {"exit 0\nactive\n", "a token", "exit 0\n"},
		"other mode":     {"run systemctl restart azimds-net.service azimds.service\n", "169.254.169.254/32", "a token", "exit 0\n", "exit 7\n"},
		"legacy":         {"0\n", "azimds is installed", "a token", "exit 0\n", "exit 7\n"}, // the module is none that the holder could load
		"uninstall plan": {"run systemctl stop", "sudo azimds uninstall --commit", "exit 0\n"},
		"alice still":    {"a token", "exit 0\n"},
		"uninstall":      {"keep /etc/systemd/system/azimds.service as /etc/systemd/system/azimds.service.saved", "exit 0\n"},
	} {
		for _, want := range wants {
			if !strings.Contains(got[name], want) {
				t.Errorf("%s does not say %q:\n%s", name, want, got[name])
			}
		}
	}
	checkExposure(t, got["exposure"])
}

// overall is the last line of systemd-analyze security.
var overall = regexp.MustCompile(`exposure level for (\S+): (\d+\.\d)`)

// checkExposure wants systemd's own figures, of 10 for a service without any sandbox, to be low, and systemd to agree.
func checkExposure(t *testing.T, text string) {
	t.Helper()
	limits := map[string]float64{"azimds.service": 4, "azimds-net.service": 5}
	for _, found := range overall.FindAllStringSubmatch(text, -1) {
		exposure, err := strconv.ParseFloat(found[2], 64)
		t.Logf("exposure of %s: %s", found[1], found[2])
		if limit, ok := limits[found[1]]; err != nil || !ok || exposure >= limit {
			t.Errorf("exposure of %s is %s, %v, and must be below %v", found[1], found[2], err, limit)
		}
		delete(limits, found[1])
	}
	if len(limits) > 0 || strings.Count(text, "exit 0\n") != 2 {
		t.Errorf("systemd-analyze security says:\n%s", text)
	}
}
