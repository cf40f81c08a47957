package acceptance

import (
	"regexp"
	"slices"
)

// script is what the machine runs at each boot. The stand-in for Entra makes a certificate authority of its own at each start.
const script = `
chmod 755 /vm /vm/*
status=0
inside() {
	for test; do ./inside.test -test.v -test.timeout 40m -test.run "^$test$" 2>&1 || status=$?; done
}
case $1 in
1)
	useradd -m -u 1000 -s /bin/bash alice
	useradd -m -u 1001 -s /bin/bash bob
	cp -r azure /home/alice/.azure && chown -R alice:alice /home/alice/.azure
	mkdir entra.d
	echo export REQUESTS_CA_BUNDLE=/vm/entra.d/ca.pem >>/home/alice/.profile
	cat >/etc/systemd/system/entra.service <<-end
		[Unit]
		Description=Stand-in for Entra
		[Service]
		ExecStart=/vm/entra --listen ` + authority + ` --dir /vm/entra.d --client-id ` + client + ` --client-secret ` + secret + `
		[Install]
		WantedBy=multi-user.target
	end
	systemctl daemon-reload
	systemctl enable --now entra 2>&1
	until [ -s entra.d/env.json ]; do sleep 0.1; done
	inside TestBefore TestInstall TestModes
	[ $status = 0 ] || echo $status >failed
	systemctl reboot
	sleep infinity
	;;
2)
	[ ! -e failed ] || status=$(cat failed)
	inside TestRebooted TestExposure TestReload TestWebServer TestFirewalld TestFlushed TestLinkDeleted TestKilled TestUnderLoad TestClock
	inside TestRemove
	exit $status
	;;
esac
`

// steps are the tests of package inside that the script runs.
var steps = func() (all []string) {
	for _, test := range regexp.MustCompile(`Test\w+`).FindAllString(script, -1) {
		if !slices.Contains(all, test) {
			all = append(all, test)
		}
	}
	return all
}()
