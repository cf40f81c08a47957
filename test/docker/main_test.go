package docker

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"azimds/test/netns"
	"azimds/test/programs"
)

// images is the folder of azimds.oci.tar, where a test has asked for it.
var images string

// build builds the image once for all tests, as it is released, for this machine and another.
var build = sync.OnceValue(func() error {
	var err error
	if images, err = os.MkdirTemp("", "azimds-images-"); err != nil {
		return fmt.Errorf("making a folder for images: %w", err)
	}
	cmd := exec.Command("../../cmd/azimds/image/build", images, "amd64", "arm64")
	cmd.Env = imageEnvironment()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building the image: %w\n%s", err, out)
	}
	return nil
})

// imageEnvironment says what and when the image is.
func imageEnvironment() []string {
	return append(os.Environ(), "VERSION="+imageVersion, "SOURCE_DATE_EPOCH=1700000000")
}

// imageVersion is the version of the image in these tests.
const imageVersion = "1.2.3"

// azimds loads the image into an engine, and returns its name there.
func azimds(t *testing.T, e *Engine) string {
	t.Helper()
	if err := build(); err != nil {
		t.Fatal(err)
	}
	e.Load(filepath.Join(images, "azimds.oci.tar"))
	return "azimds:" + imageVersion + "-" + runtime.GOARCH
}

// bin is where TestMain put the programs.
var bin string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	var err error
	bin, err = programs.Build([]programs.Program{
		programs.Azimds, {Name: "puppet", Source: "azimds/test/attack/puppet"}, {Name: "client-go", Source: "azimds/test/clients/go"},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "preparing the containers:", err)
		return 1
	}
	defer os.RemoveAll(bin)
	defer func() { os.RemoveAll(images) }()
	return netns.Main(m)
}
