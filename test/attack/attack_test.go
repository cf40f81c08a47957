package attack

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"azimds/test/agent"
	"azimds/test/netns"
)

// attack is one way to a token.
type attack struct {
	name string
	mode string
	user uint32   // the owner
	args []string // of the agent, further ones
	// checks are those that refuse it. alone says that each of them does so without the others.
	checks []string
	alone  bool
	named  []string // arguments with which the agent allows it; nil where none does
	// hidden are checks that come before those and refuse it too: they are taken out all the time, so that others are seen.
	hidden []string

	prepare func(*scene)        // the namespace, before the agent starts; may be nil
	open    func(*scene)        // the namespace, when the agent serves; may be nil
	allowed func(*scene) string // gets a token; nil: the owner dials the endpoint
	attempt func(*scene) string // must not
}

// scene is where an attack takes place.
type scene struct {
	t      testing.TB
	ns     *netns.NS
	mode   string
	user   uint32       // the owner
	agent  *agent.Agent // nil while the scene is prepared
	other  *puppet      // whom prepare has placed in another namespace
	there  *netns.NS    // the last namespace that was made
	inside *puppet      // in a container of a zone
	env    []string     // of the agent, further variables
	ports  int          // of clients, handed out

	mapped bool // the agent has a user namespace of its own, and the network namespace that belongs to it
}

func (a attack) run(t *testing.T) {
	t.Run(a.mode+"/"+a.name, func(t *testing.T) {
		t.Parallel()
		gotToken := func(outcome string) bool { return outcome == token }
		t.Run("refused", func(t *testing.T) { a.stage(t, nil, gotNothing) })
		t.Run("without "+strings.Join(a.checks, ","), func(t *testing.T) { a.stage(t, a.checks, gotToken) })
		if a.named != nil {
			b := a
			b.args = slices.Concat(a.args, a.named)
			t.Run(strings.Join(a.named, " "), func(t *testing.T) { b.stage(t, nil, gotToken) })
		}
		for _, check := range a.checks {
			if !a.alone || len(a.checks) == 1 {
				break
			}
			others := slices.DeleteFunc(slices.Clone(a.checks), func(other string) bool { return other == check })
			t.Run("by "+check+" alone", func(t *testing.T) { a.stage(t, others, gotNothing) })
		}
	})
}

// stage makes the attack on an agent without some checks, between two requests of somebody who is allowed.
func (a attack) stage(t *testing.T, without []string, want func(outcome string) bool) {
	t.Helper()
	s := &scene{t: t, ns: netns.New(t), mode: a.mode, user: a.user}
	if a.prepare != nil {
		a.prepare(s)
	}
	s.start(slices.Concat(without, a.hidden), a.args...)
	if a.open != nil {
		a.open(s)
	}
	allowed := a.allowed
	if allowed == nil {
		allowed = (*scene).owner
	}
	for range 2 {
		if got := allowed(s); got != token {
			t.Errorf("who is allowed got %s", got)
		}
		if got := a.attempt(s); !want(got) {
			t.Errorf("the attack got %s", got)
		}
	}
	if t.Failed() {
		t.Logf("the agent said:\n%s", s.agent.Said)
	}
	s.agent.Stop()
}

// start runs an agent for the owner in the scene's mode; checks may be taken out of it.
func (s *scene) start(without []string, args ...string) {
	s.t.Helper()
	program := "azimds"
	if len(without) > 0 {
		program = "azimds-without"
	}
	cmd := exec.Command(filepath.Join(bin, program), append([]string{
		"run", "--user", fmt.Sprint(s.user), "--credential", "emulated", "--mode", s.mode, "--log-level", "debug",
	}, args...)...)
	cmd.Env = append(append(agent.CleanEnv(), s.env...), "AZIMDSTEST_WITHOUT="+strings.Join(without, ","))
	if s.mapped {
		s.inUserNamespace(cmd)
	}
	s.agent = agent.Start(s.t, s.ns, cmd)
	s.agent.AwaitReady()
	if s.mapped {
		s.ns = netns.Of(s.t, s.agent.Cmd.Process.Pid)
	}
}

// puppet is one in the agent's namespace.
func (s *scene) puppet(uid uint32, by ...string) *puppet {
	s.t.Helper()
	return newPuppet(s.t, s.ns, uid, by...)
}

// owner is what the owner gets, who dials the endpoint.
func (s *scene) owner() string {
	s.t.Helper()
	return s.puppet(s.user).ask(endpoint)
}

// link makes a link from the scene's namespace, where it is called lan and has 192.0.2.1, to another, where it is eth0 and has
// 192.0.2.2. A puppet, root there, is the scene's other.
func (s *scene) link() {
	s.t.Helper()
	s.there = netns.New(s.t)
	s.other = newPuppet(s.t, s.there, root)
	s.ns.Run(s.t, "ip", "link", "add", "lan", "type", "veth", "peer", "name", "eth0", "netns", fmt.Sprint(s.other.cmd.Process.Pid))
	s.ns.Run(s.t, "ip", "address", "add", "192.0.2.1/24", "dev", "lan")
	s.ns.Run(s.t, "ip", "link", "set", "lan", "up")
	s.there.Run(s.t, "ip", "address", "add", "192.0.2.2/24", "dev", "eth0")
	s.there.Run(s.t, "ip", "link", "set", "eth0", "up")
}

// freshPort is a port for a client that no other has had.
func (s *scene) freshPort() string {
	s.ports++
	return fmt.Sprint(40000 + s.ports)
}
