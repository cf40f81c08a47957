package main

import (
	"strings"
	"testing"

	"azimds/imds/caller"
	"azimds/imds/policy"
)

// Who shares the network of the agent's container is served where its uid is named, and only then; in the agent's own container, and
// on the machine's network, nothing is different from elsewhere.
func TestScreenNeighbours(t *testing.T) {
	const (
		home     = 1 // the holder's group, where none is in sight
		version1 = "cgroup /x cgroup rw 0 0\n"
		curl     = "/usr/bin/curl"
	)
	nobody := policy.Admission{Owner: owner}
	named := policy.Admission{Owner: owner, Users: []uint32{another}}
	ownerNamed := policy.Admission{Owner: owner, Users: []uint32{owner}}
	anyLocal := policy.Admission{Owner: owner, AnyLocal: true}
	anyOne := policy.Admission{Owner: owner, Containers: []string{policy.Any}}
	tests := []struct {
		name      string
		admission policy.Admission
		alone     bool   // the agent is in no container, or on the machine's network
		own       string // the server's group
		mounts    string
		uid       uint32
		group     string // of the socket; "-" is out of sight, "home" is the holder's, out of sight as well
		exe       string
		reason    string
		allow     string
	}{
		{name: "named", admission: named, uid: another, group: "-"},
		{name: "named, beside version 1", admission: named, mounts: version1, uid: another, group: "-"},
		{name: "named, in sight", admission: named, own: "docker/" + containerID, uid: another, group: "docker/web"},
		{name: "named, of a pod that shares its processes", admission: named, uid: another, group: "-", exe: curl},
		{name: "named, a relay in such a pod", admission: named, uid: another, group: "-", exe: "/usr/sbin/sshd",
			reason: "ssh dials for somebody else", allow: "callers.relays: [ssh]"},
		{name: "not named", admission: nobody, uid: another, group: "-",
			reason: "a process of another container on this network, with uid 60002", allow: "callers.users: [60002]"},
		{name: "not named, in sight", admission: nobody, own: "docker/" + containerID, uid: another, group: "docker/web",
			reason: "a process of container web is not user 60002", allow: "callers.containers: [web]"},
		{name: "another is named", admission: named, uid: 0, group: "-",
			reason: "a process of another container on this network, with uid 0", allow: "callers.users: [root]"},
		{name: "owner's uid", admission: named, uid: owner, group: "-",
			reason: "a process of another container on this network, with uid 60001", allow: "callers.users: [60001]"},
		{name: "owner's uid, beside version 1", admission: named, mounts: version1, uid: owner, group: "-",
			reason: "a process of another container on this network, with uid 60001", allow: "callers.users: [60001]"},
		{name: "owner's uid, beside version 1, its program seen", admission: nobody, mounts: version1, uid: owner, group: "-", exe: curl,
			reason: "a process of another container on this network, with uid 60001", allow: "callers.users: [60001]"},
		{name: "owner's uid, named", admission: ownerNamed, uid: owner, group: "-"},
		{name: "any local user", admission: anyLocal, uid: another, group: "-",
			reason: "a process of another container on this network, with uid 60002", allow: "callers.users: [60002]"},
		{name: "any container, the uid not named", admission: anyOne, uid: another, group: "-",
			reason: "user 60002 (uid 60002) is not the owner", allow: "callers.users: [60002]"},

		{name: "the agent's own container", admission: named, uid: owner, group: "a.service", exe: curl},
		{name: "the same beside version 1", admission: named, mounts: version1, uid: owner, group: "home", exe: curl},
		{name: "there, named, a program unseen", admission: named, uid: another, group: "a.service",
			reason: "was not found", allow: "callers.relays: ['*']"},
		{name: "there, beside version 1, named, a program unseen", admission: named, mounts: version1, uid: another, group: "home",
			reason: "was not found", allow: "callers.relays: ['*']"},
		{name: "a container in the agent's own", admission: named, uid: another, group: "docker/web", exe: curl,
			reason: "a process of container web is not user 60002", allow: "callers.containers: [web]"},
		{name: "the same where groups begin at the machine's", admission: named, own: "docker/" + containerID, uid: another,
			group: "docker/" + containerID + "/docker/web", exe: curl,
			reason: "a process of container web is not user 60002", allow: "callers.containers: [web]"},

		{name: "on the machine's network, out of sight", admission: named, alone: true, uid: another, group: "-", exe: curl,
			reason: "the control group of its socket is out of sight", allow: "callers.containers: ['*']"},
		{name: "on the machine's network, in sight", admission: named, alone: true, uid: another, group: "docker/web", exe: curl,
			reason: "a process of container web is not user 60002", allow: "callers.containers: [web]"},
		{name: "on the machine's network, a program unseen", admission: named, alone: true, mounts: version1, uid: another, group: "-",
			reason: "was not found", allow: "callers.relays: ['*']"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t, tt.own, tt.mounts, tt.admission)
			m.sharing = !tt.alone
			m.home.Store(home)
			c := caller.Caller{UID: tt.uid, Inode: 70, Cgroup: home}
			switch tt.group {
			case "home":
			case "-":
				c.Cgroup = home + 1
			default:
				c.Cgroup = m.group(tt.group, "", 0)
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
		})
	}
}
