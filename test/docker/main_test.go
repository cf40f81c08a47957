package docker

import (
	"fmt"
	"os"
	"testing"

	"azimds/test/netns"
	"azimds/test/programs"
)

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
	return netns.Main(m)
}
