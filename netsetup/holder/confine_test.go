package holder

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"azimds/test/netns"
)

// status is that of a thread of a server as it should be, cut to what is read and what is beside it.
const status = `Name:	azimds
Uid:	1000	1000	1000	1000
Gid:	1000	1000	1000	1000
Groups:	4 24 1000
CapInh:	0000000000000000
CapPrm:	0000000000000000
CapEff:	0000000000000000
CapBnd:	000001ffffffffff
CapAmb:	0000000000000000
NoNewPrivs:	1
Seccomp:	0
`

func TestConfinedStatus(t *testing.T) {
	alice, rootOwner := Owner{UID: 1000, GID: 1000}, Owner{}
	tests := []struct {
		name     string
		owner    Owner
		old, new string // what of status is how different
		want     string // in the error; "" is nil
	}{
		{"as it should be", alice, "", "", ""},
		{"owner's other group", alice, "Gid:\t1000\t1000\t1000\t1000", "Gid:\t999\t999\t999\t999", ""},
		{"root's group", alice, "Gid:\t1000\t1000\t1000\t1000", "Gid:\t0\t0\t0\t0", `Gid is "0 0 0 0"`},
		{"root's group, the owner's own", Owner{UID: 1000}, "Gid:\t1000\t1000\t1000\t1000", "Gid:\t0\t0\t0\t0", ""},
		{"saved group", alice, "Gid:\t1000\t1000\t1000", "Gid:\t1000\t1000\t0", "Gid is"},
		{"effective group", alice, "Gid:\t1000\t1000", "Gid:\t1000\t0", "Gid is"},
		{"another owner", Owner{UID: 1001, GID: 1000}, "", "", `Uid is "1000 1000 1000 1000" and must be "1001 1001 1001 1001"`},
		{"root's server", rootOwner, "", "", "Uid is"},
		{"real uid", alice, "Uid:\t1000", "Uid:\t0", "Uid is"},
		{"effective uid", alice, "Uid:\t1000\t1000", "Uid:\t1000\t0", "Uid is"},
		{"saved uid", alice, "Uid:\t1000\t1000\t1000", "Uid:\t1000\t1000\t0", "Uid is"},
		{"filesystem uid", alice, "Uid:\t1000\t1000\t1000\t1000", "Uid:\t1000\t1000\t1000\t0", "Uid is"},
		{"inheritable", alice, "CapInh:\t0000000000000000", "CapInh:\t0000000000000400", "CapInh is"},
		{"permitted", alice, "CapPrm:\t0000000000000000", "CapPrm:\t0000000000000001", "CapPrm is"},
		{"effective", alice, "CapEff:\t0000000000000000", "CapEff:\t8000000000000000", "CapEff is"},
		{"ambient", alice, "CapAmb:\t0000000000000000", "CapAmb:\t0000000000000400", "CapAmb is"},
		{"new privileges", alice, "NoNewPrivs:\t1", "NoNewPrivs:\t0", "NoNewPrivs is"},
		{"no NoNewPrivs", alice, "NoNewPrivs:\t1\n", "", "NoNewPrivs is"},
		{"no CapEff", alice, "CapEff:\t0000000000000000\n", "", "CapEff is"},
		{"no Uid", alice, "Uid:\t1000\t1000\t1000\t1000\n", "", "Uid is"},
		{"no Gid", alice, "Gid:\t1000\t1000\t1000\t1000\n", "", "Gid is"},
		{"endless line", alice, "Name:\tazimds", strings.Repeat("x", 1<<20), "reading lines"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := confinedStatus(strings.Replace(status, tt.old, tt.new, 1), tt.owner)
			if got := fmt.Sprint(err); (err == nil) != (tt.want == "") || !strings.Contains(got, tt.want) && tt.want != "" {
				t.Errorf("confinedStatus returned %q, want %q in it", got, tt.want)
			}
		})
	}
	err := confinedStatus(strings.ReplaceAll(status, "1000\t1000\t1000\t1000", "0\t0\t0\t0"), rootOwner)
	if err != nil {
		t.Errorf("root's server as it should be: %v", err)
	}
}

// FuzzConfinedStatus holds the parser to its promise: what it lets pass says so in its own words.
func FuzzConfinedStatus(f *testing.F) {
	f.Add(status)
	f.Add(strings.Replace(status, "NoNewPrivs:\t1", "NoNewPrivs:\t0", 1))
	f.Add("Uid:\nGid:")
	f.Add("")
	f.Fuzz(func(t *testing.T, status string) {
		if confinedStatus(status, Owner{UID: 1000, GID: 1000}) != nil {
			return
		}
		words := strings.Join(strings.Fields(status), " ")
		for _, must := range []string{"1000 1000 1000 1000", "NoNewPrivs:", "CapInh:", "CapPrm:", "CapEff:", "CapAmb:", noCapability} {
			if !strings.Contains(words, must) {
				t.Errorf("%q passed without %q", status, must)
			}
		}
	})
}

// confined builds the program in testdata/confined, which gives up its privilege. Tests may have cgo, azimds has not.
func confined(t *testing.T) (program string) {
	t.Helper()
	dir := shared(t)
	program = filepath.Join(dir, "confined")
	cmd := exec.Command("go", "build", "-o", program, "./testdata/confined")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return program
}

// shared is a folder that every user can read.
func shared(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "holder-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// as runs a command as a user with capabilities that pass through an execve(2), and returns what it printed.
func as(uid uint32, ambient []uintptr, environ string, command ...string) (string, error) {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), environ)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}, AmbientCaps: ambient}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if errors.As(err, new(*exec.ExitError)) {
		err = nil
	}
	return out.String(), err
}

// A confined process has nothing left in any of its threads, and what it starts gets nothing back: not by being root's, not
// from a program with the setuid bit, not from one with file capabilities. The same programs do give privilege to a process
// that is not confined.
func TestConfine(t *testing.T) {
	netns.Root(t)
	program := confined(t)
	copied := func(name string) string {
		path := filepath.Join(filepath.Dir(program), name)
		data, err := os.ReadFile("/bin/cat")
		if err == nil {
			err = os.WriteFile(path, data, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	setuid, withCaps, plain := copied("setuid"), copied("withcaps"), copied("plain")
	if err := os.Chmod(setuid, 0o755|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("setcap", "cap_net_admin,cap_dac_override+ep", withCaps).CombinedOutput()
	netns.Need(t, "setcap "+string(out), err)

	const netAdmin = 12
	run := func(uid uint32, environ string, command ...string) string {
		ambient := []uintptr{netAdmin}
		if uid == 0 {
			ambient = nil
		}
		got, err := as(uid, ambient, environ, append([]string{program, fmt.Sprint(uid)}, command...)...)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	for _, uid := range []uint32{0, 4242} {
		owner := Owner{UID: uid, GID: uid}
		if got := run(uid, "A=B"); got != "" {
			t.Errorf("uid %d, confined: %s", uid, got)
		}
		if got := run(uid, "UNCONFINED=1"); !strings.Contains(got, "NoNewPrivs") {
			t.Errorf("uid %d, not confined: %q", uid, got)
		}
		for _, child := range []string{plain, setuid, withCaps} {
			name := fmt.Sprintf("uid %d, %s", uid, filepath.Base(child))
			if err := confinedStatus(run(uid, "A=B", child, "/proc/self/status"), owner); err != nil {
				t.Errorf("%s, started by a confined process: %v", name, err)
			}
			status := run(uid, "UNCONFINED=1", child, "/proc/self/status")
			status = strings.Replace(status, "NoNewPrivs:\t0", "NoNewPrivs:\t1", 1)
			if err := confinedStatus(status, owner); err == nil {
				t.Errorf("%s, started by another: has no privilege, so that this test shows nothing", name)
			}
		}
	}
}

// Confined looks at every thread, and does not believe a process that was not confined.
func TestConfinedRefusesThisProcess(t *testing.T) {
	if err := Confined(Owner{UID: uint32(os.Getuid()), GID: uint32(os.Getgid())}); err == nil {
		t.Error("a process that is not confined passed")
	}
}
