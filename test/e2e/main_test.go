package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"azimds/test/netns"
	"azimds/test/programs"
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
	clients := filepath.Join("..", "clients")
	var err error
	bin, err = programs.Build([]programs.Program{
		programs.Azimds,
		{Name: "azimds-stop", Source: programs.Azimds.Source, Tags: "azimdstest"},
		{Name: "client-go", Source: "azimds/test/clients/go"},
	}, filepath.Join(clients, "python", "client.py"), filepath.Join(clients, "js", "client.mjs"))
	if err != nil {
		fmt.Fprintln(os.Stderr, "preparing the end-to-end tests:", err)
		return 1
	}
	defer os.RemoveAll(bin)
	return netns.Main(m)
}
