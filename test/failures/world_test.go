package failures

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"azimds/test/entra"
	"azimds/test/netns"
)

// The people of these tests: nobody on the machine has these numbers.
const (
	patUID  = 61310
	samUID  = 61311
	rootUID = -1 // 0 is nobody in particular
)

// The applications and the person of the stand-in for Entra.
const (
	azClient     = "04b07795-8ddb-461a-bbee-02f9e1bf7b46" // az itself
	appClient    = "6f1c2f0a-53a4-4a0e-9c55-0a4a3d6b7c10"
	appSecret    = "a-secret~of.the-test"
	publicApp    = "7b0c1d2e-3f40-4152-8364-758697a8b9c0" // one of the developer's own that people sign in to
	userName     = "pat@contoso.example"
	userPassword = "correct horse battery"
	vault        = "https://vault.azure.net"
)

// services are the names under which the stand-in is the public cloud.
var services = []string{
	"login.microsoftonline.com", "management.azure.com", "graph.microsoft.com", "main.iam.ad.ext.azure.com",
	"aka.ms",
}

// world is a network namespace with a stand-in for the public cloud, and a machine with a person who has a login, a home and
// sudo, in mount namespaces where the machine's own files are covered.
type world struct {
	t         testing.TB
	ns        *netns.NS
	authority *entra.Server
	home      string
	etc       string
	path      string            // PATH
	ca        string            // file
	az        string            // az, when it was needed
	types     string            // what is typed, as standard input
	covers    map[string]string // files of the machine's, and what is there instead
	stop      func()            // the agent of pat's; nil is none
}

// newWorld makes a world; change may alter the stand-in.
func newWorld(t testing.TB, change ...func(*entra.Options)) *world {
	t.Helper()
	netns.Root(t)
	for _, program := range []string{"unshare", "setpriv", "sudo", "su", "iptables", "curl", "python3", "openssl", "xdg-open"} {
		_, err := exec.LookPath(program)
		netns.Need(t, program, err)
	}
	w := &world{t: t, ns: netns.New(t), home: t.TempDir(), etc: t.TempDir(), path: bin + ":/usr/bin:/bin:/usr/sbin:/sbin"}
	openUp(t, filepath.Join(w.home, "x"))
	if err := os.Chown(w.home, patUID, patUID); err != nil {
		t.Fatal(err)
	}
	o := entra.Options{
		Clients: []entra.Client{
			{ID: azClient, Name: "Microsoft Azure CLI", Public: true},
			{ID: appClient, Name: "app", Secret: appSecret},
			{ID: publicApp, Name: "tool", Public: true},
		},
		Users: []entra.User{{Name: userName, Password: userPassword}}, Approves: userName, Hosts: services,
	}
	for _, f := range change {
		f(&o)
	}
	w.serve(o)
	w.ca = filepath.Join(w.etc, "ca.pem")
	openUp(t, w.ca)
	hostname, err := os.Hostname() // sudo looks it up
	if err != nil {
		t.Fatal(err)
	}
	hosts := "127.0.0.1 localhost " + hostname + " " + strings.Join(services, " ") + "\n"
	for name, file := range map[string]struct {
		content string
		mode    os.FileMode
	}{
		"passwd":  {fmt.Sprintf("root:x:0:0:root:/root:/bin/sh\npat:x:%d:%[1]d::%s:/bin/sh\nsam:x:%d:%[3]d::/nonexistent:/bin/sh\n", patUID, w.home, samUID), 0o644},
		"group":   {fmt.Sprintf("root:x:0:\npat:x:%d:\nsam:x:%d:\n", patUID, samUID), 0o644},
		"shadow":  {"root:*:20000:0:99999:7:::\npat:*:20000:0:99999:7:::\nsam:*:20000:0:99999:7:::\n", 0o600},
		"sudoers": {"Defaults secure_path=\"" + w.path + "\"\nroot ALL=(ALL) ALL\npat ALL=(ALL) NOPASSWD: ALL\nsam ALL=(ALL) NOPASSWD: ALL\n", 0o440},
		"hosts":   {hosts, 0o644},
		"ca.pem":  {string(w.authority.CAPEM()), 0o644},
	} {
		if err := os.WriteFile(filepath.Join(w.etc, name), []byte(file.content), file.mode); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(w.end)
	return w
}

// end stops an agent that a failed test leaves, and waits for what goes on a little longer: an az that it had started writes
// into the home folder.
func (w *world) end() {
	if w.serving() != "" {
		if _, stderr, code := w.run(rootUID, "azimds net down"); code != 0 {
			w.t.Errorf("azimds net down ended with %d: %s", code, stderr)
		}
	}
	for deadline := time.Now().Add(patience); len(w.processes()) > 0; <-time.After(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Errorf("processes are left: %q", w.processes())
			return
		}
	}
}

// serve starts the stand-in where the public cloud's names lead.
func (w *world) serve(o entra.Options) {
	w.t.Helper()
	s, err := entra.New(o)
	if err == nil {
		err = w.ns.Do(func() error {
			ln, err := net.Listen("tcp", "127.0.0.1:443")
			if err != nil {
				return err
			}
			return s.Start(ln)
		})
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := s.Close(); err != nil {
			w.t.Error(err)
		}
	})
	w.authority = s
}

// shell is a script that a user of this world runs in the home of pat, as from a shell of theirs.
func (w *world) shell(uid int, script string, env ...string) *exec.Cmd {
	cover := ""
	for at, with := range w.covers {
		cover += fmt.Sprintf("mount --bind %s $(readlink -f %s) && ", with, at)
	}
	for _, name := range []string{"passwd", "group", "shadow", "sudoers", "hosts"} {
		cover += fmt.Sprintf("mount --bind %s/%s /etc/%[2]s && ", w.etc, name)
	}
	home := w.home
	if uid == rootUID {
		uid, home = 0, "/root"
	}
	login := fmt.Sprintf("exec setpriv --reuid %d --regid %[1]d --clear-groups /bin/sh -c \"$SCRIPT\"", uid)
	cmd := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", cover+login)
	cmd.Dir = w.home
	cmd.Env = append([]string{
		"HOME=" + home, "USER=pat", "PATH=" + w.path, "LANG=C.UTF-8", "SCRIPT=" + script,
		"REQUESTS_CA_BUNDLE=" + w.ca, "CURL_CA_BUNDLE=" + w.ca, "AZ=" + w.az, "AZURE_CORE_COLLECT_TELEMETRY=false",
	}, env...)
	return cmd
}

// run runs a script and returns what it printed, and the exit code.
func (w *world) run(uid int, script string, env ...string) (stdout, stderr string, code int) {
	w.t.Helper()
	cmd := w.shell(uid, script, env...)
	cmd.Stdin = strings.NewReader(w.types)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.WaitDelay = time.Second // for what a script that had to be killed leaves
	err := w.ns.Start(cmd)
	if err == nil {
		late := time.AfterFunc(patience, func() { cmd.Process.Kill() })
		err = cmd.Wait()
		late.Stop()
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		w.t.Fatalf("running %q: %v", script, err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// must runs a script of pat's that has to succeed, and returns its standard output.
func (w *world) must(script string, env ...string) string {
	w.t.Helper()
	stdout, stderr, code := w.run(patUID, script, env...)
	if code != 0 {
		w.t.Fatalf("%s\nended with %d:\n%s%s", script, code, stdout, stderr)
	}
	return stdout
}

// openUp lets every user pass through the folders above a test's temporary file.
func openUp(t testing.TB, path string) {
	t.Helper()
	for parent := filepath.Dir(path); parent != os.TempDir() && len(parent) > len(os.TempDir()); parent = filepath.Dir(parent) {
		if err := os.Chmod(parent, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}
