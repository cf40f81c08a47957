package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"azimds/test/netns"
)

// bin is where TestMain put the programs: azimds, azimds-stop (which stops itself where it is told), client-go,
// client.py and client.mjs. Every user can read and run them.
var bin string

func TestMain(m *testing.M) {
	if kind := os.Getenv(rawClientEnv); kind != "" {
		os.Exit(rawClient(kind))
	}
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "azimds-e2e-")
	if err == nil {
		defer os.RemoveAll(dir)
		bin, err = dir, build(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "preparing the end-to-end tests:", err)
		return 1
	}
	return netns.Main(m)
}

func build(dir string) error {
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"-o", filepath.Join(dir, "azimds"), "azimds/cmd/azimds"},
		{"-tags", "azimdstest", "-o", filepath.Join(dir, "azimds-stop"), "azimds/cmd/azimds"},
		{"-o", filepath.Join(dir, "client-go"), "azimds/test/clients/go"},
	} {
		cmd := exec.Command("go", append([]string{"build"}, args...)...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go build %q: %w\n%s", args, err, out)
		}
	}
	for _, name := range []string{"python/client.py", "js/client.mjs"} {
		data, err := os.ReadFile(filepath.Join("..", "clients", name))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}
