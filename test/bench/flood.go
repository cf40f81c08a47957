package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// What a flood is made of.
const (
	floodDials = 50_000 // connections that are refused, [dialsAtOnce] at a time
	heldIdle   = 2_000  // connections on which nothing is asked, of the owner and again of somebody who is admitted
)

// memoryTime bounds the wait for memory to be given back: the runtime collects every two minutes where nothing is allocated,
// and gives back what was free at two collections.
const (
	memoryTime = 60 * time.Second
	memoryNap  = time.Second
	asBefore   = 1.1 // of the memory before, which is not to be told from it
)

// floodSample is how many requests on a kept connection, and on fresh ones, are asked for in a row during a flood.
const floodSample = 300

// situation is a way to run the agent in which strangers are refused at one place or another.
type situation struct {
	name    string
	program string // in the folder of programs
	args    []string
	environ []string
}

var situations = []situation{
	{"mode iptables: nothing of a stranger's is intercepted", "azimds", []string{"--mode", "iptables"}, nil},
	{"mode loopback: netfilter refuses a stranger", "azimds", []string{"--mode", "loopback"}, nil},
	{"mode loopback without netfilter: the server refuses a stranger by its uid", "azimds-unguarded",
		[]string{"--mode", "loopback"}, []string{"AZIMDSTEST_WITHOUT=reject"}},
	{"mode loopback, a container admitted: the server looks at who a stranger is", "azimds", []string{"--mode", "loopback",
		"--allow-containers", "somebody"}, nil},
}

// flood loads the agent of each situation with what it refuses, and prints what that does to its owner.
func flood(ctx context.Context, dir string) error {
	for _, s := range situations {
		if err := s.measure(ctx, dir); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

// floodTable is what is measured of one situation: during or after the flood, and before it.
type floodTable struct{ kept, fresh, peak, left measure }

func newFloodTable() *floodTable {
	return &floodTable{
		kept:  measure{name: "p50, kept connection", unit: microseconds, goal: 2, apart: true},
		fresh: measure{name: "p50, fresh connection", unit: microseconds, goal: 2, apart: true},
		peak:  measure{name: "RSS at the peak, server", unit: megabytes},
		left:  measure{name: "RSS afterwards, server", unit: megabytes},
	}
}

func (s situation) measure(ctx context.Context, dir string) (err error) {
	client, err := startClient()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.end()) }()
	agent := &server{
		name: "azimds", addr: "169.254.169.254:80", program: filepath.Join(dir, s.program), answers: "serve",
		environ: s.environ, client: client,
		args: append([]string{"run", "--credential", "emulated", "--user", fmt.Sprint(owner),
			"--allow-users", fmt.Sprint(guest)}, s.args...),
	}
	defer func() { err = errors.Join(err, agent.stop()) }()
	if _, err := agent.start(ctx); err != nil {
		return err
	}
	if _, err := client.load(ctx, agent.addr, fewConnections, loadRequests/4); err != nil { // warms up
		return err
	}
	t := newFloodTable()
	if err := t.sample(ctx, agent, before); err != nil {
		return err
	}
	outcome, err := t.during(ctx, agent)
	if err != nil {
		return err
	}
	waited, err := t.settle(ctx, agent)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stdout, "%s\n%s\n\n", s.name, outcome)
	printTable(os.Stdout, []string{"measure (medians)", "flood", "before", "ratio", "goal"},
		[]*measure{&t.kept, &t.fresh, &t.peak, &t.left})
	fmt.Fprintf(os.Stdout, "\nafterwards: %v later\n\n", waited.Round(time.Second))
	return nil
}

// during holds connections open, sends the stranger, and asks as the owner for as long as the stranger is at it.
func (t *floodTable) during(ctx context.Context, agent *server) (outcome string, err error) {
	held := map[uint32]string{}
	for _, uid := range []uint32{owner, guest} {
		idle, err := startCrowd(uid, "idle", agent.addr, strconv.Itoa(heldIdle))
		if err != nil {
			return "", err
		}
		defer func() { err = errors.Join(err, idle.end()) }()
		if held[uid], err = idle.line(ctx); err != nil {
			return "", err
		}
	}
	begin := time.Now()
	flood, err := startCrowd(stranger, "flood", agent.addr, strconv.Itoa(floodDials))
	if err != nil {
		return "", err
	}
	var said string
	done := make(chan error, 1)
	go func() {
		var err error
		said, err = flood.line(ctx)
		done <- errors.Join(err, flood.end())
	}()
	for flooding := true; flooding; {
		if err := t.sample(ctx, agent, flooded); err != nil {
			return "", err
		}
		select {
		case err := <-done:
			if err != nil {
				return "", err
			}
			flooding = false
		default:
		}
	}
	took := time.Since(begin)
	peak, err := agent.peak()
	t.peak.azimds, t.peak.bare = []float64{float64(peak)}, t.left.bare
	return fmt.Sprintf("stranger: %s, in %.1f s; idle connections: %s of the owner's, %s of a guest's",
		said, took.Seconds(), held[owner], held[guest]), err
}

// When a sample is taken.
const (
	before = iota
	flooded
)

// sample asks as the owner; before the flood it reads the memory, too, and takes several.
func (t *floodTable) sample(ctx context.Context, agent *server, when int) error {
	rounds := 1
	if when == before {
		rounds = 5
	}
	for range rounds {
		onKept, err := agent.client.kept(ctx, agent.addr, floodSample)
		if err != nil {
			return err
		}
		onFresh, err := agent.client.fresh(ctx, agent.addr, floodSample)
		if err != nil {
			return err
		}
		if when == before {
			t.kept.bare, t.fresh.bare = append(t.kept.bare, onKept.Seconds()), append(t.fresh.bare, onFresh.Seconds())
		} else {
			t.kept.azimds, t.fresh.azimds = append(t.kept.azimds, onKept.Seconds()), append(t.fresh.azimds, onFresh.Seconds())
		}
	}
	if when != before {
		return nil
	}
	_, answering, err := agent.usage()
	t.left.bare = []float64{float64(answering.rss)}
	return err
}

// settle waits until the server has as much memory as before, or for as long as that may take.
func (t *floodTable) settle(ctx context.Context, agent *server) (time.Duration, error) {
	for begin := time.Now(); ; {
		_, answering, err := agent.usage()
		if err != nil {
			return 0, err
		}
		t.left.azimds = []float64{float64(answering.rss)}
		if waited := time.Since(begin); t.left.ratio() <= asBefore || waited > memoryTime {
			return waited, nil
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(memoryNap):
		}
	}
}
