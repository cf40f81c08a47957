//go:build azimdsvm

package inside

import (
	"strings"
	"testing"
	"time"
)

// TestWebServer: a server of somebody else's on port 80 of all addresses is no obstacle in mode iptables, and azimds doctor names
// it as what keeps mode dummy from starting.
func TestWebServer(t *testing.T) {
	run(t, "iptables", "-t", "nat", "-S", "AZIMDS") // the mode in which TestModes has left it: each start costs a run of az
	run(t, "systemd-run", "--quiet", "--unit", "web", "python3", "-m", "http.server", "--bind", "0.0.0.0", "80")
	await(t, "the web server answers", func() bool {
		_, err := try(t, "curl", "-sS", "-o", "/dev/null", "http://127.0.0.1/")
		return err == nil
	})
	served(t)
	run(t, "systemctl", "stop", serverUnit, holderUnit)
	out, err := try(t, "azimds", "doctor", "--user", owner, "--mode", "dummy")
	named := "python3 (pid " + property(t, "web", "MainPID") + ") on 0.0.0.0:80"
	if err == nil || !strings.Contains(strings.Join(strings.Fields(out), " "), named) { // its lines are wrapped
		t.Errorf("doctor does not say who is on port 80: %v\n%s", err, out)
	}
	run(t, "systemctl", "start", serverUnit)
	served(t)
	run(t, "systemctl", "stop", "web")
	served(t)
}

// TestClock: when the clock has gone on by two hours, as after a machine slept, an old token is not given any more.
func TestClock(t *testing.T) {
	before, ends := token(t)
	if again, _ := token(t); again != before {
		t.Error("the token was not kept, so that this test shows nothing")
	}
	run(t, "date", "-s", "+2 hours")
	if !ends.Before(time.Now()) {
		t.Fatalf("the token, which ends at %s, would still be good", ends)
	}
	after, ends := token(t)
	if !ends.After(time.Now()) || after == before || !ofEntra(t, after) {
		t.Errorf("the token ends at %s, and is the one from before: %t", ends, after == before)
	}
	refused(t)
}

// TestReload: reloading reads the configuration anew, in the same process.
func TestReload(t *testing.T) {
	pid := property(t, serverUnit, "MainPID")
	write(t, settingsFile, settings+"policy:\n  - users: [alice]\n    resources: [https://storage.azure.com]\n")
	run(t, "systemctl", "reload", serverUnit)
	await(t, "the policy is in force", func() bool { return strings.Contains(ask(t, owner), "400") })
	write(t, settingsFile, settings)
	run(t, "systemctl", "reload", serverUnit)
	healed(t)
	if now := property(t, serverUnit, "MainPID"); now != pid {
		t.Errorf("process %s was %s", now, pid)
	}
}
