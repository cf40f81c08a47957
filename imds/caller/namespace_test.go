package caller

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"azimds/test/netns"
)

// fewVariable has the test binary say in which namespace of processes it is.
const fewVariable = "AZIMDSTEST_AMONG_FEW"

// A process in a namespace of its own is among few, and its parent is as before.
func TestAmongFew(t *testing.T) {
	here, err := AmongFew("/proc")
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv(fewVariable) != "" {
		if !here {
			t.Error("a namespace of its own is taken for the machine's")
		}
		return
	}
	if here {
		netns.Need(t, "the machine's own namespace of processes", errors.New("the test runs in another, as in a container"))
	}
	netns.Root(t)
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestAmongFew$")
	cmd.Env = append(os.Environ(), fewVariable+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err := AmongFew(t.TempDir()); err == nil {
		t.Error("nothing is wrong where there is no /proc")
	}
}
