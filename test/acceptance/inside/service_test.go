//go:build azimdsvm

package inside

import (
	"encoding/json"
	"os"
	"regexp"
	"strconv"
	"testing"

	"azimds/test/acceptance/snapshot"
)

// folders are those that a package and a service may write to.
var folders = []string{"/etc", "/usr", "/var", "/home", "/opt"}

// unread are the tests' own tools: their 40 000 files take minutes to read in an emulated machine, and are none of azimds's.
var unread = []string{"/opt/az", "/opt/python"}

// beforeFile is where the machine's state is kept, as it was before azimds came.
const beforeFile = dir + "before.json"

// mayDiffer is what need not be as it was.
var mayDiffer = []snapshot.Exception{
	{Path: "/var/log/", Why: "logs"},
	{Path: "/var/cache/", Why: "caches"},
	{Path: "/home/alice/.azure/", Why: "az's own logs, and its cache of tokens"},
	{Path: "/var/lib/dpkg/", Why: "the package manager's state"},
	{Path: "/var/lib/apt/", Why: "the package manager's state"},
	{Path: "/var/lib/systemd/deb-systemd-helper-enabled/", Why: "the package manager's state: units that a package enables"},
	{Path: "/etc/group", Why: "system ids, which are not given back"},
	{Path: "/etc/group-", Why: "the group file as it was before"},
	{Path: "/etc/gshadow", Why: "system ids"},
	{Path: "/etc/gshadow-", Why: "system ids"},
	{Path: "/var/lib/systemd/random-seed", Why: "written at each boot"},
	{Path: "/var/tmp/systemd-private-*-systemd-logind.service-*/", Why: "named anew at each boot"},
	{Path: "/var/tmp/systemd-private-*-polkit.service-*/", Why: "named anew at each boot"},
	{Path: "/var/lib/vm-boot", Why: "the test's own: the number of the boot"},
}

// TestBefore records the machine as it is before azimds comes.
func TestBefore(t *testing.T) {
	s, err := snapshot.Take(t.Context(), folders, unread)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(beforeFile, text, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d files", len(s.Files))
}

// TestInstall puts the package on the machine: nothing of it runs until somebody says for whom.
func TestInstall(t *testing.T) {
	install(t, older)
	for _, unit := range []string{holderUnit, serverUnit} {
		if out, err := try(t, "systemctl", "is-active", unit); err == nil {
			t.Errorf("%s is %s", unit, out)
		}
		if out, err := try(t, "systemctl", "is-enabled", unit); err == nil {
			t.Errorf("%s is %s", unit, out)
		}
	}
	if said := run(t, "systemd-analyze", "verify", "--man=no", holderUnit, serverUnit); said != "" {
		t.Errorf("systemd-analyze verify says:\n%s", said)
	}
}

// exposure is the line in which systemd-analyze says how much a service could do.
var exposure = regexp.MustCompile(`Overall exposure level for \S+: ([\d.]+)`)

// TestExposure: neither service could do more than it has to, on systemd's scale of 10.
func TestExposure(t *testing.T) {
	for unit, limit := range map[string]float64{holderUnit: 5, serverUnit: 4} {
		said := exposure.FindStringSubmatch(run(t, "systemd-analyze", "security", "--no-pager", unit))
		if said == nil {
			t.Errorf("systemd-analyze says nothing of %s", unit)
			continue
		}
		t.Log(said[0])
		if level, err := strconv.ParseFloat(said[1], 64); err != nil || level >= limit {
			t.Errorf("%s: want less than %.1f", said[0], limit)
		}
	}
}

// looks succeed where there is what a mode makes.
var looks = map[string][]string{
	"dummy":    {"ip", "link", "show", "azimds0"},
	"iptables": {"iptables", "-t", "nat", "-S", "AZIMDS"},
}

// TestModes: in each mode, the SDK of the owner gets a token that Entra issued to az, and nobody else's gets one.
func TestModes(t *testing.T) {
	for _, mode := range []string{"dummy", "iptables"} {
		t.Run(mode, func(t *testing.T) {
			configure(t, mode)
			tokens := sdk(t, owner, stranger, root)
			if !ofEntra(t, tokens[owner]) {
				t.Errorf("the owner has no token of Entra's\n%s", journal(t))
			}
			for _, user := range []string{stranger, root} {
				if tokens[user] != "" {
					t.Errorf("%s has a token", user)
				}
			}
			served(t)
			for other, look := range looks {
				if out, err := try(t, look[0], look[1:]...); (err == nil) != (other == mode) {
					t.Errorf("what mode %s makes: %v\n%s", other, err, out)
				}
			}
		})
	}
}

// TestRebooted: after a reboot, the services are there, and so is all else.
func TestRebooted(t *testing.T) {
	awaitServices(t)
	served(t)
}

// TestRemove: without azimds, the machine is as it was.
func TestRemove(t *testing.T) {
	unconfigure(t)
	purge(t)
	text, err := os.ReadFile(beforeFile)
	if err != nil {
		t.Fatal(err)
	}
	var before snapshot.Snapshot
	if err := json.Unmarshal(text, &before); err != nil {
		t.Fatal(err)
	}
	after, err := snapshot.Take(t.Context(), folders, unread)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range snapshot.Differences(before, after, mayDiffer) {
		t.Error(line)
	}
	for _, user := range []string{owner, stranger, root} {
		if got := ask(t, user); !refusal(got) {
			t.Errorf("%s: %q from a machine without azimds", user, got)
		}
	}
}
