//go:build azimdsvm

package inside

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// patience is for whatever takes long in an emulated machine, such as az: no test judges how long.
const patience = 4 * time.Minute

// dir is where the programs and files of the tests are.
const dir = "/vm/"

// run runs a program to its end, which must be good, and returns what it printed.
func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := try(t, name, args...)
	if err != nil {
		t.Fatalf("%s %q: %v\n%s%s", name, args, err, out, journal(t))
	}
	return out
}

// try runs a program to its end.
func try(t testing.TB, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	return string(out), err
}

// tryAs runs a program as a user who has just signed in, and returns what it printed on its standard output.
func tryAs(t testing.TB, user, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := commandAs(ctx, user, name, args...).Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		t.Logf("%s as %s: %v\n%s", name, user, err, exit.Stderr)
	}
	return string(out), err
}

func commandAs(ctx context.Context, user, name string, args ...string) *exec.Cmd {
	args = append([]string{"--reuid=" + user, "--regid=" + user, "--init-groups", "--reset-env", name}, args...)
	cmd := exec.CommandContext(ctx, "setpriv", args...)
	cmd.Dir = "/"
	return cmd
}

// await waits until something is so.
func await(t testing.TB, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for !is() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("waiting in vain: %s\n%s", what, journal(t))
		}
	}
}

// journal is the end of what the services have logged, for a person.
func journal(t testing.TB) string {
	t.Helper()
	out, err := exec.Command("journalctl", "--no-pager", "-q", "-n", "60", "-u", serverUnit, "-u", holderUnit).CombinedOutput()
	if err != nil {
		return err.Error()
	}
	return "the journal ends with:\n" + string(out)
}

// property is a property of a unit.
func property(t testing.TB, unit, name string) string {
	t.Helper()
	return strings.TrimSpace(run(t, "systemctl", "show", "--value", "-p", name, unit))
}

// write makes a file and the folders above it.
func write(t testing.TB, path, text string) {
	t.Helper()
	run(t, "install", "-d", path[:strings.LastIndexByte(path, '/')])
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// awaitServices waits until both services are ready.
func awaitServices(t *testing.T) {
	t.Helper()
	await(t, "both services run", func() bool {
		_, err := try(t, "systemctl", "is-active", "--quiet", holderUnit, serverUnit)
		return err == nil
	})
}
