package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"azimds/imds/caller"
	"azimds/imds/policy"
	"azimds/imds/token"
	"azimds/netsetup/holder"
)

// gatekeeper knows who may talk to the agent and what they get.
type gatekeeper struct {
	owner     holder.Owner
	admission policy.Admission
	policy    atomic.Pointer[policy.Policy]
	rates     *rates

	users   caller.Users
	cgroups *caller.Cgroups
	own     string // the control group of this process's own container; "" where it is in none
	finder  *caller.Finder
	find    func(c caller.Caller) (caller.Process, error) // asks the holder, who may look at every process
	asking  line                                          // to find, of the owner's connections
	others  line                                          // and of others'
	tree    func(inode uint64) (bool, error)              // whether a socket is the command's; nil serves all
}

// newGatekeeper finds out what the machine can tell of callers.
func newGatekeeper(owner holder.Owner, a policy.Admission, p *policy.Policy, everybody int) (*gatekeeper, error) {
	cgroups, err := caller.OpenCgroups("/proc")
	if err != nil {
		return nil, err
	}
	own, err := cgroups.Own("/proc")
	if err != nil {
		return nil, err
	}
	g := &gatekeeper{
		owner: owner, admission: a, rates: newRates(everybody),
		cgroups: cgroups, own: caller.ContainerGroup(own), finder: caller.NewFinder("/proc"), asking: newLine(), others: newLine(),
	}
	g.policy.Store(p)
	return g, nil
}

func (g *gatekeeper) close() { g.finder.Close() }

// change puts other rules to use, and another rate of everybody's.
func (g *gatekeeper) change(p *policy.Policy, everybody int) {
	g.policy.Store(p)
	g.rates.change(everybody)
}

// admit says whether some process of the caller's user could be admitted: the kernel has said no more yet.
func (g *gatekeeper) admit(c caller.Caller) error {
	if c.Bridge != "" || g.admission.Possible(c.UID) || without("owner") {
		return nil
	}
	return g.admission.Admit(policy.Caller{Zone: policy.Local, UID: c.UID}, g.users.Name(c.UID))
}

// screen says who a caller is, and whether it is admitted: by its control group, its groups and the program that it is. For the
// program, which takes longest to find, is looked last, and not for who has been refused by then.
func (g *gatekeeper) screen(gone <-chan struct{}, c caller.Caller) (caller.Detail, error) {
	if c.Bridge != "" {
		return caller.Detail{}, nil
	}
	d := g.belongs(c)
	if d.Container == outOfSight {
		return d, &policy.Refusal{
			Reason: "the control group of its socket is out of sight, as that of another container on this network is",
			Allow:  "callers.containers: ['*']",
		}
	}
	if err := g.admission.Admit(g.subject(c, d), d.User); err != nil && !without("owner") {
		return d, err
	}
	var err error
	if d.Process, err = g.process(gone, c); errors.Is(err, errGone) {
		return d, err
	}
	if err := g.admitProgram(d, err); err != nil && !without("relay") {
		return d, err
	}
	return d, g.inTree(c.Inode)
}

// admitProgram says whether a program may ask that is one which dials for others. Where nobody could look for it, it may be one.
func (g *gatekeeper) admitProgram(d caller.Detail, missing error) error {
	if missing != nil {
		return fmt.Errorf("its program could not be looked for: %w", missing)
	}
	if relay := d.Relay(); relay != "" {
		return g.admission.AdmitRelay(relay)
	}
	return nil
}

// outOfSight stands for the container of a group that this process cannot see, and which is not admitted.
const outOfSight = "?"

// inTree says why a socket is of no process of the command's, where only those are served.
func (g *gatekeeper) inTree(inode uint64) error {
	if g.tree == nil {
		return nil
	}
	ok, err := g.tree(inode)
	switch {
	case err != nil:
		return fmt.Errorf("looking for the socket's process: %w", err)
	case !ok:
		return errors.New("the socket is of no process that the command started")
	}
	return nil
}

// describe finds out what can be said of a caller.
func (g *gatekeeper) describe(c caller.Caller) caller.Detail {
	if c.Bridge != "" {
		return caller.Detail{}
	}
	d := g.belongs(c)
	d.Process, _ = g.process(nil, c) // without it, if it cannot be looked for
	return d
}

// errGone says that a connection has made room for another before it was known whose it is.
var errGone = errors.New("the connection has made room for another")

// process finds the program that has the caller's socket open. Who has not been found lately the holder looks for, as it may look
// at every process. It answers one question after another: others wait in a line that the owner's connections are not in. The
// error says that it could not be looked for. That it was, and not found, is none: it is in another PID namespace
// (pid_namespaces(7)), or has gone.
func (g *gatekeeper) process(gone <-chan struct{}, c caller.Caller) (caller.Process, error) {
	if !g.ownersConnection(c) {
		if !g.others.enter(gone) {
			return caller.Process{}, errGone
		}
		defer g.others.leave()
		return g.find(c)
	}
	if found, ok := g.finder.Known(c); ok {
		return found, nil
	}
	if !g.asking.enter(gone) {
		return caller.Process{}, errGone
	}
	defer g.asking.leave()
	if found, ok := g.finder.Known(c); ok { // by now
		return found, nil
	}
	found, err := g.find(c)
	if err == nil && found.PID != 0 {
		g.finder.Learn(c, found.PID)
	}
	return found, err
}

// line is where connections wait for their turn: it has one entry while it is somebody's.
type line chan struct{}

func newLine() line { return make(line, 1) }

// enter waits for a turn; false where gone is closed before.
func (l line) enter(gone <-chan struct{}) bool {
	select {
	case l <- struct{}{}:
		return true
	case <-gone:
		return false
	}
}

func (l line) leave() { <-l }

// belongs says whose a local caller is, and where it runs.
func (g *gatekeeper) belongs(c caller.Caller) caller.Detail {
	d := caller.Detail{User: g.users.Name(c.UID)}
	path, ok := g.cgroups.Path(c.Cgroup)
	switch {
	case ok:
		d.Cgroup, d.Unit, d.Container = path, caller.Unit(path), g.container(path)
	case c.Cgroup != 0 && g.cgroups.Doubt() == "" && !g.anyContainer() && !without("container"):
		d.Container = outOfSight
	}
	return d
}

func (g *gatekeeper) anyContainer() bool {
	return slices.Contains(g.admission.Containers, policy.Any)
}

// container is the container that a control group is of, if it is not this process's own, whose processes are its users. What is
// in a container can make groups below its own and call them as it likes, so that the outermost counts.
func (g *gatekeeper) container(path string) string {
	if without("container") {
		return ""
	}
	if g.own != "" {
		if below, ok := strings.CutPrefix(path+"/", g.own+"/"); ok {
			path = below
		}
	}
	return caller.Container(path)
}

// subject is a caller as policy sees it.
func (g *gatekeeper) subject(c caller.Caller, d caller.Detail) policy.Caller {
	if c.Bridge != "" {
		return policy.Caller{Zone: c.Bridge, Address: c.Address}
	}
	s := policy.Caller{Zone: policy.Local, UID: c.UID, Cgroup: d.Cgroup, Container: d.Container, Executable: d.Executable}
	if g.admission.NeedsGroups(c.UID) || g.policy.Load().NeedsGroups() {
		s.Groups = g.users.Groups(c.UID)
	}
	return s
}

// allow says what a caller gets; it may choose the identity.
func (g *gatekeeper) allow(c caller.Caller, d caller.Detail, r token.Request) (token.Request, error) {
	return g.decide(g.subject(c, d), r)
}

func (g *gatekeeper) decide(s policy.Caller, r token.Request) (token.Request, error) {
	p := g.policy.Load()
	decision := p.Decide(s, r)
	if decision.Denied != "" {
		return decision.Request, &policy.Denial{Reason: decision.Denied, By: p.Source(decision)}
	}
	if wait := g.rates.take(s, decision); wait > 0 {
		return decision.Request, &policy.Denial{Reason: "too many requests of this caller", By: p.Source(decision), Wait: wait}
	}
	return decision.Request, nil
}

// owners is the subject of a process of the owner's that asks on the control socket.
func (g *gatekeeper) owners(pid int) policy.Caller {
	s := policy.Caller{Zone: policy.Local, UID: g.owner.UID}
	if g.policy.Load().NeedsGroups() {
		s.Groups = g.users.Groups(s.UID)
	}
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	if text, err := os.ReadFile(filepath.Join(dir, "cgroup")); err == nil {
		for line := range strings.Lines(string(text)) {
			if path, ok := strings.CutPrefix(line, "0::/"); ok {
				s.Cgroup = strings.TrimSuffix(path, "\n")
				s.Container = g.container(s.Cgroup)
			}
		}
	}
	if exe, err := os.Readlink(filepath.Join(dir, "exe")); err == nil {
		s.Executable = exe
	}
	return s
}

// ownersConnection tells whether a connection is the owner's, whose connections come first.
func (g *gatekeeper) ownersConnection(c caller.Caller) bool {
	return c.Bridge == "" && c.UID == g.owner.UID
}
