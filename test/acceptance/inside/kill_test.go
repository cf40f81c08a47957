//go:build azimdsvm

package inside

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestKilled: whatever process is killed, the owner gets a token afterwards.
func TestKilled(t *testing.T) {
	for _, victim := range []string{"server", "holder", "janitor"} {
		t.Run(victim, func(t *testing.T) {
			pid := pidOf(t, victim)
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			await(t, "another "+victim, func() bool {
				now, err := lookUp(t, victim)
				return err == nil && now != pid
			})
			awaitServices(t)
			healed(t)
		})
	}
}

func pidOf(t *testing.T, process string) int {
	t.Helper()
	pid, err := lookUp(t, process)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// lookUp finds a process of the product that is running: the janitor is a child of the holder.
func lookUp(t *testing.T, process string) (int, error) {
	t.Helper()
	unit := map[string]string{"server": serverUnit, "holder": holderUnit, "janitor": holderUnit}[process]
	text := property(t, unit, "MainPID")
	if process == "janitor" {
		out, err := try(t, "pgrep", "-P", text, "-f", " janitor")
		if err != nil {
			return 0, fmt.Errorf("looking for the janitor: %w", err)
		}
		text = strings.TrimSpace(out)
	}
	pid, err := strconv.Atoi(text)
	if err == nil && pid == 0 {
		err = fmt.Errorf("looking for the %s: it does not run", process)
	}
	return pid, err
}
