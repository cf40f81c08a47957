package main

import (
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestPrintTable(t *testing.T) {
	const want = `measure (medians)                   azimds      bare  ratio  goal
CPU a request, 16 connections      20.0 µs   10.0 µs   1.50  <= 1.4     miss
requests/s, 128 connections         45.0 k    50.0 k   0.90  >= 0.8     ok
RSS idle, all processes            30.0 MB    7.0 MB   4.29
p50, fresh connection             200.0 µs  100.0 µs   2.00  <= 2       ok
stripped program                   12.5 MB                   <= 12.0 MB miss
`
	var out strings.Builder
	printTable(&out, compared, []*measure{
		// a round in which the machine was twice as slow moves no ratio
		{name: "CPU a request, 16 connections", unit: microseconds, goal: 1.4,
			azimds: []float64{15e-6, 20e-6, 30e-6}, bare: []float64{10e-6, 10e-6, 20e-6}},
		{name: "requests/s, 128 connections", unit: perSecond, goal: 0.8, atLeast: true,
			azimds: []float64{45e3}, bare: []float64{50e3}},
		{name: "RSS idle, all processes", unit: megabytes, azimds: []float64{30e6}, bare: []float64{7e6}},
		{name: "p50, fresh connection", unit: microseconds, goal: 2, apart: true,
			azimds: []float64{300e-6, 100e-6, 200e-6}, bare: []float64{100e-6}},
		{name: "stripped program", unit: megabytes, goal: 12e6, azimds: []float64{12.5e6}},
	})
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
	for line := range strings.Lines(out.String()) {
		if n := utf8.RuneCountInString(line); n > 80 {
			t.Errorf("%d columns: %q", n, line)
		}
	}
}

func TestOwnProcess(t *testing.T) {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	self := &server{name: "self", program: program, answers: os.Args[1]}
	all, answering, err := self.usage()
	if err != nil {
		t.Fatal(err)
	}
	if all.cpu <= 0 || all.rss < 1<<20 || answering.cpu > all.cpu || answering.rss > all.rss {
		t.Errorf("usage = %+v, answering %+v", all, answering)
	}
	size, err := strippedSize(program)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(program)
	if err != nil {
		t.Fatal(err)
	}
	if size <= 0 || size > info.Size() {
		t.Errorf("stripped size = %d of %d", size, info.Size())
	}
}
