package attack

import (
	"bufio"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"azimds/test/agent"
	"azimds/test/netns"
)

// The users of these tests: nobody on the machine has these numbers.
const (
	owner    = 61234
	stranger = 61235
	root     = 0
)

const (
	endpoint  = "169.254.169.254:80"
	endpoint6 = "[::ffff:169.254.169.254]:80"
	backend   = "127.0.0.1:981" // in mode iptables
)

// Outcomes of an attempt.
const (
	token    = "token"
	done     = "done"
	refused  = "refused" // a closed port
	reset    = "reset"
	noRoute  = "no route"
	silence  = "silence"
	noAccess = "not permitted"
)

// nothing are the outcomes of who got no connection, or lost it before a byte.
var nothing = []string{refused, reset, noRoute, silence}

// puppet is a process that a test leads step by step: see its program.
type puppet struct {
	t     testing.TB
	cmd   *exec.Cmd
	steps io.WriteCloser
	lines *bufio.Scanner
}

// newPuppet starts one in ns as a user, by way of other programs that start it, if any.
func newPuppet(t testing.TB, ns *netns.NS, uid uint32, by ...string) *puppet {
	t.Helper()
	line := append(by, filepath.Join(bin, "puppet"))
	return startPuppet(t, ns, agent.As(t, uid, exec.Command(line[0], line[1:]...)))
}

func startPuppet(t testing.TB, ns *netns.NS, cmd *exec.Cmd) *puppet {
	t.Helper()
	p := &puppet{t: t, cmd: cmd}
	var said agent.Text
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if p.steps, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := ns.Start(cmd); err != nil {
		t.Fatalf("starting %q: %v", cmd.Args, err)
	}
	t.Cleanup(func() {
		p.steps.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("%q ended with %v: %s", cmd.Args, err, said.String())
		}
	})
	p.lines = bufio.NewScanner(out)
	p.lines.Buffer(nil, 1<<20)
	return p
}

// do has it take one step and returns what came of it.
func (p *puppet) do(words ...string) string {
	p.t.Helper()
	if _, err := io.WriteString(p.steps, strings.Join(words, " ")+"\n"); err != nil {
		p.t.Fatalf("telling %q to %q: %v", p.cmd.Args, words, err)
	}
	if !p.lines.Scan() {
		p.t.Fatalf("%q did not %q: %v", p.cmd.Args, words, p.lines.Err())
	}
	return p.lines.Text()
}

// must has it take a step that goes well.
func (p *puppet) must(words ...string) {
	p.t.Helper()
	if got := p.do(words...); got != done {
		p.t.Fatalf("%q: %s", words, got)
	}
}

// ask has it dial and ask for a token.
func (p *puppet) ask(address string) string {
	p.t.Helper()
	return p.do("ask", address, agent.Patience.String())
}

// askSoon is ask where no answer at all, for a second, may be the answer.
func (p *puppet) askSoon(address string) string {
	p.t.Helper()
	return p.do("ask", address, "1s")
}

// gotNothing reports whether an outcome is that of somebody to whom nothing is there.
func gotNothing(outcome string) bool { return slices.Contains(nothing, outcome) }
