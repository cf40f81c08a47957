package engine

import (
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"azimds/test/netns"
)

// serve has an engine answer on a socket.
func serve(t *testing.T, answers map[string]string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "engine.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if text, ok := answers[r.URL.Path]; ok {
			_, _ = w.Write([]byte(text)) // who does not get it says so
			return
		}
		http.Error(w, "page not found", http.StatusNotFound)
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
	return path
}

// What Docker 20.10 answered, shortened.
const (
	dockerNetworks = `[
{"Name":"bridge","Id":"b7a2f4c59d0e51fa5e3c","Driver":"bridge","Options":{"com.docker.network.bridge.name":"docker0"}},
{"Name":"shop_default","Id":"0a1b2c3d4e5f60718293a4b5","Driver":"bridge","Options":{},"Labels":{"com.docker.compose.project":"shop"}},
{"Name":"host","Id":"c2","Driver":"host","Options":{}},
{"Name":"lan","Id":"d3","Driver":"macvlan","Options":{"parent":"eth0"}}]`
	dockerContainers = `[{"Names":["/shop-web-1"],"NetworkSettings":{"Networks":{"shop_default":{"NetworkID":"0a1b2c3d4e5f60718293a4b5","IPAddress":"172.18.0.2"}}}},
{"Names":["/odd"],"NetworkSettings":{"Networks":{"host":{"NetworkID":"c2","IPAddress":""}}}}]`
)

func TestDockerNetworks(t *testing.T) {
	netns.Root(t) // the socket has to be root's
	path := serve(t, map[string]string{"/networks": dockerNetworks, "/containers/json": dockerContainers})
	got, err := Places{Sockets: []Socket{{"docker", path}, {"podman", path + ".none"}}}.Networks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []Network{
		{Name: "bridge", Bridge: "docker0", Engine: "docker"},
		{Name: "shop_default", Bridge: "br-0a1b2c3d4e5f", Engine: "docker", Members: []Member{{"shop-web-1", netip.MustParseAddr("172.18.0.2")}}},
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("networks (-want +got):\n%s", diff)
	}
}

// An engine that is not there or has ended has no networks; one that answers something else is an error, and so is a socket of somebody
// else's.
func TestEnginesThatDoNotAnswer(t *testing.T) {
	netns.Root(t)
	dead := filepath.Join(t.TempDir(), "dead.sock")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	ln.Close()
	others := serve(t, map[string]string{"/networks": "[]", "/containers/json": "[]"})
	if err := os.Chown(others, 4242, 0); err != nil {
		t.Fatal(err)
	}
	for what, tt := range map[string]struct{ path, err string }{
		"ended":     {dead, ""},
		"not there": {dead + ".none", ""},
		"no answer": {serve(t, nil), "404 Not Found"},
		"no JSON":   {serve(t, map[string]string{"/networks": "<html>"}), "invalid character"},
		"another's": {others, "the socket is not root's"},
	} {
		got, err := Places{Sockets: []Socket{{"docker", tt.path}}}.Networks(t.Context())
		if len(got) != 0 || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %v, %v; want an error with %q", what, got, err, tt.err)
		}
	}
}

// Files of Podman's are read where root alone can write them.
func TestPodmanFiles(t *testing.T) {
	netns.Root(t)
	folder := t.TempDir()
	for name, text := range map[string]string{
		"shop.json":    `{"name":"shop","id":"1","driver":"bridge","network_interface":"podman1","subnets":[]}`,
		"lan.json":     `{"name":"lan","driver":"macvlan","network_interface":"eth0"}`,
		"old.conflist": `{"cniVersion":"0.4.0","name":"old","plugins":[{"type":"bridge","bridge":"cni-podman1"},{"type":"portmap"}]}`,
		"forged.json":  `{"name":"forged","driver":"bridge","network_interface":"docker0"}`,
		"broken.json":  `{`,
		"README":       `not one`,
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(filepath.Join(folder, "forged.json"), 4242, 0); err != nil {
		t.Fatal(err)
	}
	got, err := Places{Folders: []string{folder, folder + ".none"}}.Networks(t.Context())
	want := []Network{{Name: "old", Bridge: "cni-podman1", Engine: "podman"}, {Name: "shop", Bridge: "podman1", Engine: "podman"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("networks (-want +got):\n%s", diff)
	}
	for _, part := range []string{"forged.json", "others than root can write it", "broken.json"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("error %v has no %q", err, part)
		}
	}
}
