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

	procRoot string
	users    caller.Users
	cgroups  *caller.Cgroups
	ownGroup string      // that of the container which this process is in; "" for none
	untold   atomic.Bool // the kernel has not said which control group a caller's socket is of
	finder   *caller.Finder
	find     func(c caller.Caller) (caller.Process, bool) // asks the holder, who may look at every process
	asking   line                                         // to find, of the owner's connections
	others   line                                         // and of others'
	tree     func(inode uint64) (bool, error)             // whether a socket is the command's; nil serves all

	sharing bool          // this process is in a container whose network is not the machine's: see neighbours.go
	home    atomic.Uint64 // id of the control group that the holder is in; 0 as long as that is not known
}

// newGatekeeper finds out what the machine can tell of callers. procRoot is where proc(5) is mounted.
func newGatekeeper(procRoot string, owner holder.Owner, a policy.Admission, p *policy.Policy, everybody int) (*gatekeeper, error) {
	cgroups, err := caller.OpenCgroups(procRoot)
	if err != nil {
		return nil, err
	}
	own, err := cgroups.Own(procRoot)
	if err != nil {
		return nil, err
	}
	g := &gatekeeper{
		owner: owner, admission: a, rates: newRates(everybody), procRoot: procRoot,
		cgroups: cgroups, ownGroup: caller.Innermost(own), finder: caller.NewFinder(procRoot),
		asking: newLine(), others: newLine(),
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

// admit says whether a caller could be admitted, by what the kernel says of its socket and what is remembered of its control group:
// who is not takes no place and no look, as a flood of strangers would. What is left, screen finds out.
func (g *gatekeeper) admit(c caller.Caller) error {
	switch {
	case c.Bridge != "" || without("owner"):
		return nil
	case !g.admission.Possible(c.UID):
		return g.admission.Admit(policy.Caller{Zone: policy.Local, UID: c.UID}, g.users.Name(c.UID))
	}
	path, ok := g.cgroups.Remembered(c.Cgroup)
	if !ok {
		return nil
	}
	d := caller.Detail{User: g.users.Name(c.UID)}
	g.locate(&d, path)
	if g.neighbour(d) && g.admission.Names(c.UID) {
		return nil
	}
	return g.admission.Admit(g.subject(c, d), d.User)
}

// screen says who a caller is, and whether it is admitted: by its control group, its groups and the program that it is. That is
// looked for last, as it takes longest: who is not admitted does not keep others from being looked for.
func (g *gatekeeper) screen(gone <-chan struct{}, c caller.Caller) (caller.Detail, error) {
	if c.Bridge != "" {
		return caller.Detail{}, nil
	}
	d, group := g.placed(c)
	if err := g.admitted(c, d, group); err != nil {
		return d, err
	}
	found, err := g.process(gone, c)
	if err != nil {
		return d, err
	}
	d.Process = found
	if err := g.admittedProgram(d); err != nil && !without("relay") {
		return d, err
	}
	return d, g.inTree(c.Inode)
}

// admitted says whether a caller is, by all that the kernel says of its socket. group is that of its container.
func (g *gatekeeper) admitted(c caller.Caller, d caller.Detail, group string) error {
	s := g.subject(c, d)
	named := g.neighbour(d) && g.admission.Names(c.UID)
	if d.Container == outOfSight && !named {
		if !g.anyContainer() {
			return g.unseenContainer(c, d)
		}
		s.Container = "" // it need not be one: users can put their own groups out of sight
	}
	if err := g.admission.Admit(s, d.User); err != nil && !named && !without("owner") {
		return err
	}
	if group == "" {
		return nil
	}
	maker, err := g.cgroups.MadeBy(group)
	if err != nil {
		return err
	}
	return g.admission.AdmitMade(d.Container, maker, g.users.Name(maker))
}

// admittedProgram says whether the program that has a caller's socket open is. A container is admitted with all that is in it.
func (g *gatekeeper) admittedProgram(d caller.Detail) error {
	switch relay := d.Relay(); {
	case relay != "":
		return g.admission.AdmitRelay(relay)
	case d.Container == "" && d.Executable == "" && d.Command == "":
		// A relay that cannot be looked at is one all the same. Who connects and has gone is not there to be found, either.
		if err := g.admission.AdmitUnseen(); err != nil {
			return fmt.Errorf("%w: %w", caller.ErrUnknown, err)
		}
	}
	return nil
}

// outOfSight stands for the container of a group that this process cannot see.
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

// describe finds out what can be said of a local caller.
func (g *gatekeeper) describe(c caller.Caller) caller.Detail {
	if c.Bridge != "" {
		return caller.Detail{}
	}
	d, _ := g.placed(c)
	d.Process, _ = g.process(nil, c) // nobody waits for it: there is no error
	return d
}

// placed is what is known of a local caller without looking for its process, and the group of its container.
func (g *gatekeeper) placed(c caller.Caller) (d caller.Detail, group string) {
	d.User = g.users.Name(c.UID)
	path, ok := g.cgroups.Path(c.Cgroup)
	switch {
	case ok:
		group = g.locate(&d, path)
	case c.Cgroup == 0:
		g.untold.Store(true)
	case (g.cgroups.Doubt() == "" || g.away(c.Cgroup)) && !without("container"):
		d.Container = outOfSight
	}
	return d, group
}

// locate adds what a control group's path tells of a caller, and returns the group of its container.
func (g *gatekeeper) locate(d *caller.Detail, path string) (group string) {
	d.Cgroup, d.Unit = path, caller.Unit(path)
	d.Container, group = g.container(path)
	return group
}

func (g *gatekeeper) anyContainer() bool {
	return slices.Contains(g.admission.Containers, policy.Any)
}

// container is the container that a control group is in, and the group of that, unless it is this process's own, whose processes
// are its users.
func (g *gatekeeper) container(path string) (id, group string) {
	if without("container") {
		return "", ""
	}
	if g.ownGroup == "" {
		return caller.Container(path)
	}
	inside, own := strings.CutPrefix(path+"/", g.ownGroup+"/")
	if !own {
		return caller.Container(path)
	}
	if id, group = caller.Container(strings.TrimSuffix(inside, "/")); id != "" {
		group = g.ownGroup + "/" + group
	}
	return id, group
}

// subject is a caller as policy sees it.
func (g *gatekeeper) subject(c caller.Caller, d caller.Detail) policy.Caller {
	if c.Bridge != "" {
		if c.Network != "" {
			return policy.Caller{Zone: policy.Network + c.Network, Bridge: c.Bridge, Address: c.Address}
		}
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

// owners is the subject of a process of the owner's that asks on the control socket, or why it gets nothing: it is in a container
// that is not admitted, or can no longer be looked at.
func (g *gatekeeper) owners(pid int) (policy.Caller, error) {
	s := policy.Caller{Zone: policy.Local, UID: g.owner.UID}
	if g.policy.Load().NeedsGroups() {
		s.Groups = g.users.Groups(s.UID)
	}
	dir := filepath.Join(g.procRoot, strconv.Itoa(pid))
	text, err := os.ReadFile(filepath.Join(dir, "cgroup"))
	if err != nil {
		return s, fmt.Errorf("reading the control group of process %d: %w", pid, err)
	}
	for line := range strings.Lines(string(text)) {
		path, v2 := strings.CutPrefix(line, "0::/")
		if !v2 {
			continue
		}
		s.Cgroup = strings.TrimSuffix(path, "\n")
		s.Container, _ = g.container(s.Cgroup)
		if s.Container == "" && strings.HasPrefix(s.Cgroup+"/", "../") && !without("container") { // cgroup_namespaces(7)
			s.Container = outOfSight
		}
	}
	if exe, err := os.Readlink(filepath.Join(dir, "exe")); err == nil {
		s.Executable = exe
	}
	return s, g.admission.Admit(s, g.owner.Name)
}

// ownersConnection tells whether a connection is the owner's, whose connections come first.
func (g *gatekeeper) ownersConnection(c caller.Caller) bool {
	return c.Bridge == "" && c.UID == g.owner.UID
}
