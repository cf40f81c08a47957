package docker

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"azimds/test/netns"
)

// feature is the folder of the dev container feature.
const feature = "../../docs/ci/devcontainer-feature/azimds"

// A dev container with the feature has an agent from its start, for its own user alone; without NET_ADMIN it starts all the same, and
// says what is missing.
func TestDevContainerFeature(t *testing.T) {
	busybox, err := exec.LookPath("busybox")
	netns.Need(t, "busybox", err)
	e := Start(t)
	e.Import("base", map[string]string{
		"/bin/busybox": busybox, "/bin/sh": busybox, "/client": filepath.Join(bin, "client-go"), "/puppet": filepath.Join(bin, "puppet"),
		"/feature/install.sh": feature + "/install.sh", "/feature/azimds": filepath.Join(bin, "azimds"),
	}, "ENV PATH=/usr/local/bin:/bin")
	const applets = "/bin/busybox --install -s /bin; "
	build := func(env ...string) (string, int) {
		args := []string{"run", "--name", "build"}
		for _, variable := range append(env, "_REMOTE_USER=1234") {
			args = append(args, "--env", variable)
		}
		return e.Try(append(args, "base", "/bin/sh", "-c", applets+"sh /feature/install.sh")...)
	}
	if out, code := build("CREDENTIAL=a b'c"); code != 1 || !strings.Contains(out, "is none") {
		t.Errorf("with a credential that is no word the feature's installation ended with %d:\n%s", code, out)
	}
	e.Docker("rm", "build")
	if out, code := build("CREDENTIAL=emulated"); code != 0 {
		t.Fatalf("installing the feature ended with %d:\n%s", code, out)
	}
	e.Docker("commit", "--change", `ENTRYPOINT ["/usr/local/share/azimds/start"]`, "build", "dev")

	id := e.Run("--interactive", "--cap-add", "NET_ADMIN", "dev", "/puppet")
	e.Await(id, "{{.State.Status}}", "running")
	e.AwaitLog(id, "azimds stop")
	if out, code := e.Try(append([]string{"exec", "--user", "1234", id}, sdk...)...); code != 0 || token(out) == "" {
		t.Errorf("the container's user has no token:\n%s\n%s", out, e.Docker("logs", id))
	}
	if got := answer(e.Network(id)); got == "token" {
		t.Error("root, who is not the container's user, has a token")
	}

	bare := e.Run("--interactive", "dev", "/puppet")
	e.Await(bare, "{{.State.Status}}", "running")
	e.AwaitLog(bare, "NET_ADMIN")
	e.AwaitLog(bare, "azimds does not run")
	e.Await(bare, "{{.State.Status}}", "running")
}
