package acceptance

import (
	"os"
	"regexp"
	"testing"
	"time"

	"azimds/test/netns"
	"azimds/test/vm"
)

// packages are what the machine has: beside what azimds needs, what may get in its way.
var packages = []string{
	"iproute2", "iptables", "nftables", "firewalld", "curl", "sudo", "dbus", "procps", "libpam-systemd",
}

// authority is where the stand-in for Entra listens, in the machine.
const authority = "127.0.0.1:8443"

// Who az is signed in as.
const (
	client = "3f6c2a10-7b54-4c19-8e2d-90ab1c2d3e4f"
	secret = "a-secret-of-no-worth"
)

// TestService installs azimds in a machine, breaks what can be broken, and removes it.
func TestService(t *testing.T) {
	netns.Root(t)
	r := vm.Run(t, vm.Spec{
		Suite: os.Getenv("AZIMDSTEST_SUITE"), Packages: packages, Azure: true, Reboots: true,
		Files: files(t), Command: script, Timeout: 28 * time.Minute, Memory: 2048,
	})
	t.Log(r.Output)
	passed := map[string]bool{}
	for _, ended := range regexp.MustCompile(`(?m)^ *--- (\w+): (\S+)`).FindAllStringSubmatch(r.Output, -1) {
		if passed[ended[2]] = ended[1] == "PASS"; !passed[ended[2]] {
			t.Errorf("%s: %s", ended[2], ended[1])
		}
	}
	for _, name := range steps {
		if !passed[name] {
			t.Errorf("%s did not pass", name)
		}
	}
	if r.Exit != 0 {
		t.Errorf("exit code %d", r.Exit)
	}
}
