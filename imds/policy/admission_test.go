package policy_test

import (
	"errors"
	"strings"
	"testing"

	"azimds/imds/policy"
)

func TestAdmit(t *testing.T) {
	const id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	owner, root, bob := local(1000), local(0), local(1001)
	owner.Groups, bob.Groups = []uint32{1000}, []uint32{1001, 50}
	boxed := func(c policy.Caller) policy.Caller { c.Container = id; return c }
	tests := []struct {
		name      string
		admission policy.Admission
		caller    policy.Caller
		allow     string // of the refusal; "" admits
	}{
		{"owner", policy.Admission{Owner: 1000}, owner, ""},
		{"root", policy.Admission{Owner: 1000}, root, "callers.users: [pat]"},
		{"root by name", policy.Admission{Owner: 1000, Users: []uint32{0}}, root, ""},
		{"another user", policy.Admission{Owner: 1000}, bob, "callers.users: [pat]"},
		{"a group's member", policy.Admission{Owner: 1000, Groups: []uint32{50}}, bob, ""},
		{"another group", policy.Admission{Owner: 1000, Groups: []uint32{51}}, bob, "callers.users: [pat]"},
		{"every local user", policy.Admission{Owner: 1000, AnyLocal: true}, bob, ""},
		{"a container as the owner", policy.Admission{Owner: 1000}, boxed(owner), "callers.containers: [0123456789ab]"},
		{"a container as root, root by name", policy.Admission{Owner: 1000, Users: []uint32{0}}, boxed(root), "callers.containers: [0123456789ab]"},
		{"a container, every local user", policy.Admission{Owner: 1000, AnyLocal: true}, boxed(bob), "callers.containers: [0123456789ab]"},
		{"a container by its short id", policy.Admission{Owner: 1000, Containers: []string{"0123456789ab"}}, boxed(bob), ""},
		{"a container by too little of its id", policy.Admission{Owner: 1000, Containers: []string{"0123"}}, boxed(owner), "callers.containers: [0123456789ab]"},
		{"any container", policy.Admission{Owner: 1000, Containers: []string{policy.Any}}, boxed(bob), ""},
		{"any container, but none", policy.Admission{Owner: 1000, Containers: []string{policy.Any}}, bob, "callers.users: [pat]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.admission.Admit(tt.caller, "pat")
			refusal, _ := errors.AsType[*policy.Refusal](err)
			if (err == nil) != (tt.allow == "") || refusal != nil && refusal.Allow != tt.allow {
				t.Errorf("%v (%+v), want %q", err, refusal, tt.allow)
			}
			if err == nil && !tt.admission.Possible(tt.caller.UID) {
				t.Error("is admitted and was said not to be possible")
			}
		})
	}
}

// What is told to be copied into a configuration is what it looks like, whatever somebody has called a control group.
func TestAdmitNamesNoOddContainer(t *testing.T) {
	for name, want := range map[string]string{
		"web": "callers.containers: [web]", "a_b.c-1": "callers.containers: [a_b.c-1]",
		"*": "", "'*'": "", "a], any-local: [true": "", "a b": "", "-web": "", "w\u00e9b": "", "?": "",
	} {
		c := local(1000)
		c.Container = name
		refusal, _ := errors.AsType[*policy.Refusal](policy.Admission{Owner: 1000}.Admit(c, "pat"))
		if refusal == nil || refusal.Allow != want {
			t.Errorf("container %q: %+v, want %q", name, refusal, want)
		}
	}
}

func TestAdmitMade(t *testing.T) {
	a := policy.Admission{Owner: 1000, Users: []uint32{1001}, Containers: []string{policy.Any}}
	for uid, want := range map[uint32]bool{0: true, 1000: true, 1001: false, 1002: false} {
		if err := a.AdmitMade("web", uid, "pat"); (err == nil) != want {
			t.Errorf("a container that uid %d could have made: %v", uid, err)
		}
	}
}

func TestAdmitUnseen(t *testing.T) {
	if err := (policy.Admission{Relays: []string{policy.Any}}).AdmitUnseen(); err != nil {
		t.Error(err)
	}
	err := policy.Admission{Relays: []string{"pasta", "ssh"}}.AdmitUnseen()
	if refusal, ok := errors.AsType[*policy.Refusal](err); !ok || refusal.Allow != "callers.relays: ['*']" {
		t.Errorf("%+v", err)
	}
}

func TestAdmitRelay(t *testing.T) {
	if err := (policy.Admission{Relays: []string{"pasta"}}).AdmitRelay("pasta"); err != nil {
		t.Error(err)
	}
	if err := (policy.Admission{Relays: []string{policy.Any}}).AdmitRelay("ssh"); err != nil {
		t.Error(err)
	}
	err := policy.Admission{Relays: []string{"pasta"}}.AdmitRelay("ssh")
	if refusal, ok := errors.AsType[*policy.Refusal](err); !ok || refusal.Allow != "callers.relays: [ssh]" || !strings.Contains(refusal.Reason, "ssh") {
		t.Errorf("%+v", err)
	}
}
