package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// How much a round asks of a server: some 400 ms of work for each load, 50 ms for each single connection.
const (
	fewConnections, manyConnections = 16, 128
	loadRequests                    = 20_000
	keptRequests                    = 4_000
	freshRequests                   = 1_000

	// settle is how long a server is left alone after its first answer, before its idle memory is read.
	settle = 200 * time.Millisecond
)

// table is every measure, with the goal of the project for each.
type table struct {
	cpu, kept, fresh, few, many, start measure
	idle, loaded, idleAll, loadedAll   measure
	size, allocations                  measure
}

// compared are the columns of the table.
var compared = []string{"measure (medians)", "azimds", "bare", "ratio", "goal"}

func newTable() *table {
	return &table{
		cpu:         measure{name: "CPU a request, 16 connections", unit: microseconds, goal: 1.4},
		kept:        measure{name: "p50, kept connection", unit: microseconds, goal: 1.3},
		fresh:       measure{name: "p50, fresh connection", unit: microseconds, goal: 1.4},
		few:         measure{name: "requests/s, 16 connections", unit: perSecond, goal: 0.8, atLeast: true},
		many:        measure{name: "requests/s, 128 connections", unit: perSecond, goal: 0.8, atLeast: true},
		start:       measure{name: "exec to first 200", unit: milliseconds, goal: 1.25},
		idle:        measure{name: "RSS idle, server", unit: megabytes, goal: 1.4},
		loaded:      measure{name: "RSS after load, server", unit: megabytes, goal: 1.2},
		idleAll:     measure{name: "RSS idle, all processes", unit: megabytes},
		loadedAll:   measure{name: "RSS after load, all processes", unit: megabytes},
		size:        measure{name: "stripped program", unit: megabytes, goal: 12e6},
		allocations: measure{name: "allocations of ours a request", unit: plain, goal: 4},
	}
}

// measures is the table in the order it is printed.
func (t *table) measures() []*measure {
	return []*measure{
		&t.cpu, &t.kept, &t.fresh, &t.few, &t.many, &t.start,
		&t.idle, &t.loaded, &t.idleAll, &t.loadedAll, &t.size, &t.allocations,
	}
}

// compare runs the rounds on the two programs in dir and prints the table.
func compare(ctx context.Context, dir string, rounds int) (err error) {
	client, err := startClient()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.end()) }()
	response := filepath.Join(dir, "response")
	azimds := &server{
		name: "azimds", addr: "169.254.169.254:80", client: client,
		program: filepath.Join(dir, "azimds"),
		args:    []string{"run", "--user", fmt.Sprint(owner), "--mode", "loopback", "--credential", "emulated"},
		answers: "serve",
	}
	bare := &server{
		name: "bare", addr: "127.0.0.1:8080", client: client,
		program: filepath.Join(dir, "bare"), args: []string{"127.0.0.1:8080", response},
		answers: "127.0.0.1:8080",
	}
	defer func() { err = errors.Join(err, azimds.stop(), bare.stop()) }()

	// One start that does not count: it gives the answer that the bare server repeats and fills the page cache.
	if _, err := azimds.start(ctx); err != nil {
		return err
	}
	answer, err := azimds.client.capture(ctx, azimds.addr)
	if err != nil {
		return err
	}
	if err := os.WriteFile(response, answer, 0o600); err != nil {
		return fmt.Errorf("keeping the answer: %w", err)
	}
	if err := azimds.stop(); err != nil {
		return err
	}

	t := newTable()
	for round := range rounds {
		if err := alternate(round, azimds, bare, func(s *server) error { return t.starting(ctx, s) }); err != nil {
			return err
		}
	}
	for _, s := range []*server{azimds, bare} {
		if _, err := s.start(ctx); err != nil {
			return err
		}
		if _, err := s.client.load(ctx, s.addr, manyConnections, loadRequests/2); err != nil { // warms up
			return fmt.Errorf("loading %s: %w", s.name, err)
		}
	}
	for round := range rounds {
		for _, measure := range t.serving(ctx) {
			if err := alternate(round, azimds, bare, measure); err != nil {
				return err
			}
		}
	}
	return t.finish(ctx, azimds, len(answer), rounds)
}

// alternate does the same with both, the one that begins changing from round to round.
func alternate(round int, azimds, bare *server, do func(*server) error) error {
	first, second := azimds, bare
	if round%2 == 1 {
		first, second = bare, azimds
	}
	if err := do(first); err != nil {
		return err
	}
	return do(second)
}

// add adds what was seen of a server.
func (m *measure) add(s *server, value float64) {
	if s.name == "azimds" {
		m.azimds = append(m.azimds, value)
	} else {
		m.bare = append(m.bare, value)
	}
}

// starting measures one start of a server and its memory before any load.
func (t *table) starting(ctx context.Context, s *server) error {
	took, err := s.start(ctx)
	if err != nil {
		return err
	}
	time.Sleep(settle)
	all, answering, err := s.usage()
	if err != nil {
		return err
	}
	t.start.add(s, took.Seconds())
	t.idle.add(s, float64(answering.rss))
	t.idleAll.add(s, float64(all.rss))
	return s.stop()
}

// serving lists what is measured of a running server. Both servers go through one entry before either does the next, so
// that what is compared is close in time.
func (t *table) serving(ctx context.Context) []func(*server) error {
	return []func(*server) error{
		func(s *server) error {
			before, _, err := s.usage()
			if err != nil {
				return err
			}
			took, err := s.client.load(ctx, s.addr, fewConnections, loadRequests)
			if err != nil {
				return fmt.Errorf("loading %s: %w", s.name, err)
			}
			after, _, err := s.usage()
			if err != nil {
				return err
			}
			t.few.add(s, loadRequests/took.Seconds())
			t.cpu.add(s, (after.cpu-before.cpu).Seconds()/loadRequests)
			return nil
		},
		func(s *server) error {
			took, err := s.client.load(ctx, s.addr, manyConnections, loadRequests)
			if err != nil {
				return fmt.Errorf("loading %s: %w", s.name, err)
			}
			all, answering, err := s.usage()
			if err != nil {
				return err
			}
			t.many.add(s, loadRequests/took.Seconds())
			t.loaded.add(s, float64(answering.rss))
			t.loadedAll.add(s, float64(all.rss))
			return s.forget()
		},
		func(s *server) error {
			took, err := s.client.kept(ctx, s.addr, keptRequests)
			if err != nil {
				return fmt.Errorf("asking %s: %w", s.name, err)
			}
			t.kept.add(s, took.Seconds())
			return nil
		},
		func(s *server) error {
			took, err := s.client.fresh(ctx, s.addr, freshRequests)
			if err != nil {
				return fmt.Errorf("asking %s: %w", s.name, err)
			}
			t.fresh.add(s, took.Seconds())
			return nil
		},
	}
}

// finish adds what needs no rounds and prints.
func (t *table) finish(ctx context.Context, azimds *server, answer, rounds int) error {
	size, err := strippedSize(azimds.program)
	if err != nil {
		return err
	}
	t.size.azimds = []float64{float64(size)}
	count, err := allocations(ctx)
	if err != nil {
		return err
	}
	t.allocations.azimds = []float64{count}
	fmt.Fprintf(os.Stdout, "azimds and a bare net/http server, %d rounds, answers of %d bytes\n\n", rounds, answer)
	printTable(os.Stdout, compared, t.measures())
	return nil
}
