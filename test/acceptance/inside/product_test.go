//go:build azimdsvm

package inside

import (
	"strings"
	"testing"
)

// Units of the product.
const (
	holderUnit = "azimds-net.service"
	serverUnit = "azimds.service"
)

// Two packages of the product, the second newer than the first.
const (
	older = "azimds.deb"
	newer = "azimds-newer.deb"
)

// settingsFile is the machine's configuration, and settings what it says: az takes long where it is emulated.
const (
	settingsFile = "/etc/azimds/config.yaml"
	settings     = "azure-cli:\n  timeout: 4m\n"
)

// install puts a package on the machine, or in the place of another.
func install(t testing.TB, deb string) {
	t.Helper()
	t.Log(run(t, "dpkg", "--force-confold", "-i", dir+deb))
}

// version is that of the package.
func version(t testing.TB) string {
	t.Helper()
	return strings.TrimSpace(run(t, "dpkg-query", "-W", "-f", "${Version}", "azimds"))
}

// configure says for whom the services are and in which mode, and has them started.
func configure(t testing.TB, mode string) {
	t.Helper()
	write(t, settingsFile, settings)
	t.Log(run(t, "azimds", "install", "--user", owner, "--mode", mode, "--commit"))
}

// unconfigure undoes configure, and purge undoes install.
func unconfigure(t testing.TB) {
	t.Helper()
	t.Log(run(t, "azimds", "uninstall", "--commit"))
}

func purge(t testing.TB) {
	t.Helper()
	t.Log(run(t, "dpkg", "--purge", "azimds"))
}
