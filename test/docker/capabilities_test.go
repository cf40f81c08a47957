package docker

import (
	"slices"
	"strings"
	"testing"
)

// What becomes of azimds in a container that has some capabilities.
const (
	ends      = "ends"
	isHealthy = "is healthy"
	isNot     = "serves, and its health check fails"
)

// hardened is what else a container can be kept from.
var hardened = []string{"--read-only", "--tmpfs", "/run", "--security-opt", "no-new-privileges"}

// The capabilities that docs/containers.md names are enough in a container that has nothing else, and each of them is needed: port 80
// is privileged there, as it is where not Docker has made the container.
func TestSidecarCapabilities(t *testing.T) {
	e := Start(t)
	image := azimds(t, e)
	all := []string{"NET_ADMIN", "NET_BIND_SERVICE", "SETUID", "SETGID", "CHOWN", "DAC_OVERRIDE"}
	asRoot := []string{"NET_ADMIN", "NET_BIND_SERVICE", "SETGID"}
	for _, tt := range []struct {
		user    string
		has     []string
		without string
		want    string
	}{
		{"azimds", all, "", isHealthy},
		{"azimds", all, "NET_ADMIN", ends},
		{"azimds", all, "NET_BIND_SERVICE", ends},
		{"azimds", all, "SETUID", ends},
		{"azimds", all, "SETGID", ends},
		{"azimds", all, "CHOWN", ends},
		{"azimds", all, "DAC_OVERRIDE", isNot},
		{"root", asRoot, "", isHealthy},
		{"root", asRoot, "NET_ADMIN", ends},
		{"root", asRoot, "NET_BIND_SERVICE", ends},
		{"root", asRoot, "SETGID", ends},
	} {
		t.Run(tt.user+" without "+tt.without, func(t *testing.T) {
			args := []string{
				"--env", "AZIMDS_CREDENTIAL=emulated", "--env", "AZIMDS_USER=" + tt.user, "--cap-drop", "ALL",
				"--sysctl", "net.ipv4.ip_unprivileged_port_start=1024",
				"--health-interval", "200ms", "--health-start-period", "5s",
			}
			for _, name := range tt.has {
				if name != tt.without {
					args = append(args, "--cap-add", name)
				}
			}
			id := e.Run(append(slices.Concat(args, hardened), image)...)
			state := e.Await(id, state,
				"running healthy", "running unhealthy", "exited unhealthy", "exited starting")
			status, health, _ := strings.Cut(state, " ")
			got := map[bool]string{true: isHealthy, false: isNot}[health == "healthy"]
			if status == "exited" {
				got = ends
			}
			if got != tt.want {
				t.Errorf("azimds %s, want that it %s\n%s", got, tt.want, e.Docker("logs", id))
			}
			e.Docker("rm", "--force", id)
		})
	}
}
