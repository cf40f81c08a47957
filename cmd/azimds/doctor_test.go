package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"azimds/config"
	"azimds/imds/control"
	"azimds/imds/token/azure"
	"azimds/netsetup"
	"azimds/test/netns"
)

// well is a machine on which nothing is wrong, and where no agent runs.
func well(t *testing.T) *patient {
	t.Helper()
	c := config.Default()
	c.Credential = config.CredentialEmulated // which needs neither az nor Entra
	p := &patient{
		root: t.TempDir(), environ: []string{"PATH=" + os.Getenv("PATH"), "HOME=/home/pat"}, owner: "pat (uid 1000)", asRoot: true,
		config: c,
		findAz: func() (string, error) { return "/usr/bin/az", nil },
		account: func() (azure.Account, error) {
			return azure.Account{Name: "pat@contoso.example", Tenant: "contoso.example"}, nil
		},
		runAz: func(context.Context, string) (time.Duration, error) { return 1234 * time.Millisecond, nil },
		skew:  func(context.Context) (time.Duration, error) { return time.Second, nil },
		home:  "/home/pat", uid: 1000,
		agent:    func(context.Context) (control.Status, error) { return control.Status{}, control.ErrNoAgent },
		residue:  func(context.Context) ([]string, error) { return nil, nil },
		choose:   func(context.Context) error { return nil },
		barriers: func(uint32) ([]netsetup.Barrier, error) { return nil, nil },
		backends: func(context.Context) (netsetup.Backends, error) { return netsetup.Backends{Uses: "iptables-nft"}, nil },
		closed:   func(context.Context, []string, netsetup.Mode, uint16) ([]netsetup.Closed, error) { return nil, nil },
		bridge:   func(context.Context, string) (string, error) { return "ip link set eth0 nomaster", nil },
		start:    func() (int, error) { return 1024, nil },
		onHost:   func() (bool, error) { return true, nil },
	}
	p.write(t, "/proc/self/mounts", "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n")
	p.write(t, "/proc/sys/kernel/osrelease", "6.12.0-1-amd64\n")
	p.write(t, "/usr/bin/az", "#!/bin/bash\n")
	p.write(t, "/bin/bash", "")
	return p
}

// write makes a file of the machine.
func (p *patient) write(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(p.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// remove removes a file of the machine.
func (p *patient) remove(t *testing.T, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(p.root, name)); err != nil {
		t.Fatal(err)
	}
}

// mend runs the commands of a diagnosis in a shell with the machine's environment, on the machine's own files, and keeps the
// environment that they leave.
func (p *patient) mend(t *testing.T, d diagnosis) {
	t.Helper()
	var script strings.Builder
	for _, f := range d.Findings {
		for _, line := range f.Mend {
			line = strings.ReplaceAll(line, " "+environmentFile, " "+filepath.Join(p.root, environmentFile))
			fmt.Fprintln(&script, strings.ReplaceAll(line, "sudo ", "")+" >/dev/null")
		}
	}
	cmd := exec.Command("/bin/sh", "-ec", script.String()+"env -0\n")
	cmd.Env = p.environ
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", script.String(), err)
	}
	p.environ = strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	if relays := assigned(p.environ)["AZIMDS_CALLERS_RELAYS"]; relays != "" {
		p.config.Callers.Relays = strings.Split(relays, ",")
	}
}

// informed is how many findings are only how things are.
func (d diagnosis) informed() (n int) {
	for _, f := range d.Findings {
		if f.Severity == information {
			n++
		}
	}
	return n
}

// Each finding is made where it should be and nowhere else, is in the words for a person and as JSON, and its commands mend it.
func TestDoctor(t *testing.T) {
	var texts, objects strings.Builder
	for _, tt := range doctorTests() {
		t.Run(tt.name, func(t *testing.T) {
			p := well(t)
			tt.given(t, p)
			d := diagnose(t.Context(), *p)
			ids, missed := []string{}, []string{}
			for _, f := range d.Findings {
				ids = append(ids, f.ID)
			}
			for i, u := range d.Unseen {
				missed = append(missed, u.What)
				d.Unseen[i].Why = strings.ReplaceAll(u.Why, p.root, "")
			}
			if diff := cmp.Diff(append([]string{}, tt.found...), ids); diff != "" {
				t.Errorf("found (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(append([]string{}, tt.unseen...), missed); diff != "" {
				t.Errorf("not seen (-want +got):\n%s", diff)
			}
			var text, object strings.Builder
			if err := errors.Join(d.print(&text, false), printJSON(&object, d)); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&texts, "# %s\n%s\n", tt.name, text.String())
			fmt.Fprintf(&objects, "# %s\n%s\n", tt.name, object.String())
			switch {
			case tt.pasted:
				p.mend(t, d)
			case tt.mended != nil:
				tt.mended(t, p)
			default:
				return
			}
			if d := diagnose(t.Context(), *p); d.informed() < len(d.Findings) || len(d.Unseen) > 0 {
				t.Errorf("after its command: %+v", d)
			}
		})
	}
	if strings.Contains(texts.String()+objects.String(), "hush") {
		t.Error("a secret is printed")
	}
	for line := range strings.Lines(texts.String()) {
		if len([]rune(strings.TrimSuffix(line, "\n"))) > width && !strings.HasPrefix(line, "    ") {
			t.Errorf("longer than %d columns: %s", width, line)
		}
	}
	golden(t, "doctor.txt", texts.String())
	golden(t, "doctor.json.txt", objects.String())
}

// docs/doctor.md has a section on each kind of finding and on no other, says how bad it is, and each kind is tested.
func TestDoctorDocument(t *testing.T) {
	text, err := os.ReadFile("../../docs/doctor.md")
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	tested := map[string]bool{}
	for _, tt := range doctorTests() {
		for _, id := range tt.found {
			tested[id] = true
		}
	}
	for _, k := range kinds {
		want = append(want, k.id+", "+k.severity)
		if !tested[k.id] {
			t.Errorf("no test finds %s", k.id)
		}
	}
	for _, section := range regexp.MustCompile("(?m)^### `([a-z-]+)`, an? ([a-z]+)$").FindAllStringSubmatch(string(text), -1) {
		got = append(got, section[1]+", "+section[2])
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("docs/doctor.md (-code +document):\n%s", diff)
	}
}

// Only the word that says how bad it is has a colour, and only for a terminal.
func TestDoctorColours(t *testing.T) {
	p := well(t)
	p.write(t, arcAgent, "")
	d := diagnose(t.Context(), *p)
	var plain, colours strings.Builder
	if err := errors.Join(d.print(&plain, false), d.print(&colours, true)); err != nil {
		t.Fatal(err)
	}
	if want := strings.Replace(plain.String(), "problem ", "\x1b[31mproblem\x1b[0m ", 1); colours.String() != want {
		t.Errorf("got %q, want %q", colours.String(), want)
	}
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = errors.Join(read.Close(), write.Close()) })
	if coloured(write, func(string) string { return "" }) || coloured(&plain, func(string) string { return "" }) {
		t.Error("a pipe gets colours")
	}
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	netns.Need(t, "/dev/ptmx", err)
	t.Cleanup(func() { _ = terminal.Close() })
	if !coloured(terminal, func(string) string { return "" }) {
		t.Error("a terminal gets no colours")
	}
	if coloured(terminal, func(name string) string { return map[string]string{"NO_COLOR": "1"}[name] }) {
		t.Error("with NO_COLOR a terminal gets colours")
	}
}

// What JSON has is what a program can rely on: lists, never null.
func TestDoctorEmptyLists(t *testing.T) {
	text, err := json.Marshal(diagnose(t.Context(), *well(t)))
	if err != nil || string(text) != `{"findings":[],"unseen":[]}` {
		t.Errorf("%s, %v", text, err)
	}
}
