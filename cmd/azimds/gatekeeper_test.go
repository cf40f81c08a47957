package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"azimds/imds/caller"
	"azimds/imds/policy"
	"azimds/imds/token"
	"azimds/netsetup/holder"
	"azimds/test/netns"
)

// Users that no machine has: what they are called is their number.
const (
	owner   = 60001
	another = 60002
)

// containerID is a container's.
const containerID = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// machine is a /proc and a hierarchy of control groups, and a gatekeeper that looks at them.
type machine struct {
	t      *testing.T
	proc   string
	groups string
	*gatekeeper
	asked []uint64 // sockets that the holder was asked about
}

// newMachine has control groups of version 2 alone, unless more mounts are given. The server is in the group own.
func newMachine(t *testing.T, own, mounts string, a policy.Admission, rules ...policy.Rule) *machine {
	t.Helper()
	m := &machine{t: t, proc: t.TempDir(), groups: t.TempDir()}
	m.write("self/mounts", "cgroup2 "+m.groups+" cgroup2 rw 0 0\n"+mounts)
	m.write("self/cgroup", "0::/"+own+"\n")
	p, err := policy.New(rules, []policy.Zone{{Bridge: "docker0"}})
	if err != nil {
		t.Fatal(err)
	}
	if m.gatekeeper, err = newGatekeeper(m.proc, holder.Owner{UID: owner, Name: "pat"}, a, p, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.close)
	holder := caller.NewFinder(m.proc)
	t.Cleanup(holder.Close)
	m.find = func(c caller.Caller) (caller.Process, bool) {
		m.asked = append(m.asked, c.Inode)
		return holder.Find(c)
	}
	return m
}

// forget forgets which control groups there are.
func (m *machine) forget(t *testing.T) {
	t.Helper()
	groups, err := caller.OpenCgroups(m.proc)
	if err != nil {
		t.Fatal(err)
	}
	m.cgroups = groups
}

func (m *machine) write(name, text string) {
	m.t.Helper()
	path := filepath.Join(m.proc, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		m.t.Fatal(err)
	}
}

// group makes a control group, those above it too, and returns its id. Those from the one of maker's on are maker's.
func (m *machine) group(path, makers string, maker int) uint64 {
	m.t.Helper()
	full := filepath.Join(m.groups, path)
	if err := os.MkdirAll(full, 0o755); err != nil {
		m.t.Fatal(err)
	}
	for at := full; makers != "" && len(at) >= len(filepath.Join(m.groups, makers)); at = filepath.Dir(at) {
		if err := os.Chown(at, maker, maker); err != nil {
			m.t.Fatal(err)
		}
	}
	info, err := os.Stat(full)
	if err != nil {
		m.t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Ino
}

// process has a socket open.
func (m *machine) process(pid int, exe string, inode uint64) {
	m.t.Helper()
	dir := strconv.Itoa(pid)
	m.write(dir+"/comm", filepath.Base(exe)+"\n")
	m.write(dir+"/cgroup", "0::/a.service\n")
	fd := filepath.Join(m.proc, dir, "fd")
	err := errors.Join(os.Mkdir(fd, 0o755), os.Symlink(fmt.Sprintf("socket:[%d]", inode), filepath.Join(fd, "3")),
		os.Symlink(exe, filepath.Join(m.proc, dir, "exe")))
	if err != nil {
		m.t.Fatal(err)
	}
}

// refusal is what an error says and which line it names; "" and "" for none.
func refusal(err error) (reason, allow string) {
	if err == nil {
		return "", ""
	}
	if r, ok := errors.AsType[*policy.Refusal](err); ok {
		return err.Error(), r.Allow
	}
	return err.Error(), ""
}

// What the kernel says of a socket decides, and of a program whether it dials for others. Whatever cannot be found out is no reason
// to let anybody in.
func TestScreen(t *testing.T) {
	netns.Root(t)
	const below = "user.slice/user@60002.service"
	admission := policy.Admission{Owner: owner}
	naming := func(change func(*policy.Admission)) policy.Admission { a := admission; change(&a); return a }
	web := naming(func(a *policy.Admission) { a.Containers = []string{"web", containerID[:12]} })
	anyOne := naming(func(a *policy.Admission) { a.Containers = []string{policy.Any} })
	tests := []struct {
		name      string
		admission policy.Admission
		own       string // the server's group
		mounts    string
		uid       uint32
		group     string // of the socket; "-" is out of sight, "" untold
		makers    string // from here on, groups are the other user's
		exe       string // "" for a program that is not found
		reason    string // part of why it is refused; "" admits
		allow     string
	}{
		{name: "owner", admission: admission, uid: owner, group: "user.slice", exe: "/usr/bin/curl"},
		{name: "root", admission: admission, uid: 0, group: "a.service", exe: "/usr/bin/curl",
			reason: "user root (uid 0) is not the owner", allow: "callers.users: [root]"},
		{name: "another user", admission: admission, uid: another, group: "user.slice", exe: "/usr/bin/curl",
			reason: "user 60002 (uid 60002) is not the owner", allow: "callers.users: [60002]"},
		{name: "another user, named", admission: naming(func(a *policy.Admission) { a.Users = []uint32{another} }), uid: another,
			group: "user.slice", exe: "/usr/bin/curl"},
		{name: "group of nobody's", admission: naming(func(a *policy.Admission) { a.Groups = []uint32{5} }), uid: another,
			group: "user.slice", exe: "/usr/bin/curl", reason: "is not the owner", allow: "callers.users: [60002]"},
		{name: "container as the owner", admission: admission, uid: owner, group: "docker/" + containerID, exe: "/usr/bin/curl",
			reason: "a process of container 0123456789ab is not user 60001", allow: "callers.containers: [0123456789ab]"},
		{name: "container, named", admission: web, uid: another, group: "docker/" + containerID, exe: "/usr/bin/curl"},
		{name: "container, named, its program unseen", admission: web, uid: owner, group: "docker/" + containerID},
		{name: "container, named, a relay", admission: web, uid: owner, group: "docker/" + containerID, exe: "/usr/bin/pasta",
			reason: "pasta dials for somebody else", allow: "callers.relays: [pasta]"},
		{name: "a group that a user has made with a container's name", admission: web, uid: another, group: below + "/lxc/web", makers: below,
			exe: "/usr/bin/curl", reason: "the control group of container web is one that user 60002 (uid 60002) could have made"},
		{name: "the same where any container is named", admission: anyOne, uid: another, group: below + "/docker/" + containerID, makers: below,
			exe: "/usr/bin/curl", reason: "could have made"},
		{name: "a group in a container with another's name", admission: web, uid: owner, group: "lxc/bad/lxc/web", exe: "/usr/bin/curl",
			reason: "a process of container bad", allow: "callers.containers: [bad]"},
		{name: "in the server's own container", admission: admission, own: "lxc/dev/init", uid: owner, group: "lxc/dev/x", exe: "/usr/bin/curl"},
		{name: "a container in the server's own", admission: admission, own: "lxc/dev/init", uid: owner, group: "lxc/dev/docker/" + containerID,
			exe: "/usr/bin/curl", reason: "a process of container 0123456789ab", allow: "callers.containers: [0123456789ab]"},
		{name: "a container that looks like the server's own", admission: admission, own: "lxc/dev", uid: owner, group: "lxc/bad/lxc/dev",
			exe: "/usr/bin/curl", reason: "a process of container bad", allow: "callers.containers: [bad]"},
		{name: "a container whose name begins like the server's own", admission: admission, own: "lxc/dev", uid: owner, group: "lxc/dev2",
			exe: "/usr/bin/curl", reason: "a process of container dev2", allow: "callers.containers: [dev2]"},
		{name: "out of sight", admission: admission, uid: owner, group: "-", exe: "/usr/bin/curl", reason: "out of sight",
			allow: "callers.containers: ['*']"},
		{name: "out of sight, any container named", admission: anyOne, uid: owner, group: "-", exe: "/usr/bin/curl"},
		{name: "out of sight, any container named, another user", admission: anyOne, uid: another, group: "-", exe: "/usr/bin/curl",
			reason: "user 60002 (uid 60002) is not the owner", allow: "callers.users: [60002]"},
		{name: "out of sight beside version 1", admission: admission, uid: owner, mounts: "cgroup /x cgroup rw 0 0\n", group: "-", exe: "/usr/bin/curl"},
		{name: "untold", admission: admission, uid: owner, exe: "/usr/bin/curl"},
		{name: "relay", admission: admission, uid: owner, group: "a.service", exe: "/usr/bin/slirp4netns",
			reason: "slirp4netns dials for somebody else, such as a container", allow: "callers.relays: [slirp4netns]"},
		{name: "relay, named", admission: naming(func(a *policy.Admission) { a.Relays = []string{"slirp4netns"} }), uid: owner, group: "a.service",
			exe: "/usr/bin/slirp4netns"},
		{name: "unseen program", admission: admission, uid: owner, group: "a.service",
			reason: "unknown caller: the program that has its socket open was not found", allow: "callers.relays: ['*']"},
		{name: "unseen program, a relay named", admission: naming(func(a *policy.Admission) { a.Relays = []string{"ssh"} }), uid: owner,
			group: "a.service", reason: "was not found", allow: "callers.relays: ['*']"},
		{name: "unseen program, any relay named", admission: naming(func(a *policy.Admission) { a.Relays = []string{policy.Any} }), uid: owner,
			group: "a.service"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t, tt.own, tt.mounts, tt.admission)
			c := caller.Caller{UID: tt.uid, Inode: 70}
			switch tt.group {
			case "":
			case "-":
				c.Cgroup = 1
			default:
				c.Cgroup = m.group(tt.group, tt.makers, another)
			}
			if tt.exe != "" {
				m.find = func(caller.Caller) (caller.Process, bool) { return caller.Process{PID: 5, Executable: tt.exe}, true }
			}
			d, err := m.screen(nil, c)
			reason, allow := refusal(err)
			if (err == nil) != (tt.reason == "") || !strings.Contains(reason, tt.reason) || allow != tt.allow {
				t.Errorf("refused with %q, %q; want %q, %q (%+v)", reason, allow, tt.reason, tt.allow, d)
			}
			if err == nil && m.admit(c) != nil {
				t.Errorf("the accepting side refuses it: %v", m.admit(c))
			}
			if got := m.untold.Load(); got != (tt.group == "") {
				t.Errorf("the kernel did not tell: %t", got)
			}
		})
	}
}

// The holder looks for a process of the owner's that was not found before, and for all of others'; for nobody's who is refused.
func TestScreenLooksForProcesses(t *testing.T) {
	m := newMachine(t, "", "", policy.Admission{Owner: owner, Users: []uint32{another}})
	m.process(20, "/usr/bin/curl", 70)
	group := m.group("a.service", "", 0)
	curl := caller.Process{PID: 20, Executable: "/usr/bin/curl"}
	for _, tt := range []struct {
		name  string
		c     caller.Caller
		found caller.Process
		asked int
	}{
		{"the owner's", caller.Caller{UID: owner, Inode: 70, Cgroup: group}, curl, 1},
		{"the owner's again", caller.Caller{UID: owner, Inode: 70, Cgroup: group}, curl, 0},
		{"the owner's, not to be looked at", caller.Caller{UID: owner, Inode: 71, Cgroup: group}, caller.Process{}, 1},
		{"another user's", caller.Caller{UID: another, Inode: 70, Cgroup: group}, curl, 1},
		{"another user's again", caller.Caller{UID: another, Inode: 70, Cgroup: group}, curl, 1},
		{"a stranger's", caller.Caller{UID: 60003, Inode: 70, Cgroup: group}, caller.Process{}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m.asked = nil
			d, err := m.screen(nil, tt.c)
			if d.Process != tt.found || len(m.asked) != tt.asked || (err == nil) != (tt.found != caller.Process{}) {
				t.Errorf("found %+v, %v; the holder was asked about %v", d.Process, err, m.asked)
			}
		})
	}
}

// Where one command is served, its processes are and no others, and an error is no yes.
func TestScreenTree(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   bool
		err  error
		want string
	}{
		{"in it", true, nil, ""},
		{"not in it", false, nil, "the socket is of no process that the command started"},
		{"not to be told", true, errors.New("cannot say"), "looking for the socket's process: cannot say"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t, "", "", policy.Admission{Owner: owner})
			m.process(20, "/usr/bin/curl", 70)
			m.tree = func(uint64) (bool, error) { return tt.in, tt.err }
			_, err := m.screen(nil, caller.Caller{UID: owner, Inode: 70})
			if reason, _ := refusal(err); reason != tt.want {
				t.Errorf("refused with %q, want %q", reason, tt.want)
			}
		})
	}
}

// Before anything but the uid is known, only who can be nobody that is admitted is refused.
func TestAdmit(t *testing.T) {
	local, behind := caller.Caller{UID: another, Inode: 1}, caller.Caller{Bridge: "docker0"}
	for name, tt := range map[string]struct {
		admission policy.Admission
		caller    caller.Caller
		want      string
	}{
		"another user":                   {policy.Admission{Owner: owner}, local, "user 60002 (uid 60002) is not the owner"},
		"who may be a group's":           {policy.Admission{Owner: owner, Groups: []uint32{5}}, local, ""},
		"who may be in a container":      {policy.Admission{Owner: owner, Containers: []string{"web"}}, local, ""},
		"behind a bridge":                {policy.Admission{Owner: owner}, behind, ""},
		"any local user":                 {policy.Admission{Owner: owner, AnyLocal: true}, local, ""},
		"somebody other than is allowed": {policy.Admission{Owner: owner, Users: []uint32{0}}, local, "user 60002 (uid 60002) is not the owner"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, "", "", tt.admission)
			if reason, _ := refusal(m.admit(tt.caller)); reason != tt.want {
				t.Errorf("refused with %q, want %q", reason, tt.want)
			}
		})
	}
}

// Once a control group is known, who is in it and is nobody that is admitted is refused at once.
func TestAdmitRemembers(t *testing.T) {
	m := newMachine(t, "", "", policy.Admission{Owner: owner, Containers: []string{"web"}})
	in := func(uid uint32, group string) caller.Caller {
		return caller.Caller{UID: uid, Inode: 70, Cgroup: m.group(group, "", 0)}
	}
	for _, tt := range []struct {
		name   string
		caller caller.Caller
		want   string
	}{
		{"the owner", in(owner, "a.service"), ""},
		{"another user", in(another, "a.service"), "user 60002 (uid 60002) is not the owner"},
		{"another user in the container", in(another, "lxc/web"), ""},
		{"the owner's uid in another container", in(owner, "lxc/db"), "a process of container db is not user 60001, although it has uid 60001"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m.forget(t)
			if err := m.admit(tt.caller); err != nil {
				t.Errorf("refused before its group was known: %v", err)
			}
			m.describe(tt.caller)
			if reason, _ := refusal(m.admit(tt.caller)); reason != tt.want {
				t.Errorf("refused with %q, want %q", reason, tt.want)
			}
		})
	}
}

func TestDescribe(t *testing.T) {
	m := newMachine(t, "", "", policy.Admission{Owner: owner})
	m.process(20, "/usr/bin/curl", 70)
	got := m.describe(caller.Caller{UID: owner, Inode: 70, Cgroup: m.group("system.slice/a.service/lxc/web", "", 0)})
	want := caller.Detail{
		User: "60001", Process: caller.Process{PID: 20, Executable: "/usr/bin/curl"},
		Cgroup: "system.slice/a.service/lxc/web", Container: "web", Unit: "a.service",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := m.describe(caller.Caller{Bridge: "docker0"}); got != (caller.Detail{}) || len(m.asked) != 1 {
		t.Errorf("behind a bridge: %+v", got)
	}
}

// Policy's answer becomes the request, or a denial that says which rule and how long to wait.
func TestAllow(t *testing.T) {
	identity := token.Selector{Kind: token.ClientID, Value: "app"}
	m := newMachine(t, "", "", policy.Admission{Owner: owner},
		policy.Rule{Name: "no", Executables: []string{"/bad"}, Deny: true},
		policy.Rule{Users: []uint32{owner}, Choice: policy.Choice{Identity: identity, Tenant: "t"}, Rate: 1},
		policy.Rule{Zones: []string{"docker0"}, Resources: []string{"x"}},
	)
	for _, tt := range []struct {
		name   string
		c      caller.Caller
		exe    string
		ask    string
		want   token.Request
		denial policy.Denial
	}{
		{name: "denied", c: caller.Caller{UID: owner}, exe: "/bad", ask: "x", want: token.Request{Resource: "x"},
			denial: policy.Denial{Reason: "the rule denies everything", By: "policy[0] (no)"}},
		{name: "chosen", c: caller.Caller{UID: owner}, ask: "x", want: token.Request{Resource: "x", Identity: identity, Tenant: "t"}},
		{name: "too often", c: caller.Caller{UID: owner}, ask: "x", want: token.Request{Resource: "x", Identity: identity, Tenant: "t"},
			denial: policy.Denial{Reason: "too many requests of this caller", By: "policy[1]", Wait: time.Minute}},
		{name: "behind a bridge", c: caller.Caller{Bridge: "docker0"}, ask: "x", want: token.Request{Resource: "x"}},
		{name: "behind a bridge, another resource", c: caller.Caller{Bridge: "docker0"}, ask: "y", want: token.Request{Resource: "y"},
			denial: policy.Denial{Reason: `resource "y" is not allowed`, By: "policy[2]"}},
		{name: "behind a bridge that is no zone", c: caller.Caller{Bridge: "br0"}, ask: "x", want: token.Request{Resource: "x"},
			denial: policy.Denial{Reason: `zone "br0" is not configured`, By: "no rule"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := caller.Detail{Process: caller.Process{Executable: tt.exe}}
			got, err := m.allow(tt.c, d, token.Request{Resource: tt.ask})
			var denial policy.Denial
			if known, ok := errors.AsType[*policy.Denial](err); ok {
				denial = *known
			}
			if got != tt.want || denial != tt.denial {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
	none, err := policy.New(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	m.change(none, 0)
	if _, err := m.allow(caller.Caller{UID: owner}, caller.Detail{}, token.Request{}); err != nil {
		t.Errorf("after another policy: %v", err)
	}
}

// Who asks on the control socket has the owner's uid. A container's process is not the owner for that, and one that cannot be
// looked at is not believed.
func TestOwners(t *testing.T) {
	for _, tt := range []struct {
		name, cgroup string
		containers   []string
		container    string
		want         string
	}{
		{"program", "9:cpu:/x\n0::/user.slice/a.scope\n", nil, "", ""},
		{"no version 2", "9:cpu:/x\n", nil, "", ""},
		{"container", "0::/docker/" + containerID + "\n", nil, containerID, "a process of container 0123456789ab is not user pat, although it has uid 60001"},
		{"container, named", "0::/docker/" + containerID + "\n", []string{containerID}, containerID, ""},
		{"out of sight", "0::/../a.scope\n", nil, outOfSight, "a process of container ? is not user pat, although it has uid 60001"},
		{"out of sight, any container named", "0::/..\n", []string{policy.Any}, outOfSight, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t, "", "", policy.Admission{Owner: owner, Containers: tt.containers})
			m.process(20, "/usr/bin/azimds", 70)
			m.write("20/cgroup", tt.cgroup)
			s, err := m.owners(20)
			if reason, _ := refusal(err); reason != tt.want || s.Container != tt.container || s.Executable != "/usr/bin/azimds" || s.UID != owner {
				t.Errorf("%+v, refused with %q, want %q", s, reason, tt.want)
			}
			if _, err := m.owners(21); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("a process that has ended: %v", err)
			}
		})
	}
}
