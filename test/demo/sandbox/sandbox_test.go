package sandbox

import (
	"fmt"
	"net"
	"os"
	"testing"

	"azimds/test/netns"
)

// fine is the exit code of a second life that found what it should: not 0, which a test binary that ran no test has too.
const fine = 42

func TestMain(m *testing.M) {
	if !Inside() {
		os.Exit(m.Run())
	}
	if err := second(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(fine)
}

// second is the second life.
func second() error {
	if err := Enter(); err != nil {
		return err
	}
	links, err := net.Interfaces()
	if err != nil {
		return err
	}
	if len(links) != 1 || links[0].Flags&net.FlagUp == 0 {
		return fmt.Errorf("devices are %v, want lo alone, and up", links)
	}
	run, err := os.ReadDir("/run")
	if err != nil {
		return err
	}
	if len(run) > 0 {
		return fmt.Errorf("/run holds %v, want nothing", run)
	}
	if len(os.Args) != 2 || os.Args[1] != "argument" {
		return fmt.Errorf("arguments are %q", os.Args)
	}
	return nil
}

func TestRerun(t *testing.T) {
	code, err := Rerun(t.Context(), []string{"argument"})
	netns.Need(t, "namespaces of one's own", err)
	if code != fine {
		t.Errorf("exit code %d, want %d", code, fine)
	}
}
