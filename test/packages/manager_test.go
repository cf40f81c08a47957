package packages

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// recorder stands in for systemctl where systemd runs, and says what it is asked for. It fails on what a file names.
const recorder = `#!/bin/sh
echo "$*" >>/asked
! grep -qsxF -- "$*" /failing`

// TestServiceManager: what a running systemd is told at each step, and a step goes on where that fails.
func TestServiceManager(t *testing.T) {
	b := need(t)
	r := root(t)
	copyInto(t, filepath.Join(b.first, debAMD64), filepath.Join(r, "first.deb"))
	copyInto(t, filepath.Join(b.second, "azimds_1.2.4_amd64.deb"), filepath.Join(r, "second.deb"))
	must(t, r, "rm /usr/bin/systemctl && mkdir -p /run/systemd/system")
	put(t, r, "usr/bin/systemctl", recorder)
	must(t, r, "chmod 755 /usr/bin/systemctl")
	const (
		reload  = "daemon-reload\n"
		restart = "try-restart azimds-net.service\n"
		stop    = "stop azimds.service azimds-net.service\n"
		disable = "--quiet --no-reload disable azimds.service azimds-net.service\n"
	)
	for _, failing := range []string{"", reload + restart + stop + disable} {
		put(t, r, "failing", failing)
		for _, step := range []struct{ command, asked string }{
			{"dpkg -i /first.deb", reload + restart},
			{"dpkg -i /second.deb", reload + restart},
			{"dpkg -i /second.deb", reload + restart},
			{"dpkg --remove azimds", stop + disable + reload},
			{"dpkg --purge azimds", reload},
		} {
			put(t, r, "asked", "")
			must(t, r, step.command)
			if diff := cmp.Diff(step.asked, read(t, filepath.Join(r, "asked"))); diff != "" {
				t.Errorf("%s, failing %q (-want +asked):\n%s", step.command, failing, diff)
			}
		}
	}
}
