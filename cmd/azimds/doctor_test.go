package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"azimds/config"
	"azimds/imds/control"
	"azimds/imds/token"
	"azimds/imds/token/azure"
	"azimds/netsetup"
	"azimds/test/netns"
)

// well is a machine on which nothing is wrong, and where no agent runs.
func well(t *testing.T) *patient {
	t.Helper()
	c := config.Default()
	p := &patient{
		root: t.TempDir(), environ: []string{"PATH=" + os.Getenv("PATH"), "HOME=/home/pat"}, owner: "pat (uid 1000)", asRoot: true,
		config:   c,
		findAz:   func() (string, error) { return "/usr/bin/az", nil },
		signedIn: func() error { return nil },
		agent:    func(context.Context) (control.Status, error) { return control.Status{}, control.ErrNoAgent },
		residue:  func(context.Context) ([]string, error) { return nil, nil },
		choose:   func(context.Context) error { return nil },
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
}

// have adds variables to the environment.
func have(entries ...string) func(*testing.T, *patient) {
	return func(_ *testing.T, p *patient) { p.environ = append(p.environ, entries...) }
}

// lines makes the file that sessions get their environment from.
func lines(text ...string) func(*testing.T, *patient) {
	return func(t *testing.T, p *patient) { p.write(t, environmentFile, strings.Join(text, "\n")+"\n") }
}

// fails is a choice that ends with an error.
func fails(err error) func(*testing.T, *patient) {
	return func(_ *testing.T, p *patient) { p.choose = func(context.Context) error { return err } }
}

// answers is an agent that runs.
func answers(s control.Status) func(*testing.T, *patient) {
	return func(_ *testing.T, p *patient) {
		p.agent = func(context.Context) (control.Status, error) { return s, nil }
	}
}

// silent is an agent that cannot be asked.
func silent(err error) func(*testing.T, *patient) {
	return func(_ *testing.T, p *patient) {
		p.agent = func(context.Context) (control.Status, error) {
			return control.Status{}, fmt.Errorf(`asking the agent at "/run/azimds/1/default/control.sock": %w`, err)
		}
	}
}

// asked is a machine with a credential.
func asked(c config.Credential, then func(*testing.T, *patient)) func(*testing.T, *patient) {
	return func(t *testing.T, p *patient) {
		p.config.Credential = c
		then(t, p)
	}
}

func noAz(_ *testing.T, p *patient) {
	p.findAz = func() (string, error) {
		return "", &token.Error{Kind: token.ErrSignInRequired, Message: "the Azure CLI (az) is not there", Command: azure.InstallAz}
	}
}

// doctorTest is a machine and what is to be found on it.
type doctorTest struct {
	name   string
	given  func(*testing.T, *patient)
	found  []string                   // ids
	unseen []string                   // what could not be seen
	pasted bool                       // the commands, run in a shell, mend it
	mended func(*testing.T, *patient) // what the commands do, where they cannot be run
}

func doctorTests() []doctorTest {
	signIn := &token.Error{Kind: token.ErrSignInRequired, Message: "nobody is signed in to the Azure CLI", Command: "az login"}
	metadata := fmt.Errorf("dialling: %w", netsetup.ErrMetadataService)
	denied := fmt.Errorf("listing rules: %w", fs.ErrPermission)
	jump := "iptables -t nat -D OUTPUT -m owner --uid-owner 1000 -j AZIMDS"
	return slices.Concat(variableTests(), []doctorTest{
		{name: "nothing", given: func(*testing.T, *patient) {}},
		{name: "configuration", found: []string{"configuration"}, unseen: []string{"whether the interception can be made"},
			given: func(_ *testing.T, p *patient) {
				p.mistake = &config.Mendable{Err: errors.New(`mode is "nat"`), With: "azimds config init"}
			},
			mended: func(_ *testing.T, p *patient) { p.mistake = nil }},
		{name: "arc", found: []string{"arc-agent"},
			given: func(t *testing.T, p *patient) {
				p.write(t, arcAgent, "")
				p.write(t, "/etc/debian_version", "13.1\n")
			},
			mended: func(t *testing.T, p *patient) { p.remove(t, arcAgent) }},
		{name: "no az", given: noAz, found: []string{"az-missing"}},
		{name: "no az, and none needed", given: asked(config.CredentialEmulated, noAz)},
		{name: "az of a python that is gone", found: []string{"az-broken"},
			given: func(t *testing.T, p *patient) {
				p.write(t, "/usr/bin/az", "#!/opt/venv/bin/python3\nimport azure.cli\n")
			},
			mended: func(t *testing.T, p *patient) { p.write(t, "/usr/bin/az", "#!/bin/bash\n") }},
		{name: "signed out", found: []string{"az-signed-out"},
			given:  func(_ *testing.T, p *patient) { p.signedIn = func() error { return signIn } },
			mended: func(_ *testing.T, p *patient) { p.signedIn = func() error { return nil } }},
		{name: "a metadata service", given: fails(metadata), found: []string{"interception"}, mended: fails(nil)},
		{name: "no iptables, and port 80 taken", found: []string{"interception"}, mended: fails(nil),
			given: fails(errors.Join(netsetup.ErrNoIPTables, netsetup.ErrIPTables))},
		{name: "somebody else's address", found: []string{"interception"},
			given: fails(&netsetup.ForeignError{
				What: []string{"address 169.254.169.254/32 of device eth0"}, Remove: []string{"ip address delete 169.254.169.254/32 dev eth0"},
			})},
		{name: "not root", unseen: []string{"whether a dead agent left rules of iptables", "whether the interception can be made"},
			given: func(t *testing.T, p *patient) {
				p.asRoot = false
				p.residue = func(context.Context) ([]string, error) { return nil, denied }
				fails(denied)(t, p)
			},
			mended: func(t *testing.T, p *patient) { p.asRoot = true; well(t).lend(p) }},
		{name: "not root, and a metadata service", found: []string{"interception"},
			given: func(t *testing.T, p *patient) {
				p.asRoot = false
				fails(metadata)(t, p)
			}},
		{name: "through sudo",
			unseen: []string{"the variables of pat (uid 1000)", "whether pat (uid 1000) is signed in to the Azure CLI"},
			given: func(t *testing.T, p *patient) {
				p.theirs = true
				have("IDENTITY_ENDPOINT=http://sudo")(t, p)
			},
			mended: func(_ *testing.T, p *patient) { p.theirs = false; p.environ = nil }},
		{name: "a dead agent", found: []string{"residue"}, unseen: []string{"whether the interception can be made"},
			given: func(_ *testing.T, p *patient) {
				p.residue = func(context.Context) ([]string, error) { return []string{jump, "iptables -t nat -X AZIMDS"}, nil }
			},
			mended: func(t *testing.T, p *patient) { well(t).lend(p) }},
		{name: "an agent", given: answers(control.Status{})},
		{name: "an agent whose rules are damaged", found: []string{"residue", "missing"}, mended: answers(control.Status{}),
			given: answers(control.Status{Residue: []string{jump}, Delta: []string{"ip address add 169.254.169.254/32 dev lo"}})},
		{name: "an agent whose rules are removed again and again", found: []string{"contested"},
			mended: answers(control.Status{Repairs: &control.Repairs{Count: 7, Missing: []string{jump}}}),
			given:  answers(control.Status{Repairs: &control.Repairs{Count: 6, Fought: []string{jump}}})},
		{name: "an agent that cannot repair", found: []string{"not-mended"}, mended: answers(control.Status{}),
			given: answers(control.Status{Repairs: &control.Repairs{Error: "refusing to touch what is not ours: address 169.254.169.254/32 of device eth0"}})},
		{name: "an agent without tokens", found: []string{"no-tokens"}, mended: answers(control.Status{}),
			given: answers(control.Status{Account: control.Account{Error: "nobody is signed in to the Azure CLI", Hint: "az login"}})},
		{name: "an agent whose tokens ended", found: []string{"no-tokens"},
			given: answers(control.Status{Down: &control.Down{Since: time.Unix(0, 0), Reason: "cannot reach login.microsoftonline.com"}})},
		{name: "an agent that pauses", found: []string{"paused"}, mended: answers(control.Status{}),
			given: answers(control.Status{Paused: time.Date(2026, 1, 2, 15, 4, 5, 0, time.Local)})},
		{name: "an agent with a zone", found: []string{"zone"},
			given: answers(control.Status{Zones: []control.Zone{
				{Name: "br-1", Problem: "port eth0 may lead out of this machine"}, {Name: "br-2"},
			}})},
		{name: "no server", given: silent(context.DeadlineExceeded), found: []string{"no-server"}, mended: answers(control.Status{})},
		{name: "an agent of somebody else", given: silent(fs.ErrPermission), unseen: []string{"the agent that runs here"}},
		{name: "ports for everybody", found: []string{"unprivileged-ports"},
			given:  func(_ *testing.T, p *patient) { p.start = func() (int, error) { return 0, nil } },
			mended: func(_ *testing.T, p *patient) { p.start = func() (int, error) { return 1024, nil } }},
		{name: "ports for everybody above 80, in mode loopback", given: func(_ *testing.T, p *patient) {
			p.start, p.config.Mode = func() (int, error) { return 81, nil }, config.ModeLoopback
		}},
		{name: "control groups of version 1", found: []string{"cgroup"},
			given: func(t *testing.T, p *patient) {
				p.write(t, "/proc/self/mounts", "cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\n")
			},
			mended: func(t *testing.T, p *patient) { p.write(t, "/proc/self/mounts", "c /sys/fs/cgroup cgroup2 rw 0 0\n") }},
		{name: "a container", found: []string{"network-namespace"},
			given: func(_ *testing.T, p *patient) { p.onHost = func() (bool, error) { return false, nil } }},
		{name: "wsl", found: []string{"wsl"},
			given: func(t *testing.T, p *patient) {
				p.write(t, "/proc/sys/kernel/osrelease", "6.6.87.2-microsoft-standard-WSL2\n")
			}},
		{name: "without proc", unseen: []string{"whether control groups of version 2 are in use alone", "whether this is WSL"},
			given: func(t *testing.T, p *patient) {
				p.remove(t, "/proc/self/mounts")
				p.remove(t, "/proc/sys/kernel/osrelease")
			}},
		{name: "a notice and a problem", found: []string{"arc-agent", "client-id-variable"},
			given: func(t *testing.T, p *patient) {
				have("AZURE_CLIENT_ID=11111111-2222-3333-4444-555555555555")(t, p)
				p.write(t, arcAgent, "")
			}},
	})
}

// lend gives another machine what this one looks at as root.
func (p *patient) lend(to *patient) { to.residue, to.choose = p.residue, p.choose }

func variableTests() []doctorTest {
	const proxy = "http://user:hush@proxy.example:3128"
	const id = "11111111-2222-3333-4444-555555555555"
	endpoint, proxied, chain := []string{"endpoint-variable"}, []string{"proxy"}, []string{"token-credentials-variable"}
	return []doctorTest{
		{name: "app service", given: have("IDENTITY_ENDPOINT=http://127.0.0.1:41741", "IDENTITY_HEADER=hush"), found: endpoint, pasted: true},
		{name: "azure ml", given: have("MSI_ENDPOINT=http://127.0.0.1:46808", "MSI_SECRET=hush"), found: endpoint, pasted: true},
		{name: "cloud shell", given: have("MSI_ENDPOINT="), found: endpoint, pasted: true},
		{name: "terraform", given: have("ARM_MSI_ENDPOINT=http://localhost:50342"), found: endpoint, pasted: true},
		{name: "a header alone", given: have("IDENTITY_HEADER=hush"), found: []string{"secret-variable"}, pasted: true},
		{name: "pod identity", given: have("AZURE_POD_IDENTITY_AUTHORITY_HOST=http://localhost"),
			found: []string{"pod-identity-variable"}, pasted: true},
		{name: "pod identity, the same address", given: have("AZURE_POD_IDENTITY_AUTHORITY_HOST=http://169.254.169.254/")},
		{name: "dev credentials", given: have("AZURE_TOKEN_CREDENTIALS=Dev"), found: chain, pasted: true},
		{name: "another credential", given: have("AZURE_TOKEN_CREDENTIALS=AzureCliCredential"), found: chain, pasted: true},
		{name: "prod credentials", given: have("AZURE_TOKEN_CREDENTIALS=prod")},
		{name: "managed identity alone", given: have("AZURE_TOKEN_CREDENTIALS=ManagedIdentityCredential")},
		{name: "a client id", given: have("AZURE_CLIENT_ID=" + id), found: []string{"client-id-variable"}, pasted: true},
		{name: "a client id that azimds is to read", given: asked(config.CredentialEnvironment, have("AZURE_CLIENT_ID=1"))},
		{name: "in /etc/environment", found: endpoint, pasted: true,
			given: lines("# sessions", `LANG="C.UTF-8"`, ` export MSI_ENDPOINT="http://localhost"`, "IDENTITY_HEADER=hush")},
		{name: "in both", given: func(t *testing.T, p *patient) {
			have("MSI_ENDPOINT=http://localhost")(t, p)
			lines("MSI_ENDPOINT=http://localhost")(t, p)
		}, found: []string{"endpoint-variable", "endpoint-variable"}, pasted: true},
		{name: "a comment in /etc/environment", given: lines("# MSI_ENDPOINT=http://localhost", "MSI_ENDPOINT")},
		{name: "a proxy", given: have("http_proxy=" + proxy), found: proxied, pasted: true},
		{name: "a proxy of https", given: have("HTTPS_PROXY="+proxy, "all_proxy="+proxy), found: proxied, pasted: true},
		{name: "a range", given: have("HTTP_PROXY="+proxy, "NO_PROXY=localhost,169.254.0.0/16"), found: proxied, pasted: true},
		{name: "one spelling of two", found: proxied, pasted: true,
			given: have("HTTP_PROXY="+proxy, "NO_PROXY=169.254.169.254", "no_proxy=localhost")},
		{name: "a proxy in /etc/environment", found: proxied, pasted: true,
			given: lines("HTTP_PROXY="+proxy, `NO_PROXY="localhost, *.example"`)},
		{name: "a proxy, passed by", given: have("HTTP_PROXY="+proxy, "NO_PROXY=localhost, 169.254.169.254")},
		{name: "a proxy, passed by in lower case", given: have("HTTP_PROXY="+proxy, "no_proxy=169.254.169.254", "NO_PROXY=")},
		{name: "an empty proxy", given: have("HTTP_PROXY=")},
	}
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
			if d := diagnose(t.Context(), *p); len(d.Findings)+len(d.Unseen) > 0 {
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
		want = append(want, k.id+", a "+k.severity)
		if !tested[k.id] {
			t.Errorf("no test finds %s", k.id)
		}
	}
	for _, section := range regexp.MustCompile("(?m)^### `([a-z-]+)`, (a [a-z]+)$").FindAllStringSubmatch(string(text), -1) {
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
