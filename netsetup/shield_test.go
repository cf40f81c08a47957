package netsetup

import (
	"os/exec"
	"testing"
)

// TestShield has a program send itself each signal of a terminal: it lives on behind the shield, and only there.
func TestShield(t *testing.T) {
	for _, signal := range []string{"INT", "QUIT", "TERM", "HUP"} {
		program := func() error { return exec.Command("/bin/sh", "-c", "kill -"+signal+" $$; exit 0").Run() }
		if err := shield(program); err != nil {
			t.Errorf("%s ended the program: %v", signal, err)
		}
		if err := program(); err == nil {
			t.Errorf("%s did not end the program, with no shield", signal)
		}
	}
}
