//go:build azimdsvm

package inside

import (
	"path/filepath"
	"testing"
)

// Units of the product.
const (
	holderUnit = "azimds-net.service"
	serverUnit = "azimds.service"
)

// settingsFile is the machine's configuration, and settings what it says: az takes long where it is emulated.
const (
	settingsFile = "/etc/azimds/config.yaml"
	settings     = "azure-cli:\n  timeout: 4m\n"
)

// places are the files of a package, by what they are called beside the tests.
var places = map[string]string{
	"units/azimds-net.service":    "/usr/lib/systemd/system/azimds-net.service",
	"units/azimds.service":        "/usr/lib/systemd/system/azimds.service",
	"units/azimds.sysusers":       "/usr/lib/sysusers.d/azimds.conf",
	"units/azimds.tmpfiles":       "/usr/lib/tmpfiles.d/azimds.conf",
	"units/azimds.network":        "/usr/lib/systemd/network/10-azimds.network",
	"units/azimds.networkmanager": "/usr/lib/NetworkManager/conf.d/10-azimds.conf",
}

// install puts the files of the package in their places, as the package does.
func install(t testing.TB) {
	t.Helper()
	run(t, "install", "-m", "755", dir+"azimds", "/usr/bin/azimds")
	for from, to := range places {
		run(t, "install", "-D", "-m", "644", dir+from, to)
	}
	run(t, "systemd-sysusers")
	run(t, "systemd-tmpfiles", "--create", "azimds.conf")
	run(t, "systemctl", "daemon-reload")
}

// configure says for whom the services are and in which mode, and has them started.
func configure(t testing.TB, mode string) {
	t.Helper()
	write(t, "/etc/systemd/system/azimds-net.service.d/azimds.conf",
		"[Service]\nEnvironment=AZIMDS_USER="+owner+" AZIMDS_MODE="+mode+"\n")
	write(t, "/etc/systemd/system/azimds.service.d/azimds.conf",
		"[Service]\nUser="+owner+"\nSupplementaryGroups=azimds\n"+
			"Environment=PATH=/usr/local/bin:/usr/bin:/bin REQUESTS_CA_BUNDLE=/vm/entra.d/ca.pem\n")
	write(t, settingsFile, settings)
	run(t, "systemctl", "daemon-reload")
	run(t, "systemctl", "enable", holderUnit, serverUnit)
	run(t, "systemctl", "restart", holderUnit, serverUnit)
}

// unconfigure undoes configure, and purge undoes install.
func unconfigure(t testing.TB) {
	t.Helper()
	run(t, "systemctl", "disable", "--now", serverUnit, holderUnit)
	run(t, "rm", "-r", "/etc/systemd/system/azimds-net.service.d", "/etc/systemd/system/azimds.service.d")
	run(t, "systemctl", "daemon-reload")
}

func purge(t testing.TB) {
	t.Helper()
	for _, path := range places {
		run(t, "rm", path)
		run(t, "rmdir", "-p", "--ignore-fail-on-non-empty", filepath.Dir(path)) // as dpkg does
	}
	run(t, "rm", "-r", "/usr/bin/azimds", "/etc/azimds")
	run(t, "systemctl", "daemon-reload")
}
