package signedout

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "measure several times, one program after the other, and write the document's table anew")

// cell is one SDK, asked in one way in one state.
type cell struct {
	sdk   sdk
	how   way
	state state
}

func (c cell) name() string { return c.state.name + "/" + c.sdk.name + "/" + c.how.name }

// patient tells of a program that the SDK has wait and ask again.
func (c cell) patient() bool { return c.state.again && c.how.kind == "managed" }

// cells is the matrix. The chain of Rust's SDK has no managed identity in it.
func cells(clients []sdk) []cell {
	var all []cell
	for _, s := range states {
		for _, client := range clients {
			for _, how := range ways {
				if how.kind == "managed" || client.chains {
					all = append(all, cell{client, how, s})
				}
			}
		}
	}
	return all
}

// result is what came of a cell.
type result struct {
	outcome string
	answers []string      // of azimds, in order: "reset", "probe", "403"
	took    time.Duration // see [took]
	err     string        // of the SDK
}

// What can come of a cell, as the document calls it.
const (
	gotToken = "token"    // azimds's
	wentOn   = "az"       // a chain got the token of its next credential
	stopped  = "stops"    // a chain did not ask its next credential
	wasTold  = "told"     // who asked alone finds the reason in the error
	notTold  = "not told" // or does not
)

// outcome is what the document should say of c.
func (c cell) outcome() string {
	switch {
	case c.state.told == "":
		return gotToken
	case c.state.status == "400" && c.how.kind == "managed" && c.sdk.name == "rust":
		return notTold // azure_identity 1.0.0, imds_managed_identity_credential.rs: a sentence of its own in place of a 400's
	case c.how.kind == "managed":
		return wasTold
	case c.state.status == "400" && c.how.id != "" && c.sdk.name == "go":
		return stopped // azidentity v1.15.0, managed_identity_client.go: a 400 ends a chain that has a client id
	default:
		return wentOn
	}
}

// answers is what azimds should answer. Of programs that ask again it is the first answer alone.
func (c cell) answers() []string {
	switch {
	case c.how.kind == "managed":
		return []string{c.state.status}
	case c.state.reset && c.sdk.resets > 0:
		return slices.Repeat([]string{"reset"}, c.sdk.resets)
	case c.state.again:
		return []string{"probe", "403"}
	default:
		return []string{"probe", c.state.status}
	}
}

// check compares what came of a cell with what should.
func (c cell) check(t *testing.T, r result) {
	t.Helper()
	answers := r.answers
	if c.patient() && len(answers) > 1 {
		answers = answers[:1]
	}
	if r.outcome != c.outcome() || !slices.Equal(answers, c.answers()) {
		t.Errorf("%s after %v, want %s after %v: %s", r.outcome, r.answers, c.outcome(), c.answers(), r.err)
	}
}

// TestMatrix brings the real azimds into each state and has each SDK ask it: every chain goes on, who asks alone is told why,
// nobody asks more than needed, and the document says so. With -update, for a quiet machine and twenty minutes:
//
//	go test ./test/signedout -run TestMatrix -update -timeout 40m
func TestMatrix(t *testing.T) {
	clients := sdks(t)
	var (
		mu      sync.Mutex
		results = map[string]result{}
		all     = cells(clients)
		slots   = make(chan struct{}, min(runtime.NumCPU(), 4))
	)
	one := func(c cell, slots chan struct{}) {
		t.Run(c.name(), func(t *testing.T) { // not Parallel: slots count, not processors
			times := 1
			if *update && !c.patient() {
				times = c.sdk.times
			}
			got := measure(t, c, slots, times)
			for _, r := range got {
				t.Log(r.outcome, r.took, r.answers, r.err)
				c.check(t, r)
			}
			mu.Lock()
			defer mu.Unlock()
			results[c.name()] = median(got)
		})
	}
	var patient, others sync.WaitGroup
	for _, c := range all {
		if c.patient() {
			patient.Go(func() { one(c, nil) })
		}
	}
	if *update {
		patient.Wait()
		slots = make(chan struct{}, 1)
	}
	for _, c := range all {
		if !c.patient() {
			others.Go(func() { one(c, slots) })
		}
	}
	others.Wait()
	patient.Wait()
	switch {
	case *update && len(results) < len(all):
		t.Fatal("only some cells were run: the table is not written")
	case *update:
		writeTable(t, clients, results)
	}
	compareTable(t, results)
}

// measure asks a number of times, while it holds a slot if there are slots.
func measure(t *testing.T, c cell, slots chan struct{}, times int) []result {
	t.Helper()
	take, leave := func() { slots <- struct{}{} }, func() { <-slots }
	if slots == nil {
		take, leave = func() {}, func() {}
	}
	var all []result
	if c.state.fresh && times > 1 {
		for range times {
			all = append(all, measure(t, c, slots, 1)...)
		}
		return all
	}
	w := newWorld(t)
	if c.state.slow {
		c.state.enter(t, w)
		take()
		defer leave()
	} else {
		take()
		defer leave()
		c.state.enter(t, w)
	}
	for range times {
		all = append(all, w.try(c))
	}
	w.stopAgent()
	answers := answers(w.said.String(), w.entered)
	each := len(answers) / times
	for i := range all {
		all[i].answers = answers[i*each : (i+1)*each]
	}
	if each*times != len(answers) {
		t.Errorf("%d programs got %v", times, answers)
	}
	return all
}

// try has one program ask.
func (w *world) try(c cell) result {
	w.t.Helper()
	if w.entered.IsZero() {
		w.entered = time.Now()
	}
	first := w.sniff()
	g := run(w.t, w.ns, c.sdk, c.how, c.state.resource)
	r := result{took: took(g, first()), err: g.err}
	switch {
	case g.token == azToken:
		r.outcome = wentOn
	case g.token != "":
		r.outcome = gotToken
	case c.how.kind != "managed":
		r.outcome = stopped
	case strings.Contains(g.err, c.state.told):
		r.outcome = wasTold
	default:
		r.outcome = notTold
	}
	return r
}

// took is how long a program was kept busy with azimds: for a token, the SDK's get; otherwise, from its first connection until
// the next credential of the chain began, or the program ended.
func took(g got, first time.Time) time.Duration {
	switch {
	case g.token != "" && g.token != azToken:
		return g.elapsed
	case first.IsZero():
		return 0
	case !g.next.IsZero():
		return g.next.Sub(first)
	default:
		return g.end.Sub(first)
	}
}

// median is the result that took neither longest nor shortest.
func median(results []result) result {
	slices.SortFunc(results, func(a, b result) int { return cmp.Compare(a.took, b.took) })
	return results[len(results)/2]
}

// answers are those of azimds on the metadata endpoint since a moment, as its log has them.
func answers(log string, since time.Time) []string {
	var all []string
	for line := range strings.Lines(log) {
		var l struct {
			Time               time.Time
			Msg, Route, Reason string
			Status             int
		}
		if json.Unmarshal([]byte(line), &l) != nil || l.Time.Before(since) {
			continue // it is no line of the log, or about what made the state
		}
		switch {
		case strings.HasPrefix(l.Msg, "probe reset"):
			all = append(all, "reset")
		case l.Route == "":
		case strings.Contains(l.Reason, "metadata header"):
			all = append(all, "probe")
		default:
			all = append(all, fmt.Sprint(l.Status))
		}
	}
	return all
}
