package browser

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"azimds/test/netns"
	"azimds/test/programs"
)

var update = flag.Bool("update", false, "write what Chromium sends into testdata")

// bin is where TestMain put the programs: azimds, and azimds-without, whose checks can be taken out.
var bin string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	var err error
	bin, err = programs.Build([]programs.Program{
		programs.Azimds,
		{Name: "azimds-without", Source: programs.Azimds.Source, Tags: "azimdstest"},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "preparing the tests in a browser:", err)
		return 1
	}
	defer os.RemoveAll(bin)
	return netns.Main(m)
}
