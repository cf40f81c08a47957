package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"azimds/test/agent"
	"azimds/test/entra"
	"azimds/test/netns"
)

const personUID = 61300

// person is somebody with a login, a home and sudo, in a mount namespace where the machine's own user files are covered.
type person struct {
	t    testing.TB
	ns   *netns.NS
	home string
	etc  string
}

// newPerson makes a person whose sudo has the defaults named, such as "use_pty".
func newPerson(t testing.TB, ns *netns.NS, defaults string) *person {
	t.Helper()
	for _, program := range []string{"sudo", "setpriv", "script"} {
		_, err := exec.LookPath(program)
		netns.Need(t, program, err)
	}
	p := &person{t: t, ns: ns, home: t.TempDir(), etc: t.TempDir()}
	agent.OpenUp(t, filepath.Join(p.home, "x"))
	if err := os.Chown(p.home, personUID, personUID); err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string]struct {
		content string
		mode    os.FileMode
	}{
		"passwd":  {fmt.Sprintf("root:x:0:0:root:/root:/bin/sh\npat:x:%d:%[1]d::%s:/bin/sh\n", personUID, p.home), 0o644},
		"group":   {fmt.Sprintf("root:x:0:\npat:x:%d:\n", personUID), 0o644},
		"shadow":  {"root:*:20000:0:99999:7:::\npat:*:20000:0:99999:7:::\n", 0o600},
		"sudoers": {"Defaults " + defaults + "\nroot ALL=(ALL) ALL\npat ALL=(ALL) NOPASSWD: ALL\n", 0o440},
	} {
		path := filepath.Join(p.etc, name)
		if err := os.WriteFile(path, []byte(file.content), file.mode); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// shell is a script of the person's; with tty it has a terminal.
func (p *person) shell(script string, tty bool, env ...string) *exec.Cmd {
	inner := "exec sh -c \"$SCRIPT\""
	if tty {
		inner = "exec script -qec \"$SCRIPT\" /dev/null"
	}
	cover := ""
	for _, name := range []string{"passwd", "group", "shadow", "sudoers"} {
		cover += fmt.Sprintf("mount --bind %s/%s /etc/%[2]s && ", p.etc, name)
	}
	login := fmt.Sprintf("exec setpriv --reuid %d --regid %[1]d --init-groups sh -c '%s'", personUID, inner)
	cmd := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", cover+login)
	cmd.Dir = p.home
	cmd.Env = append([]string{
		"HOME=" + p.home, "USER=pat", "PATH=/usr/bin:/bin:/usr/sbin:/sbin", "LANG=C.UTF-8", "TERM=xterm",
		"SCRIPT=" + script, "AZIMDS=" + filepath.Join(bin, "azimds"), "SELF=" + self(p.t), rawClientEnv + "=read",
	}, env...)
	return cmd
}

// configure writes the person's own configuration: a client secret in a variable, against the stand-in authority.
func (p *person) configure(authority *entra.Server) {
	p.t.Helper()
	ca := filepath.Join(p.home, "ca.pem")
	dir := filepath.Join(p.home, ".config", "azimds")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		p.t.Fatal(err)
	}
	text := fmt.Sprintf("credential: client-secret\ntenant: %s\nauthority-host: %s\nca-file: %s\nclient-secret:\n  client-id: %s\n  secret-env: MY_APP_SECRET\n",
		authority.Tenant(), authority.URL(), ca, clientID)
	for path, data := range map[string][]byte{ca: authority.CAPEM(), filepath.Join(dir, "config.yaml"): []byte(text)} {
		if err := os.WriteFile(path, data, 0o644); err != nil {
			p.t.Fatal(err)
		}
	}
	if err := chownAll(p.home, personUID); err != nil {
		p.t.Fatal(err)
	}
}

// TestPerson is a person at a shell: azimds starts its network part through sudo, keeps the environment that sudo would
// drop, serves that person and nobody else, and leaves nothing.
func TestPerson(t *testing.T) {
	netns.Root(t)
	for _, sudo := range []string{"use_pty", "!use_pty"} {
		for _, tty := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/tty-%v", sudo, tty), func(t *testing.T) {
				ns := netns.New(t)
				authority := startEntra(t, ns)
				p := newPerson(t, ns, sudo)
				p.configure(authority)
				before := state(t, ns)
				script := `set -e; "$AZIMDS" run --detach; "$SELF"; "$AZIMDS" status; "$AZIMDS" token https://vault.azure.net; "$AZIMDS" stop
					"$AZIMDS" exec -- "$SELF"; ! "$AZIMDS" status`
				out, code := agent.Output(t, ns, p.shell(script, tty, "MY_APP_SECRET="+clientSecret))
				if code != 0 || strings.Count(out, `"access_token"`) != 2 || !strings.Contains(out, "no azimds runs") {
					t.Errorf("the session ended with %d:\n%s", code, out)
				}
				if n := len(authority.Issued()); n != 2 {
					t.Errorf("the authority issued %d tokens, want 2: one for each agent", n)
				}
				same(t, before, state(t, ns))
			})
		}
	}
}

// TestPersonKilled kills each process of a person's agent. The others go, and nothing is left.
func TestPersonKilled(t *testing.T) {
	netns.Root(t)
	for _, victim := range []string{"run", "serve", "hold", "janitor"} {
		t.Run(victim, func(t *testing.T) {
			ns := netns.New(t)
			before := state(t, ns)
			p := newPerson(t, ns, "use_pty")
			out, code := agent.Output(t, ns, p.shell(`"$AZIMDS" run --detach --credential emulated && "$SELF"`, true))
			if code != 0 || !strings.Contains(out, `"access_token"`) {
				t.Fatalf("the session ended with %d:\n%s", code, out)
			}
			family := agentsIn(t, ns)
			for _, name := range []string{"run", "serve", "hold", "janitor"} {
				if _, ok := family[name]; !ok {
					t.Fatalf("there is no %s among %v", name, family)
				}
			}
			gone := watchAll(t, family)
			if err := syscall.Kill(family[victim], syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			gone()
			same(t, before, state(t, ns))
		})
	}
}

// agentsIn are the processes of azimds in ns, by the command they were started with.
func agentsIn(t testing.TB, ns *netns.NS) map[string]int {
	t.Helper()
	found := map[string]int{}
	links, err := filepath.Glob("/proc/[0-9]*/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		target, err := os.Readlink(link)
		if err != nil || target != fmt.Sprintf("net:[%d]", ns.Inode()) {
			continue // it has ended, or is elsewhere
		}
		dir := filepath.Dir(filepath.Dir(link))
		line, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil {
			continue
		}
		args := strings.Split(string(line), "\x00")
		at := slices.IndexFunc(args, func(a string) bool { return slices.Contains([]string{"run", "serve", "hold", "janitor"}, a) })
		if at != 1 {
			continue
		}
		if found[args[at]], err = strconv.Atoi(filepath.Base(dir)); err != nil {
			t.Fatal(err)
		}
	}
	return found
}
