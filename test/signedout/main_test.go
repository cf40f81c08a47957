package signedout

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"azimds/test/netns"
	"azimds/test/programs"
)

// bin is where TestMain put the programs: azimds, the clients, and in the folder "next" an az that is signed in. Every user
// can read and run them.
var bin string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	clients := filepath.Join("..", "clients")
	var err error
	bin, err = programs.Build([]programs.Program{programs.Azimds, {Name: "client", Source: "azimds/test/clients/go"}},
		filepath.Join(clients, "python", "client.py"), filepath.Join(clients, "js", "client.mjs"), "client_async.py")
	if err == nil {
		defer os.RemoveAll(bin)
		err = writeAz(bin)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "preparing the tests:", err)
		return 1
	}
	return netns.Main(m)
}

// writeAz makes the two kinds of az that stand behind azimds in a chain.
func writeAz(dir string) error {
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
