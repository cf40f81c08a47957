package failures

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"azimds/test/entra"
)

// failure is one thing that goes wrong, and what a person sees of it and does about it.
type failure struct {
	name  string
	cloud func(*entra.Options) // alters the stand-in
	given func(*world)         // makes the situation
	as    int                  // who does it; 0 is pat
	does  string               // what fails
	env   []string

	hintAs int                     // who runs the command: who did it, but where root's password is asked for
	types  func(testing.TB) string // what they type when it asks
	fixed  string                  // what they write into the file that it opens in their editor

	// What becomes of the command in the message. It is run where the first one failed, and has to succeed.
	gone  func(*world)                   // takes away first what keeps it from that: it shows a fault as long as that lasts
	then  func(w *world, printed string) // what the person does with what it printed
	mends bool                           // after that, or while it runs, the first command succeeds
	mute  string                         // why the message ends in no command
}

const golden = "testdata/messages.golden"

// TestMessages holds every message side by side.
func TestMessages(t *testing.T) {
	t.Parallel()
	all := failures()
	told := make([]string, len(all))
	t.Run("failure", func(t *testing.T) {
		for i, f := range all {
			t.Run(f.name, func(t *testing.T) {
				t.Parallel()
				told[i] = f.play(t)
			})
		}
	})
	text := strings.Join(told, "\n")
	if *update && !slices.Contains(told, "") {
		if err := os.WriteFile(golden, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if slices.Contains(told, "") { // go test was to run only some of them
		return
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(text, "\n")); diff != "" {
		t.Errorf("messages (-golden +now), refresh with -update:\n%s", diff)
	}
}

// failures are all of them, in the order of the golden file.
func failures() []failure {
	var all []failure
	for _, some := range [][]failure{inputs(), files(), networks(), agents(), signIns(), refusals()} {
		all = append(all, some...)
	}
	return all
}

// play makes one failure happen, runs the command that its message ends in, and returns what the golden file says of it.
func (f failure) play(t *testing.T) string {
	t.Helper()
	w := newWorld(t, func(o *entra.Options) {
		if f.cloud != nil {
			f.cloud(o)
		}
	})
	if f.given != nil {
		f.given(w)
	}
	uid := f.as
	if uid == 0 {
		uid = patUID
	}
	before, pid := w.state(), w.serving()
	stdout, stderr, code := w.run(uid, f.does, f.env...)
	stderr = logFirst(stderr)
	w.keepsSecrets(stdout + stderr)
	same(t, before, w.state())
	if now := w.serving(); now != pid {
		t.Errorf("the agent that served was process %q and is %q", pid, now)
	}
	if code == 0 {
		t.Errorf("%s\nsucceeded:\n%s%s", f.does, stdout, stderr)
	}
	text := fmt.Sprintf("== %s\n$ %s\n%sexit %d\n", f.name, f.does, w.scrub(stdout+stderr), code)
	hint, ok := hintIn(stdout + stderr)
	switch {
	case !ok && f.mute == "":
		t.Errorf("the message ends in no command:\n%s%s", stdout, stderr)
	case ok && f.mute != "":
		t.Errorf("the message ends in a command although %s:\n%s%s", f.mute, stdout, stderr)
	case !ok:
		return text + "no command: " + f.mute + "\n"
	default:
		text += f.follow(w, uid, hint)
	}
	if now := w.serving(); pid == "" && now != "" { // what failed, and then did not, was a start
		if _, stderr, code := w.run(rootUID, "azimds stop"); code != 0 {
			t.Errorf("azimds stop ended with %d: %s", code, stderr)
		}
	}
	if f.given == nil { // what the hint started has been stopped
		same(t, before, w.state())
	}
	return text
}

// logFirst puts the log's lines before the message: they are of another process, and come when they come.
func logFirst(stderr string) string {
	var log, message strings.Builder
	for line := range strings.Lines(stderr) {
		if strings.HasPrefix(line, "time=") {
			log.WriteString(line)
		} else {
			message.WriteString(line)
		}
	}
	return log.String() + message.String()
}

// follow runs the command of a message, and then what failed if that is mended.
func (f failure) follow(w *world, uid int, hint string) string {
	w.t.Helper()
	by := uid
	retry := func() {
		w.t.Helper()
		if !f.mends {
			return
		}
		for deadline := time.Now().Add(patience); ; { // a failure answers for what it was about for two seconds more
			stdout, stderr, code := w.run(by, f.does, f.env...)
			if code == 0 {
				return
			}
			if time.Now().After(deadline) {
				w.t.Errorf("after %q, still:\n%s\nexit %d\n%s%s", hint, f.does, code, stdout, stderr)
				return
			}
		}
	}
	now := "succeeds"
	if f.gone != nil {
		f.gone(w)
		now = "succeeds once the cause is gone"
	}
	outcome := fmt.Sprintf("its command %s", now)
	if f.mends {
		outcome += ", and what failed then does too"
	}
	if f.hintAs != 0 {
		uid = f.hintAs
	}
	if stays.MatchString(hint) && !strings.Contains(hint, "--detach") {
		w.while(uid, hint, f.env, retry)
		return outcome + "\n"
	}
	env := f.env
	if strings.HasPrefix(hint, "xdg-open ") {
		env = append(env, "BROWSER=/bin/echo")
	}
	if f.fixed != "" {
		w.write("fixed", f.fixed, 0o644)
		w.write("editor", "#!/bin/sh\nexec cp \"$HOME/fixed\" \"$1\"\n", 0o755)
		env = append(env, "EDITOR="+w.home+"/editor")
	}
	if f.types != nil {
		w.types = f.types(w.t)
	}
	stdout, stderr, code := w.run(uid, "set -e\n"+hint, env...)
	w.types = ""
	if code != 0 {
		w.t.Errorf("%s\nended with %d:\n%s%s", hint, code, stdout, stderr)
	}
	if f.then != nil {
		f.then(w, stdout)
	}
	retry()
	return outcome + "\n"
}

// stays matches commands that go on until a signal.
var stays = regexp.MustCompile(`^(sudo (-u pat )?|su -c ')?azimds (run|serve|net up)( --(mode|shadow|credential|user|endpoint)|\s+#|$)`)

// hintIn is what a message ends in: the command, or the commands, of its last lines, indented.
func hintIn(text string) (string, bool) {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	at := len(lines)
	for at > 0 && strings.HasPrefix(lines[at-1], "  ") && !strings.HasPrefix(lines[at-1], "   ") {
		at--
		lines[at] = lines[at][2:]
	}
	return strings.Join(lines[at:], "\n"), at < len(lines)
}
