package e2e

import (
	"errors"
	"fmt"
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

// The identities that emulated tokens speak for, one for each azimds exec.
const (
	firstID  = "11111111-1111-4111-8111-111111111111"
	secondID = "22222222-2222-4222-8222-222222222222"
	thirdID  = "33333333-3333-4333-8333-333333333333"
)

// commander is an azimds exec whose command asks for tokens whenever it is told to.
type commander struct {
	t       *testing.T
	cmd     *exec.Cmd
	said    *agent.Text
	id      string
	dir     string
	ended   chan struct{}
	failure error
}

// asks is the command's script: for each line that it reads it makes some requests and says which ids the tokens were for; it ends with
// the last line.
const asks = `while read n; do i=0; while [ $i -lt $n ]; do "$SELF"; i=$((i+1)); done >"$DIR/answers" 2>&1; echo >"$DIR/asked"; done <"$DIR/ask"`

// startExec starts an azimds exec for a user, with an identity of its own, and waits until its command runs.
func startExec(t *testing.T, ns *netns.NS, uid uint32, id string, flags ...string) *commander {
	t.Helper()
	c := newCommander(t, uid, id)
	args := append([]string{"exec", "--credential", "emulated", "--user", fmt.Sprint(uid), "--log-level=debug"}, flags...)
	c.cmd = command(append(args, "--", "sh", "-c", `echo >"$DIR/asked"; `+asks)...)
	c.cmd.Env = append(c.cmd.Env, c.environ()...)
	c.start(ns)
	return c
}

func newCommander(t *testing.T, uid uint32, id string) *commander {
	t.Helper()
	c := &commander{t: t, id: id, dir: t.TempDir(), said: new(agent.Text), ended: make(chan struct{})}
	agent.OpenUp(t, filepath.Join(c.dir, "x"))
	err := os.Chown(c.dir, int(uid), int(uid))
	for _, name := range []string{"ask", "asked"} {
		path := filepath.Join(c.dir, name)
		err = errors.Join(err, syscall.Mkfifo(path, 0o600), os.Chown(path, int(uid), int(uid)))
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *commander) environ() []string {
	return []string{rawClientEnv + "=read", "SELF=" + self(c.t), "DIR=" + c.dir, "AZIMDS_EMULATED_CLIENT_ID=" + c.id}
}

func (c *commander) start(ns *netns.NS) {
	c.t.Helper()
	c.cmd.Stdout, c.cmd.Stderr = c.said, c.said
	if err := ns.Start(c.cmd); err != nil {
		c.t.Fatal(err)
	}
	go func() {
		c.failure = c.cmd.Wait()
		close(c.ended)
	}()
	c.t.Cleanup(func() {
		select {
		case <-c.ended:
		default:
			c.cmd.Process.Kill()
			<-c.ended
		}
	})
	await(c.t, c.said, filepath.Join(c.dir, "asked"))
}

// ask has the command make some requests; answers waits for them. Between the two, others can ask.
func (c *commander) ask(n int, pipe *os.File) {
	c.t.Helper()
	if _, err := fmt.Fprintln(pipe, n); err != nil {
		c.t.Fatal(err)
	}
}

// pipe opens the command's input.
func (c *commander) pipe() *os.File {
	c.t.Helper()
	f, err := os.OpenFile(filepath.Join(c.dir, "ask"), os.O_WRONLY, 0)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { f.Close() })
	return f
}

// answers wants some tokens of the command's own identity, and of no other.
func (c *commander) answers(n int) {
	c.t.Helper()
	await(c.t, c.said, filepath.Join(c.dir, "asked"))
	data, err := os.ReadFile(filepath.Join(c.dir, "answers"))
	if err != nil {
		c.t.Fatal(err)
	}
	own := strings.Count(string(data), `"client_id":"`+c.id+`"`)
	if all := strings.Count(string(data), `"access_token"`); own != n || all != n {
		c.t.Errorf("of %d requests %d had tokens, %d of identity %s:\n%s\n%s", n, all, own, c.id, data, c.said)
	}
}

// end ends the command by the end of its input, and wants exec to end well.
func (c *commander) end(pipe *os.File) {
	c.t.Helper()
	if err := pipe.Close(); err != nil {
		c.t.Error(err)
	}
	c.wait()
}

func (c *commander) wait() {
	c.t.Helper()
	select {
	case <-c.ended:
		if c.failure != nil {
			c.t.Errorf("exec ended with %v:\n%s", c.failure, c.said)
		}
	case <-time.After(agent.Patience):
		c.t.Fatalf("exec does not end:\n%s", c.said)
	}
}

// many is how many requests each command makes at a time: enough for those of two to be between one another's.
const many = 8

// TestExecBesideExec runs two commands side by side, each with an azimds exec and an identity of its own. Each gets its own tokens,
// however their requests follow one another, and a program of the same user in neither tree gets none. The first ends, in order, while the
// second asks, and the second never notices.
func TestExecBesideExec(t *testing.T) {
	netns.Root(t)
	for _, uid := range []uint32{0, ownerUID} {
		for _, mode := range []string{"iptables", "loopback"} {
			t.Run(fmt.Sprintf("%s/uid-%d", mode, uid), func(t *testing.T) {
				ns := netns.New(t)
				before := state(t, ns)
				first := startExec(t, ns, uid, firstID, "--mode", mode)
				second := startExec(t, ns, uid, secondID)
				one, two := first.pipe(), second.pipe()
				first.ask(many, one)
				second.ask(many, two)
				refused(t, ns, uid)
				first.answers(many)
				second.answers(many)
				statusOf(t, ns, 1)

				second.ask(3*many, two)
				first.end(one)
				second.answers(3 * many)
				refused(t, ns, uid)
				statusOf(t, ns, 0)
				third := startExec(t, ns, uid, thirdID)
				three := third.pipe()
				third.ask(many, three)
				second.ask(many, two)
				third.answers(many)
				second.answers(many)
				third.end(three)
				second.ask(1, two)
				second.answers(1)
				second.end(two)
				same(t, before, state(t, ns))
				noFolder(t, ns)
			})
		}
	}
}

// statusOf wants an agent that is well, and has so many guests.
func statusOf(t *testing.T, ns *netns.NS, guests int) {
	t.Helper()
	out, code := azimds(t, ns, "status", "--json")
	want := fmt.Sprintf(`"guests": %d,`, guests)
	if code != 0 || strings.Contains(out, `"guests"`) != (guests > 0) || guests > 0 && !strings.Contains(out, want) {
		t.Errorf("status ended with %d, want %s:\n%s", code, want, out)
	}
}

// noFolder wants nothing left of the state folder.
func noFolder(t *testing.T, ns *netns.NS) {
	t.Helper()
	if _, err := os.Stat(fmt.Sprintf("/run/azimds/%d", ns.Inode())); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the state folder is left: %v", err)
	}
}

// TestExecBesideRun runs a command with an identity of its own beside azimds run and its clients, and beside another command, and the
// same when one is in the other's tree. What ends in order takes nothing from the others: also azimds run, whose place a command takes.
func TestExecBesideRun(t *testing.T) {
	netns.Root(t)
	ns := netns.New(t)
	before := state(t, ns)
	a := startAgent(t, ns, []string{"AZIMDS_EMULATED_CLIENT_ID=" + firstID}, "--credential", "emulated")
	second := startExec(t, ns, ownerUID, secondID)
	third := startExec(t, ns, ownerUID, thirdID)
	two, three := second.pipe(), third.pipe()
	second.ask(many, two)
	third.ask(many, three)
	for range many / 4 {
		if out := served(t, ns, ownerUID); !strings.Contains(out, firstID) {
			t.Errorf("outside both trees: %s", out)
		}
	}
	second.answers(many)
	third.answers(many)
	statusOf(t, ns, 2)

	second.ask(3*many, two)
	third.ask(3*many, three)
	a.Stop()
	second.answers(3 * many)
	third.answers(3 * many)
	refused(t, ns, ownerUID)
	second.end(two)
	third.ask(1, three)
	third.answers(1)
	third.end(three)
	same(t, before, state(t, ns))
	noFolder(t, ns)
}

// TestExecInExec runs a command in another's tree: the innermost serves, and the outer goes on when that has ended.
func TestExecInExec(t *testing.T) {
	netns.Root(t)
	for _, mode := range []string{"iptables", "loopback"} {
		t.Run(mode, func(t *testing.T) {
			ns := netns.New(t)
			before := state(t, ns)
			c := newCommander(t, 0, firstID)
			inner := fmt.Sprintf(`AZIMDS_EMULATED_CLIENT_ID=%s "$AZIMDS" exec --credential emulated -- `, secondID)
			deep := fmt.Sprintf(`AZIMDS_EMULATED_CLIENT_ID=%s "$AZIMDS" exec --credential emulated -- "$SELF"`, thirdID)
			script := `"$SELF"; "$AZIMDS" token ` + vault + ` --json; ` + inner + `sh -c '"$SELF"; "$AZIMDS" token ` + vault + ` --json; ` + deep + `; "$SELF"'; "$SELF"; "$AZIMDS" status`
			cmd := command("exec", "--credential", "emulated", "--mode", mode, "--", "sh", "-c", script)
			cmd.Env = append(cmd.Env, append(c.environ(), "AZIMDS="+filepath.Join(bin, "azimds"))...)
			out, code := agent.Output(t, ns, cmd)
			if code != 0 {
				t.Errorf("exec ended with %d:\n%s", code, out)
			}
			var order []string
			for line := range strings.Lines(out) {
				for name, id := range map[string]string{"1": firstID, "2": secondID, "3": thirdID} {
					if strings.Contains(line, id) {
						order = append(order, name)
					}
				}
			}
			if got := strings.Join(order, " "); got != "1 1 2 2 3 2 1 1" {
				t.Errorf("asked as %s:\n%s", got, out)
			}
			same(t, before, state(t, ns))
			noFolder(t, ns)
		})
	}
}

// TestExecBesideKilledExec kills the azimds of the first of three commands. The others go on, one of them as the first did, and nothing is
// left.
func TestExecBesideKilledExec(t *testing.T) {
	netns.Root(t)
	for _, victim := range []string{"holder", "server", "janitor", "all"} {
		t.Run(victim, func(t *testing.T) {
			ns := netns.New(t)
			before := state(t, ns)
			first := startExec(t, ns, ownerUID, firstID)
			family := (&agent.Agent{Cmd: first.cmd}).Family()
			second := startExec(t, ns, ownerUID, secondID)
			third := startExec(t, ns, ownerUID, thirdID)
			two, three := second.pipe(), third.pipe()
			second.ask(1, two)
			third.ask(1, three)
			second.answers(1)
			third.answers(1)
			for name, pid := range family {
				if victim != name && victim != "all" {
					continue
				}
				if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
			}
			first.pipe().Close() // its command ends; where its azimds is gone, nobody waits for it
			<-first.ended
			second.comesBack(two)
			third.comesBack(three)
			second.ask(many, two)
			third.ask(many, three)
			second.answers(many)
			third.answers(many)
			second.end(two)
			third.ask(1, three)
			third.answers(1)
			third.end(three)
			same(t, before, state(t, ns))
			noFolder(t, ns)
		})
	}
}

// comesBack asks until there is a token, of the command's own identity.
func (c *commander) comesBack(pipe *os.File) {
	c.t.Helper()
	for end := time.Now().Add(agent.Patience); ; {
		c.ask(1, pipe)
		await(c.t, c.said, filepath.Join(c.dir, "asked"))
		data, err := os.ReadFile(filepath.Join(c.dir, "answers"))
		if err != nil {
			c.t.Fatal(err)
		}
		if strings.Contains(string(data), `"client_id":"`+c.id+`"`) {
			return
		}
		if strings.Contains(string(data), "access_token") || time.Now().After(end) {
			c.t.Fatalf("the command got:\n%s\n%s", data, c.said)
		}
	}
}

// TestExecBesideAnothers refuses a command of another user's, or with another mode, beside one that is served still; the same command
// as the one that lets it in does.
func TestExecBesideAnothers(t *testing.T) {
	netns.Root(t)
	ns := netns.New(t)
	before := state(t, ns)
	first := startExec(t, ns, ownerUID, firstID, "--mode", "loopback")
	one := first.pipe()
	for _, tt := range []struct {
		want  string
		code  int
		flags []string
	}{
		{fmt.Sprintf("for %d (uid %[1]d), and lets in nobody else's command", ownerUID), 125, []string{"--user", fmt.Sprint(strangerUID)}},
		{"in mode loopback, which is also that of an azimds exec beside it", 125, []string{"--user", fmt.Sprint(ownerUID), "--mode", "iptables"}},
		{"already", 125, []string{"--user", fmt.Sprint(ownerUID), "--all"}},
		{`"access_token"`, 0, []string{"--user", fmt.Sprint(ownerUID), "--mode", "loopback"}},
	} {
		out, code := agent.Output(t, ns, execCommand(t, `"$SELF"`, tt.flags...))
		if code != tt.code || !strings.Contains(out, tt.want) {
			t.Errorf("exec %q ended with %d, want %d and %q:\n%s", tt.flags, code, tt.code, tt.want, out)
		}
	}
	first.ask(1, one)
	first.answers(1)
	first.end(one)
	same(t, before, state(t, ns))
}

// TestPersonsExecBesideExec has a person run two commands side by side, each with an identity of its own, beside azimds run, which ends
// before they do.
func TestPersonsExecBesideExec(t *testing.T) {
	netns.Root(t)
	ns := netns.New(t)
	before := state(t, ns)
	p := newPerson(t, ns, "use_pty")
	fifos := ""
	for _, name := range []string{"up1", "up2", "go1", "go2"} {
		fifos += ` "$HOME/` + name + `"`
	}
	side := func(n int, id string) string {
		return fmt.Sprintf(`(AZIMDS_EMULATED_CLIENT_ID=%s "$AZIMDS" exec -- sh -c '"$SELF" && "$SELF" && echo >"$HOME/up%d"; read x <"$HOME/go%[2]d"; "$SELF"; "$AZIMDS" token %s --json') & `, id, n, vault)
	}
	script := `set -e; export AZIMDS_CREDENTIAL=emulated; mkfifo` + fifos + `; "$AZIMDS" run --detach; ` + side(1, secondID) + side(2, thirdID) +
		`read x <"$HOME/up1"; read x <"$HOME/up2"; "$SELF"; "$AZIMDS" status; "$AZIMDS" stop; echo >"$HOME/go1"; sleep 0.2; echo >"$HOME/go2"; wait`
	out, code := agent.Output(t, ns, p.shell(script, false, "AZIMDS_EMULATED_CLIENT_ID="+firstID))
	if code != 0 || !strings.Contains(out, "2 commands with an azimds exec of its own") || !strings.Contains(out, "azimds exec goes on for 2 commands") {
		t.Errorf("the session ended with %d:\n%s", code, out)
	}
	for id, want := range map[string]int{firstID: 1, secondID: 3, thirdID: 3} {
		if got := strings.Count(out, `"client_id":"`+id+`"`); got != want {
			t.Errorf("%d tokens of identity %s, want %d:\n%s", got, id, want, out)
		}
	}
	for _, id := range []string{secondID, thirdID} {
		if strings.Count(out, `"appid": "`+id+`"`) != 1 {
			t.Errorf("azimds token in the tree of %s:\n%s", id, out)
		}
	}
	same(t, before, state(t, ns))
	noFolder(t, ns)
}
