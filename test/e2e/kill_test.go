package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"azimds/test/agent"
	"azimds/test/netns"
)

// point is where a test build stops itself.
type point struct {
	phase string
	step  int
}

// points are all steps of start and stop in a mode: the holder's own, and those of the plan, which prints a line for each.
func points(t *testing.T, mode string) []point {
	t.Helper()
	plan, code := azimds(t, netns.New(t), "net", "up", "--dry-run", "--mode", mode)
	changes := strings.Count(plan, "\n") - strings.Count(plan, "#")
	if code != 0 || changes < 1 {
		t.Fatalf("net up --dry-run ended with %d:\n%s", code, plan)
	}
	var all []point
	for n := 1; n <= 7; n++ {
		all = append(all, point{"start", n})
	}
	for _, phase := range []string{"up", "down"} {
		for n := range changes {
			all = append(all, point{phase, n})
		}
	}
	return append(all, point{"stop", 1}, point{"stop", 2})
}

// TestKill stops the agent after each step of start and stop and kills one of its processes there, then all of them. The
// others go within moments, and the machine is as it was; when all are killed at once, it is after cleanup.
func TestKill(t *testing.T) {
	netns.Root(t)
	for _, mode := range []string{"iptables", "loopback"} {
		for _, at := range points(t, mode) {
			for _, victim := range []string{"holder", "server", "janitor", "all"} {
				if absent(at, victim) {
					continue
				}
				t.Run(fmt.Sprintf("%s/%s-%d/%s", mode, at.phase, at.step, victim), func(t *testing.T) {
					t.Parallel()
					killAt(t, mode, at, victim)
				})
			}
		}
	}
}

func killAt(t *testing.T, mode string, at point, victim string) {
	ns := netns.New(t)
	before := state(t, ns)
	a, reached := stopAt(t, ns, mode, at)
	if at.phase == "down" || at.phase == "stop" {
		a.AwaitReady()
		if err := a.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	release := reached()
	family := a.Family()
	victims := []string{victim}
	if victim == "all" {
		victims = []string{"janitor", "server", "holder"}
	}
	watched := watchAll(t, family)
	for _, name := range victims {
		if pid, ok := family[name]; ok {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatalf("killing the %s: %v", name, err)
			}
		} else if !absent(at, name) {
			t.Fatalf("there is no %s after %s %d\n%s", name, at.phase, at.step, a.Said)
		}
	}
	release()
	killed := time.Now()
	watched()
	t.Logf("every process was gone %s after the kill", time.Since(killed).Round(time.Millisecond))
	<-a.Ended
	if victim == "all" {
		if out, code := azimds(t, ns, "cleanup"); code != 0 {
			t.Fatalf("cleanup ended with %d: %s", code, out)
		}
	}
	same(t, before, state(t, ns))
	left, err := os.Stat(fmt.Sprintf("/run/azimds/%d", ns.Inode()))
	switch {
	case err != nil: // nothing
	case lockOnly(at, victim): // another namespace gets the number, and another test would find it
		if out, code := azimds(t, ns, "cleanup"); code != 0 {
			t.Errorf("cleanup ended with %d: %s", code, out)
		}
	default:
		t.Errorf("%s is left in /run/azimds", left.Name())
	}
	if t.Failed() {
		t.Logf("the agent said:\n%s", a.Said)
	}
}

// lockOnly tells whether an unlocked file may stay: of a holder that was killed when it had done nothing but lock it.
func lockOnly(at point, victim string) bool { return victim == "holder" && at == point{"start", 1} }

// absent tells whether a process does not live yet, or any more, at a point.
func absent(at point, name string) bool {
	return name == "janitor" && (at == point{"start", 1} || at == point{"stop", 2})
}

// stopAt starts a test build that stops itself at a point. reached waits for that and returns what lets it go on.
func stopAt(t *testing.T, ns *netns.NS, mode string, at point) (a *agent.Agent, reached func() (release func())) {
	t.Helper()
	pipe := filepath.Join(t.TempDir(), "stop")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{fmt.Sprintf("AZIMDSTEST_STOP=%s:%d:%s", at.phase, at.step, pipe)}
	cmd := exec.Command(filepath.Join(bin, "azimds-stop"), "run", "--user", fmt.Sprint(ownerUID), "--mode", mode, "--credential", "emulated")
	cmd.Env = append(agent.CleanEnv(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a foreground group of its own
	a = agent.Start(t, ns, cmd)
	return a, func() func() {
		t.Helper()
		opened := make(chan *os.File, 1)
		go func() {
			f, err := os.OpenFile(pipe, os.O_WRONLY, 0) // waits until the agent has opened it for reading
			if err == nil {
				opened <- f
			}
		}()
		select {
		case f := <-opened:
			return func() { f.Close() }
		case <-a.Ended:
			t.Fatalf("the agent ended before %s %d: %v\n%s", at.phase, at.step, a.Err, a.Said)
		case <-time.After(agent.Patience):
			t.Fatalf("the agent does not come to %s %d\n%s", at.phase, at.step, a.Said)
		}
		return nil
	}
}

// watchAll opens a pidfd for each process now, and returns what waits until all have ended.
func watchAll(t *testing.T, family map[string]int) func() {
	t.Helper()
	fds := map[string]int{}
	for name, pid := range family {
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			t.Fatalf("watching the %s: %v", name, err)
		}
		fds[name] = fd
	}
	return func() {
		t.Helper()
		for name, fd := range fds {
			poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			n, err := unix.Poll(poll, int(agent.Patience.Milliseconds()))
			for err == unix.EINTR {
				n, err = unix.Poll(poll, int(agent.Patience.Milliseconds()))
			}
			if n != 1 || err != nil {
				t.Errorf("the %s lives on: %v", name, err)
			}
			unix.Close(fd)
		}
	}
}

// TestCtrlC holds down Ctrl-C, which a terminal sends to the whole foreground group, from each step of the start on: the
// agent ends well, without a word of complaint, and the machine is as it was.
func TestCtrlC(t *testing.T) {
	netns.Root(t)
	for _, at := range points(t, "iptables") {
		if at.phase == "down" || at.phase == "stop" {
			continue
		}
		t.Run(fmt.Sprintf("%s-%d", at.phase, at.step), func(t *testing.T) {
			t.Parallel()
			ns := netns.New(t)
			before := state(t, ns)
			a, reached := stopAt(t, ns, "iptables", at)
			release := reached()
			release()
			held := time.NewTicker(500 * time.Microsecond)
			defer held.Stop()
			for running := true; running; {
				select {
				case <-a.Ended:
					running = false
				case <-held.C:
					if err := syscall.Kill(-a.Cmd.Process.Pid, syscall.SIGINT); err != nil && err != syscall.ESRCH {
						t.Fatal(err)
					}
				}
			}
			if a.Err != nil || strings.Contains(a.Said.String(), "azimds: ") {
				t.Errorf("the agent: %v\n%s", a.Err, a.Said)
			}
			same(t, before, state(t, ns))
		})
	}
}
