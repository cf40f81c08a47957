package signedout

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"azimds/test/netns"
)

// bin is where TestMain put the programs: azimds, the clients, and in the folder "next" an az that is signed in. Every user
// can read and run them.
var bin string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "azimds-signedout-")
	if err == nil {
		defer os.RemoveAll(dir)
		bin, err = dir, build(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "preparing the tests:", err)
		return 1
	}
	return netns.Main(m)
}

func build(dir string) error {
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	for program, source := range map[string]string{"azimds": "azimds/cmd/azimds", "client": "azimds/test/clients/go"} {
		cmd := exec.Command("go", "build", "-o", filepath.Join(dir, program), source)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go build %q: %w\n%s", source, err, out)
		}
	}
	clients := filepath.Join("..", "clients")
	for _, path := range []string{filepath.Join(clients, "python", "client.py"), filepath.Join(clients, "js", "client.mjs"), "client_async.py"} {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(path)), data, 0o644); err != nil {
			return err
		}
	}
	for folder, script := range map[string]string{"next": azSignedIn, "none": azSignedOut} {
		if err := os.Mkdir(filepath.Join(dir, folder), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, folder, "az"), []byte(script), 0o755); err != nil {
			return err
		}
	}
	return nil
}
