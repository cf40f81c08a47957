package docker

import (
	"path/filepath"
	"strings"
	"testing"
)

const state = "{{.State.Status}} {{.State.Health.Status}}"

// TestSidecarComesAndGoes: azimds that shares another container's network serves it whenever it is there, also after it was killed,
// and leaves nothing in that network when it is stopped.
func TestSidecarComesAndGoes(t *testing.T) {
	e := Start(t)
	image := azimds(t, e)
	e.Import("puppet", map[string]string{"/puppet": filepath.Join(bin, "puppet")}, `ENTRYPOINT ["/puppet"]`)
	app := e.Run("--interactive", "--user", "65532", "puppet")
	addresses := func() string { return e.Network(app).Run(t, "ip", "-o", "-4", "address", "show", "dev", "lo") }
	before := addresses()

	id := sidecar(e, image, "--network", "container:"+app, "--cap-add", "NET_ADMIN", "--env", "AZIMDS_CALLERS_USERS=65532")
	for _, end := range []string{"stop", "kill", "stop"} {
		if got := e.shared(app, appUID); got != "token" {
			t.Errorf("before docker %s: app got %q\n%s", end, got, e.Docker("logs", id))
		}
		e.Docker(end, id)
		if end == "stop" { // what is killed with its container may leave the address to the next
			if got := addresses(); got != before {
				t.Errorf("after docker stop the network has %q, and had %q", got, before)
			}
			if got := e.Inspect(id, "{{.State.ExitCode}}"); got != "0" {
				t.Errorf("the stopped azimds ended with %s\n%s", got, e.Docker("logs", id))
			}
			if got := e.shared(app, appUID); got == "token" {
				t.Error("app got a token from nobody")
			}
		}
		e.Docker("start", id)
		e.Await(id, state, "running healthy")
	}
}

// TestHealth: while nobody is signed in the image's own health check fails, and says why and no more.
func TestHealth(t *testing.T) {
	e := Start(t)
	image := azimds(t, e)
	id := e.Run("--cap-add", "NET_ADMIN", "--health-interval", "200ms", "--health-start-period", "1ms", image)
	e.Await(id, state, "running unhealthy")
	checks := e.Inspect(id, "{{json .State.Health.Log}}")
	if !strings.Contains(checks, `"ExitCode":3,"Output":"`) || strings.Contains(checks, "requests") {
		t.Errorf("the checks are %s", checks)
	}
	t.Log(checks)
	if out, code := e.Try("exec", id, "/usr/bin/azimds", "status", "--quiet"); code != 3 || strings.Count(out, "\n") > 1 {
		t.Errorf("the status is %d, %q", code, out)
	}
	stopped(t, e, id)
}
