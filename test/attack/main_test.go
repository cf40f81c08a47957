package attack

import (
	"fmt"
	"os"
	"testing"

	"azimds/test/netns"
	"azimds/test/programs"
)

// bin is where TestMain put the programs: azimds, azimds-without (from which checks can be taken out) and puppet. Every user can
// run them.
var bin string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	var err error
	bin, err = programs.Build([]programs.Program{
		programs.Azimds,
		{Name: "azimds-without", Source: programs.Azimds.Source, Tags: "azimdstest"},
		{Name: "puppet", Source: "azimds/test/attack/puppet"},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "preparing the attacks:", err)
		return 1
	}
	defer os.RemoveAll(bin)
	return netns.Main(m)
}
