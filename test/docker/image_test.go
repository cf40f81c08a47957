package docker

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestImage: the image that a build writes is the same when it is built again, and an engine finds in it what it needs.
func TestImage(t *testing.T) {
	e := Start(t)
	name := azimds(t, e)
	again := t.TempDir()
	buildImage(t, again)
	first, err := os.ReadFile(filepath.Join(images, "azimds.oci.tar"))
	if err != nil {
		t.Fatal(err)
	}
	if second, err := os.ReadFile(filepath.Join(again, "azimds.oci.tar")); err != nil || !bytes.Equal(first, second) {
		t.Errorf("two builds of the same are not the same: %v", err)
	}
	want := `{{json .Config.Entrypoint}} {{json .Config.Cmd}} {{json .Config.Healthcheck.Test}} {{.Created}} {{.Architecture}} {{.Config.User}}`
	platform := name[strings.LastIndexByte(name, '-')+1:]
	if got := e.Inspect(name, want); got !=
		`["/usr/bin/azimds"] ["run"] ["CMD","/usr/bin/azimds","status","--quiet"] 2023-11-14T22:13:20Z `+platform+" " {
		t.Errorf("the image is %s", got)
	}
	for _, tag := range []string{"amd64", "arm64"} {
		if got := e.Inspect("azimds:"+imageVersion+"-"+tag, "{{.Architecture}}"); got != tag {
			t.Errorf("the image for %s is for %s", tag, got)
		}
	}
	if got := e.Docker("run", "--rm", name, "version"); !strings.HasPrefix(got, "azimds ") {
		t.Errorf("the program in the image says %q", got)
	}
}

func buildImage(t *testing.T, folder string) {
	t.Helper()
	cmd := exec.Command("../../cmd/azimds/image/build", folder, "amd64", "arm64")
	cmd.Env = imageEnvironment()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building the image: %v\n%s", err, out)
	}
}
