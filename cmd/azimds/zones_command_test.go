package main

import (
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"azimds/config"
	"azimds/netsetup/engine"
	"azimds/test/netns"
)

// dockerSays is a socket on which an engine answers.
func dockerSays(t *testing.T, answers map[string]string) engine.Places {
	t.Helper()
	path := filepath.Join(t.TempDir(), "docker.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(answers[r.URL.Path])) // who does not get it says so
	})}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(ln) // until it is closed
	}()
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		<-ended
	})
	return engine.Places{Sockets: []engine.Socket{{Engine: "docker", Path: path}}}
}

// Without an agent, what would be served is said by the configuration, by the network's name as well as by the bridge's.
func TestZonesWithoutAgent(t *testing.T) {
	netns.Root(t)
	ns := netns.New(t)
	ns.Bridge(t, "docker0", "172.17.0.1/16")
	ns.Bridge(t, "br-0a1b2c3d4e5f", "172.18.0.1/16")
	ns.Bridge(t, "virbr0", "192.168.122.1/24")
	ns.Run(t, "ip", "link", "add", "br-bare", "type", "bridge")
	docker := dockerSays(t, map[string]string{
		"/networks": `[{"Name":"bridge","Id":"b7","Driver":"bridge","Options":{"com.docker.network.bridge.name":"docker0"}},
			{"Name":"shop_default","Id":"0a1b2c3d4e5f60718293","Driver":"bridge"}]`,
		"/containers/json": `[{"Names":["/shop-web-1"],"NetworkSettings":{"Networks":{"shop_default":{"NetworkID":"0a1b2c3d4e5f60718293","IPAddress":"172.18.0.2"}}}}]`,
	})
	c := config.Default()
	c.Zones = []config.Zone{{Bridge: "network:shop_default"}, {Bridge: "br-bare"}}
	var got zoneListing
	err := ns.Do(func() (err error) {
		got, err = listZones(t.Context(), c, docker)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if err := printZones(&text, got); err != nil {
		t.Fatal(err)
	}
	const want = `br-0a1b2c3d4e5f, network shop_default of docker
  would be served 172.18.0.0/16
  172.18.0.2      shop-web-1
br-bare
  NOT SERVED: it has no IPv4 address
docker0, network bridge of docker
  not served      172.17.0.0/16
    zones: [docker0]   # in /etc/azimds/config.yaml serves it
virbr0
  not served      192.168.122.0/24
    zones: [virbr0]   # in /etc/azimds/config.yaml serves it
no azimds runs in this network namespace: azimds run
`
	if diff := cmp.Diff(want, text.String()); diff != "" {
		t.Errorf("zones (-want +got):\n%s", diff)
	}
}
