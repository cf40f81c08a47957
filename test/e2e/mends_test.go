package e2e

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"azimds/test/agent"
	"azimds/test/netns"
)

// illness is a finding of doctor's, how it comes about, and how its commands are run. Where they cannot be, there is a reason, and
// byHand does away with the state.
type illness struct {
	id      string
	name    string   // of one of several
	args    []string // of doctor's, instead of those of a doctor who asks nobody
	given   func(t *testing.T, w *world)
	between func(t *testing.T, w *world) // what happens before the commands are run, besides
	serves  string                       // the commands serve, and are ready when they print this
	end     string                       // what ends them then
	later   bool                         // what they change is noticed a moment later
	reason  string                       // why the commands cannot be run
	byHand  func(t *testing.T, w *world)
}

// Each kind of finding in docs/doctor.md, which has each that there is (TestDoctorDocument), comes about for real, and the very commands
// that doctor prints do away with it.
func TestDoctorMends(t *testing.T) {
	netns.Root(t)
	text, err := os.ReadFile("../../docs/doctor.md")
	if err != nil {
		t.Fatal(err)
	}
	missing := map[string]bool{}
	for _, section := range regexp.MustCompile("(?m)^### `([a-z-]+)`, an? [a-z]+$").FindAllStringSubmatch(string(text), -1) {
		missing[section[1]] = true
	}
	if len(missing) < 20 {
		t.Fatalf("docs/doctor.md has only %d findings", len(missing))
	}
	byHand := 0
	for _, i := range slices.Concat(variableIllnesses(), azIllnesses(), networkIllnesses(), agentIllnesses(), machineIllnesses()) {
		delete(missing, i.id)
		if (i.reason == "") != (i.byHand == nil) {
			t.Errorf("%s: a reason and what is done by hand go together", i.id)
		}
		if i.reason != "" {
			byHand++
		}
		t.Run(strings.TrimSuffix(i.id+"/"+i.name, "/"), func(t *testing.T) { i.test(t) })
	}
	for id := range missing {
		t.Errorf("%s comes about in no test", id)
	}
	if byHand > 5 {
		t.Errorf("%d are mended by hand", byHand)
	}
}

func (i illness) test(t *testing.T) {
	w := newWorld(t)
	if i.given != nil {
		i.given(t, w)
	}
	doctor := "azimds doctor --json --offline --credential emulated"
	if i.args != nil {
		doctor = "azimds doctor --json " + strings.Join(i.args, " ")
	}
	out, code := w.run(t, doctor)
	commands, found := diagnosed(t, out, code).mends(i.id)
	if !found {
		t.Fatalf("%s is not found: %s", i.id, out)
	}
	if i.between != nil {
		i.between(t, w)
	}
	mend := strings.Join(commands, "\n")
	switch {
	case i.byHand != nil:
		i.byHand(t, w)
		out, code = w.run(t, doctor)
	case len(commands) == 0:
		t.Fatalf("%s comes with no command", i.id)
	case i.serves != "":
		w.background(t, mend, i.serves, i.end)
		out, code = w.run(t, doctor)
	default:
		out, code = w.run(t, "{ "+mend+"\n} >&2\n"+doctor)
	}
	for end := time.Now().Add(agent.Patience); ; out, code = w.run(t, doctor) {
		if _, found = diagnosed(t, out, code).mends(i.id); !found || !i.later || time.Now().After(end) {
			break
		}
	}
	if found {
		t.Errorf("after %q: %s", mend, out)
	}
}
