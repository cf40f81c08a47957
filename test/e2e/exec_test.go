package e2e

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"azimds/test/agent"
	"azimds/test/netns"
)

// self is this test binary where every user can run it: a client of one request, see rawClientEnv.
func self(t testing.TB) string {
	t.Helper()
	path := filepath.Join(bin, "self")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// execCommand is azimds exec with emulated tokens for a shell script.
func execCommand(t testing.TB, script string, flags ...string) *exec.Cmd {
	t.Helper()
	args := append([]string{"exec", "--credential", "emulated"}, flags...)
	cmd := command(append(args, "--", "sh", "-c", script)...)
	cmd.Env = append(cmd.Env, rawClientEnv+"=read", "SELF="+self(t))
	return cmd
}

// TestExecServesTheTree wants COMMAND, its children and its orphans served, as root alone and as another user, and a
// process of the same user outside the tree refused while they are; with --all it is served too.
func TestExecServesTheTree(t *testing.T) {
	netns.Root(t)
	for _, uid := range []uint32{0, ownerUID} {
		for _, mode := range []string{"iptables", "loopback"} {
			t.Run(fmt.Sprintf("%s/uid-%d", mode, uid), func(t *testing.T) {
				ns := netns.New(t)
				before := state(t, ns)
				user := []string{"--user", fmt.Sprint(uid), "--mode", mode}
				out, code := agent.Output(t, ns, execCommand(t, `"$SELF" && (setsid "$SELF" & wait)`, user...))
				if code != 0 || strings.Count(out, `"access_token"`) != 2 {
					t.Errorf("exec ended with %d, want two tokens:\n%s", code, out)
				}
				same(t, before, state(t, ns))

				outside(t, ns, uid, user, false)
				outside(t, ns, uid, append(user, "--all"), true)
				same(t, before, state(t, ns))
			})
		}
	}
}

// outside runs a command that waits; meanwhile the same user asks from outside its tree, and the command's orphan asks too.
func outside(t *testing.T, ns *netns.NS, uid uint32, flags []string, all bool) {
	t.Helper()
	dir := t.TempDir()
	agent.OpenUp(t, filepath.Join(dir, "x"))
	if err := os.Chown(dir, int(uid), int(uid)); err != nil {
		t.Fatal(err)
	}
	pipe := func(name string) string {
		path := filepath.Join(dir, name)
		if err := errors.Join(syscall.Mkfifo(path, 0o600), os.Chown(path, int(uid), int(uid))); err != nil {
			t.Fatal(err)
		}
		return path
	}
	up, ask, asked, end, answer := pipe("up"), pipe("ask"), pipe("asked"), pipe("end"), filepath.Join(dir, "answer")
	// The subshell ends at once: who asks has lost its parent, and has a session of its own.
	script := fmt.Sprintf(`(setsid sh -c 'read x <%s; "$SELF" >%s 2>&1; echo >%s' &); echo >%s; read x <%s`, ask, answer, asked, up, end)
	cmd := execCommand(t, script, flags...)
	said := new(agent.Text)
	cmd.Stdout, cmd.Stderr = said, said
	if err := ns.Start(cmd); err != nil {
		t.Fatal(err)
	}
	await(t, said, up)
	if all {
		served(t, ns, uid)
	} else {
		refused(t, ns, uid)
	}
	refused(t, ns, strangerUID)
	if out, code := agent.Output(t, ns, agent.As(t, uid, command("token", vault, "--raw"))); (code == 0) != all || strings.Contains(out, "eyJ") != all {
		t.Errorf("azimds token outside the tree ended with %d: %s", code, out)
	}
	tell(t, said, ask)
	await(t, said, asked)
	if got, err := os.ReadFile(answer); err != nil || !strings.Contains(string(got), `"access_token"`) {
		t.Errorf("the orphan got %q, %v", got, err)
	}
	tell(t, said, end)
	if err := cmd.Wait(); err != nil {
		t.Errorf("exec ended with %v:\n%s", err, said)
	}
}

// await waits until the other end of a named pipe was opened, and tell opens it for who waits there.
func await(t *testing.T, said *agent.Text, pipe string) { rendezvous(t, said, pipe, os.O_RDONLY) }
func tell(t *testing.T, said *agent.Text, pipe string)  { rendezvous(t, said, pipe, os.O_WRONLY) }

func rendezvous(t *testing.T, said *agent.Text, pipe string, how int) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		f, err := os.OpenFile(pipe, how, 0)
		if err == nil {
			if how == os.O_WRONLY {
				_, err = f.WriteString("go\n")
			} else {
				_, err = io.Copy(io.Discard, f) // to the end: who writes must not find the pipe broken
			}
			err = errors.Join(err, f.Close())
		}
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(agent.Patience):
		t.Fatalf("nobody at pipe %q:\n%s", pipe, said)
	}
}

// TestExecExitCodes wants the codes of env(1): the command's own, 128 and the signal, 126, 127, and 125 for azimds itself.
func TestExecExitCodes(t *testing.T) {
	netns.Root(t)
	ns := netns.New(t)
	before := state(t, ns)
	notExecutable := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(notExecutable, []byte("no program"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		args []string
		want int
	}{
		{"none", []string{"true"}, 0},
		{"own", []string{"sh", "-c", "exit 42"}, 42},
		{"signal", []string{"sh", "-c", "kill -TERM $$"}, 143},
		{"no such command", []string{"no-such-command"}, 127},
		{"not executable", []string{notExecutable}, 126},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, code := azimds(t, ns, append([]string{"exec", "--credential", "emulated", "--"}, c.args...)...)
			if code != c.want {
				t.Errorf("exec %q ended with %d, want %d:\n%s", c.args, code, c.want, out)
			}
			same(t, before, state(t, ns))
		})
	}
	t.Run("azimds", func(t *testing.T) {
		out, code := azimds(t, ns, "exec", "--credential", "no-such-credential", "--", "true")
		if code != 125 || !strings.Contains(out, "credential") {
			t.Errorf("exec ended with %d, want 125:\n%s", code, out)
		}
	})
}

// TestExecIsTransparent wants COMMAND to have the environment, input, working directory and capabilities of its caller.
func TestExecIsTransparent(t *testing.T) {
	netns.Root(t)
	ns := netns.New(t)
	dir := t.TempDir()
	probe := `cat; pwd; echo "$MARK"; grep -E "^(NoNewPrivs|CapEff|CapPrm|Uid)" /proc/self/status; readlink /proc/$$/fd/* | grep -c "^socket:"; true`
	run := func(args ...string) string {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Env = append(agent.CleanEnv(), "MARK=here it is")
		cmd.Dir = dir
		cmd.Stdin = strings.NewReader("from standard input\n")
		out, code := agent.Output(t, ns, cmd)
		if code != 0 {
			t.Fatalf("%q ended with %d:\n%s", args, code, out)
		}
		return out
	}
	plain := run("sh", "-c", probe)
	under := run(filepath.Join(bin, "azimds"), "exec", "--credential", "emulated", "--", "sh", "-c", probe)
	under = strings.ReplaceAll(under, emulatedWarning(under), "")
	if plain != under {
		t.Errorf("without exec:\n%s\nunder exec:\n%s", plain, under)
	}
}

// emulatedWarning is the line that says that tokens are emulated.
func emulatedWarning(out string) string {
	for line := range strings.Lines(out) {
		if strings.Contains(line, "emulated") {
			return line
		}
	}
	return ""
}
