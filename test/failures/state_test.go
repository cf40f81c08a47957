package failures

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// patience bounds every wait for something that must happen; nothing is measured by it.
const patience = 60 * time.Second

var (
	counters   = regexp.MustCompile(`\[\d+:\d+\]`)
	emptyTable = regexp.MustCompile(`(?m)^\*\w+\n(:[^\n]*\n)*COMMIT\n`)
	comment    = regexp.MustCompile(`(?m)^#.*\n`)
)

// state is what interception could change: links, addresses, routes of every table, policy rules, and iptables without
// comments, counters and tables in which nothing is.
func (w *world) state() string {
	w.t.Helper()
	out := w.ns.Run(w.t, "sh", "-c", "ip -o link; ip -o address; ip route show table all; ip -6 route show table all; ip rule")
	saved := comment.ReplaceAllString(w.ns.Run(w.t, "iptables-save"), "")
	return out + emptyTable.ReplaceAllString(counters.ReplaceAllString(saved, "[0:0]"), "")
}

func same(t testing.TB, before, after string) {
	t.Helper()
	if diff := cmp.Diff(strings.Split(before, "\n"), strings.Split(after, "\n")); diff != "" {
		t.Errorf("what was before and is now (-before +now):\n%s", diff)
	}
}

// serving is the process of the server that answers in this world; "" is none.
func (w *world) serving() string {
	w.t.Helper()
	for pid, command := range w.processes() {
		if strings.HasPrefix(command, "azimds\x00serve\x00") {
			return pid
		}
	}
	return ""
}

// processes are those in this world's network namespace, but for this one, with their command lines.
func (w *world) processes() map[string]string {
	w.t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/ns/net")
	if err != nil {
		w.t.Fatal(err)
	}
	found := map[string]string{}
	for _, link := range links {
		if target, err := os.Readlink(link); err != nil || target != fmt.Sprintf("net:[%d]", w.ns.Inode()) {
			continue // it has ended, or is elsewhere
		}
		dir := filepath.Dir(filepath.Dir(link))
		if filepath.Base(dir) == fmt.Sprint(os.Getpid()) { // its first thread was there, and cannot leave
			continue
		}
		if line, err := os.ReadFile(filepath.Join(dir, "cmdline")); err == nil {
			found[filepath.Base(dir)] = string(line)
		}
	}
	return found
}

// keepsSecrets fails the test when a token or secret of this world shows.
func (w *world) keepsSecrets(text string) {
	w.t.Helper()
	hidden := []string{appSecret, userPassword, "eyJ"}
	for _, issued := range w.authority.Issued() {
		hidden = append(hidden, issued.Token)
	}
	for _, secret := range hidden {
		if strings.Contains(text, secret) {
			w.t.Errorf("a token or secret shows:\n%s", text)
		}
	}
}

// variable parts of messages.
var variable = []struct {
	form *regexp.Regexp
	to   string
}{
	{regexp.MustCompile(`\b(process|pid) \d+`), "$1 PID"},
	{regexp.MustCompile(`/run/azimds/\d+/`), "/run/azimds/NAMESPACE/"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?`), "TIME"},
	{regexp.MustCompile(`iptables v[0-9.]+ \(\w+\)`), "iptables VERSION"},
	{regexp.MustCompile(`\bthe code [A-Z0-9]{9}\b`), "the code CODE"},
	{regexp.MustCompile(`(?m)^(azimds: )?sudo: (.*\n)(sudo: .*\n)*`), "${1}sudo: …\n"}, // its versions say it differently
}

// scrub replaces what differs from run to run.
func (w *world) scrub(text string) string {
	text = strings.NewReplacer(w.home, "/home/pat", w.etc, "/etc", bin+"/", "", bin, "/usr/local/bin").Replace(text)
	for _, v := range variable {
		text = v.form.ReplaceAllString(text, v.to)
	}
	return text
}

// while runs a command that goes on until a signal, calls f when it is ready, and ends it.
func (w *world) while(uid int, command string, env []string, f func()) {
	w.t.Helper()
	end := w.start(uid, command, env...)
	f()
	end()
}

// ready is what an agent, or a holder that waits for one, says first.
var ready = regexp.MustCompile(`^azimds answers at|held for .*start the server`)

// start starts a command that goes on until a signal, and returns when it is ready. It has to end well when end is called.
func (w *world) start(uid int, command string, env ...string) (end func()) {
	w.t.Helper()
	cmd := w.shell(uid, "exec "+command, env...)
	out, in := io.Pipe()
	cmd.Stdout, cmd.Stderr = in, in
	if err := w.ns.Start(cmd); err != nil {
		w.t.Fatal(err)
	}
	said, isReady := new(strings.Builder), make(chan bool, 1)
	read := make(chan struct{})
	go func() {
		defer close(read)
		lines, told := bufio.NewScanner(out), false
		for lines.Scan() {
			fmt.Fprintln(said, lines.Text())
			if !told && ready.MatchString(lines.Text()) {
				told = true
				isReady <- true
			}
		}
		if !told {
			isReady <- false
		}
	}()
	ended := make(chan error, 1)
	go func() {
		err := cmd.Wait()
		in.Close()
		<-read
		ended <- err
	}()
	stopped := false
	end = func() {
		w.t.Helper()
		if stopped {
			return
		}
		stopped = true
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			w.t.Errorf("ending %q: %v", command, err)
		}
		select {
		case err := <-ended:
			if err != nil {
				w.t.Errorf("%q ended with %v:\n%s", command, err, said)
			}
		case <-time.After(patience):
			w.t.Errorf("%q does not end", command)
		}
	}
	select {
	case ok := <-isReady:
		if !ok {
			stopped = true
			w.t.Fatalf("%q ended with %v:\n%s", command, <-ended, said)
		}
	case <-time.After(patience):
		w.t.Errorf("%q is not ready", command)
	}
	w.t.Cleanup(end)
	return end
}

// agent starts an agent of pat's that stays until the test ends, or another is started.
func (w *world) agent(args string, env ...string) {
	w.t.Helper()
	if w.stop != nil {
		w.stop()
	}
	w.stop = w.start(patUID, "azimds run "+args, env...)
}

// listens has a program of this world listen at an address.
func (w *world) listens(address string) {
	w.t.Helper()
	script := `import socket,sys,time
s=socket.socket(); s.setsockopt(socket.SOL_SOCKET,socket.SO_REUSEADDR,1); s.bind((sys.argv[1],int(sys.argv[2]))); s.listen(9)
print("listens",flush=True)
sys.stdin.read()`
	host, port, _ := strings.Cut(address, ":")
	cmd := exec.Command("python3", "-c", script, host, port)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.ns.Start(cmd); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		stdin.Close()
		if err := cmd.Wait(); err != nil {
			w.t.Error(err)
		}
	})
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		w.t.Fatalf("listening on %s: %q, %v", address, line, err)
	}
}
