package vm

import "testing"

// rootlessInMachine has the owner run azimds with an endpoint, and Podman with a container whose network is a relay's. Each line of
// output that counts says how azimds was started, and what the container got.
const rootlessInMachine = `
echo owner:200000:65536 | tee /etc/subuid >/etc/subgid
mkdir -p image && cp ask image/
loginctl enable-linger owner
as_owner() { systemd-run --quiet --wait --pipe --user -M owner@ "$@" </dev/null; }
tar -C image -cf /tmp/image.tar .
as_owner podman import /tmp/image.tar ask 2>&1
as_owner -p KillMode=process podman run -d --name relayed --network slirp4netns:allow_host_loopback=true --add-host host.docker.internal:10.0.2.2 ask /ask wait 2>&1
try() { # NAME FLAGS
	name=$1
	shift
	systemd-run --quiet --user -M owner@ --unit "azimds-$name" /vm/azimds run --endpoint app-service --credential emulated "$@" </dev/null
	until as_owner /vm/azimds env --shell docker >/tmp/variables 2>/dev/null; do sleep 0.5; done
	sed 's#//[^:/]*:#//host.docker.internal:#' /tmp/variables >"/tmp/$name"
	sed 's/^IDENTITY_HEADER=.*/IDENTITY_HEADER=wrong/' "/tmp/$name" >/tmp/wrong
	chmod 644 "/tmp/$name" /tmp/wrong
	echo "got $name: $(as_owner podman exec --env-file "/tmp/$name" relayed /ask endpoint)"
	echo "got $name, wrong secret: $(as_owner podman exec --env-file /tmp/wrong relayed /ask endpoint)"
	as_owner /vm/azimds stop
}
try unnamed
try named --allow-relays slirp4netns
as_owner podman rm -f relayed 2>&1
`

// TestRootlessEndpoint: a container of a rootless engine reaches an endpoint of its owner's, without root anywhere, where its relay is
// named and it has the secret.
func TestRootlessEndpoint(t *testing.T) {
	output := withEngines(t, rootlessInMachine)
	for what, want := range map[string]string{
		"unnamed": "refused", "unnamed, wrong secret": "refused", "named": "token", "named, wrong secret": "HTTP/1.1 401 Unauthorized",
	} {
		if got := said(output, "got "+what+": "); got != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
}
