package docker

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// appUID is the uid of the programs in the containers that share azimds's network.
const appUID = 65532

// ask has a puppet get a token.
const ask = "ask 169.254.169.254:80 60s\n"

// sidecar starts azimds with a credential that needs nobody, and waits until its health check says that it serves.
func sidecar(e *Engine, image string, args ...string) string {
	e.t.Helper()
	id := e.Run(append(append([]string{"--env", "AZIMDS_CREDENTIAL=emulated", "--health-interval", "200ms"}, args...), image)...)
	e.Await(id, state, "running healthy")
	return id
}

// shared runs a puppet in a container of its own that shares another's network, and returns what it got.
func (e *Engine) shared(with string, uid int, args ...string) string {
	e.t.Helper()
	out, code := e.Say(ask, append(append([]string{
		"run", "--rm", "--interactive", "--network", "container:" + with, "--user", fmt.Sprint(uid)}, args...), "puppet")...)
	if code != 0 {
		e.t.Fatalf("the puppet ended with %d: %s", code, out)
	}
	return strings.TrimSpace(out)
}

// TestSidecar: who shares the network of azimds's container is served where their uid is named, whatever container they are in, and
// nobody else: neither another uid, nor root, nor the owner's uid.
func TestSidecar(t *testing.T) {
	e := Start(t)
	image := azimds(t, e)
	e.Import("puppet", map[string]string{"/puppet": filepath.Join(bin, "puppet")}, `ENTRYPOINT ["/puppet"]`)
	e.Import("client", map[string]string{"/client": filepath.Join(bin, "client-go")}, `ENTRYPOINT ["/client"]`)
	const (
		token = "token"
		reset = "reset"
	)
	owner := ownersUID(t, e, image)
	hierarchy, err := unified()
	if err != nil {
		t.Fatal(err)
	}
	inSight := []string{"--volume", hierarchy + ":/sys/fs/cgroup/unified:ro"}
	namedInSight := append([]string{"--env", "AZIMDS_CALLERS_USERS=65532"}, inSight...)
	for _, tt := range []struct {
		name string
		args []string // of docker run, for azimds
		uid  int
		also string // a flag for the other container
		want string
	}{
		{"nobody named", nil, appUID, "", reset},
		{"nobody named, the owner's uid", nil, owner, "", reset},
		{"nobody named, root", nil, 0, "", reset},
		{"named", []string{"--env", "AZIMDS_CALLERS_USERS=65532"}, appUID, "", token},
		{"another uid named", []string{"--env", "AZIMDS_CALLERS_USERS=65532"}, appUID + 1, "", reset},
		{"another uid named, the owner's uid", []string{"--env", "AZIMDS_CALLERS_USERS=65532"}, owner, "", reset},
		{"another uid named, root", []string{"--env", "AZIMDS_CALLERS_USERS=65532"}, 0, "", reset},
		{"root named", []string{"--env", "AZIMDS_CALLERS_USERS=root"}, 0, "", token},
		{"served as root, root", []string{"--env", "AZIMDS_USER=root"}, 0, "", reset},
		{"named, in a pod that shares its processes", []string{"--env", "AZIMDS_CALLERS_USERS=65532"}, appUID, "--pid=container:", token},
		{"nobody named, in such a pod", nil, owner, "--pid=container:", reset},
		{"named, control groups in sight", namedInSight, appUID, "", token},
		{"another uid named, control groups in sight", namedInSight, appUID + 1, "", reset},
		{"nobody named, control groups in sight, the owner's uid", inSight, owner, "", reset},
		{"any local user", []string{"--env", "AZIMDS_CALLERS_ANY_LOCAL=true"}, appUID, "", reset},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id := sidecar(e, image, append(tt.args, "--cap-add", "NET_ADMIN")...)
			var also []string
			if tt.also != "" {
				also = []string{tt.also + id}
			}
			if got := e.shared(id, tt.uid, also...); got != tt.want {
				t.Errorf("uid %d got %q, want %q\n%s", tt.uid, got, tt.want, e.Docker("logs", id))
			}
			stopped(t, e, id)
		})
	}
	id := sidecar(e, image, "--cap-add", "NET_ADMIN", "--env", "AZIMDS_CALLERS_USERS=65532")
	out := e.Docker("run", "--rm", "--network", "container:"+id, "--user", "65532", "client", "managed", "https://vault.azure.net/.default")
	if !strings.HasPrefix(out, `{"token":"ey`) {
		t.Errorf("the SDK got %s", out)
	}
	stopped(t, e, id)
}

// stopped stops a container, and wants it to end well and quietly.
func stopped(t *testing.T, e *Engine, id string) {
	t.Helper()
	e.Docker("stop", id)
	if got := e.Inspect(id, "{{.State.ExitCode}} {{.State.OOMKilled}}"); got != "0 false" {
		t.Errorf("the stopped azimds ended with %s\n%s", got, e.Docker("logs", id))
	}
	e.Docker("rm", id)
}

// ownersUID is the uid that azimds serves as in the image.
func ownersUID(t *testing.T, e *Engine, image string) int {
	t.Helper()
	id := sidecar(e, image, "--cap-add", "NET_ADMIN")
	defer stopped(t, e, id)
	var uid int
	status, _ := e.Try("exec", id, "/usr/bin/azimds", "status")
	if _, rest, ok := strings.Cut(status, "of user azimds (uid "); !ok {
		t.Fatalf("the status names no owner:\n%s", status)
	} else if _, err := fmt.Sscanf(rest, "%d)", &uid); err != nil {
		t.Fatal(err)
	}
	return uid
}
