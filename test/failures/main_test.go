package failures

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"azimds/test/netns"
	"azimds/test/programs"
)

var update = flag.Bool("update", false, "rewrite testdata/messages.golden")

// bin is where TestMain put azimds. Every user can read and run it.
var bin string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	var err error
	if bin, err = programs.Build([]programs.Program{programs.Azimds}); err != nil {
		fmt.Fprintln(os.Stderr, "preparing the tests of failures:", err)
		return 1
	}
	defer os.RemoveAll(bin)
	return netns.Main(m)
}
