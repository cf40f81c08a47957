// Command bench compares azimds with a bare net/http server that answers the same bytes, side by side in one run: rounds
// interleaved, medians, and ratios taken within a round, because a machine's speed drifts more than the two differ. Both
// run in a network namespace of their own. Differences under about a fifth mean nothing.
//
// Missing a goal is not a failure: the exit code is 1 only when something could not be measured.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"azimds/test/demo/sandbox"
)

// limit bounds the whole benchmark; it takes half a minute, and with a flood some minutes, mostly for memory to be given back.
const (
	limit      = 170 * time.Second
	floodLimit = 10 * time.Minute
)

func main() {
	azimds := flag.String("azimds", "", "`program` to measure (default: the one of this source tree, built stripped)")
	rounds := flag.Int("rounds", 11, "interleaved rounds, at least 5")
	flooded := flag.Bool("flood", false, "instead, measure what the agent's owner notices of connections that are refused")
	crowd := flag.Bool("crowd", false, "be who floods (the benchmark starts itself so)")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	bound := limit
	if *flooded {
		bound = floodLimit
	}
	ctx, cancel := context.WithTimeout(ctx, bound)
	code, err := run(ctx, *azimds, *rounds, *flooded, *crowd)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		code = 1
	}
	cancel()
	stop()
	os.Exit(code)
}

// run builds the programs and then runs itself in a sandbox, where it is given their folder as argument. There it runs itself
// again, as a crowd.
func run(ctx context.Context, azimds string, rounds int, flooded, crowd bool) (code int, err error) {
	if crowd {
		return 0, beCrowd(ctx, flag.Args())
	}
	if sandbox.Inside() {
		if err := sandbox.Enter(); err != nil {
			return 1, err
		}
		if flooded {
			return 0, flood(ctx, flag.Arg(0))
		}
		return 0, compare(ctx, flag.Arg(0), rounds)
	}
	if rounds < 5 || flag.NArg() > 0 {
		return 1, errors.New("reading arguments: want [--azimds PROGRAM] [--flood] [--rounds N], N at least 5")
	}
	dir, err := os.MkdirTemp("", "azimds-bench-")
	if err != nil {
		return 1, fmt.Errorf("making a folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if azimds == "" {
		err = build(ctx, dir, "azimds", "./cmd/azimds")
	} else {
		err = copyProgram(azimds, filepath.Join(dir, "azimds"))
	}
	if err != nil {
		return 1, err
	}
	if flooded { // without netfilter's rule the server itself is loaded; the tag lets it be left out
		err = build(ctx, dir, "azimds-unguarded", "./cmd/azimds", "nethttpomithttp2", "azimdstest")
	} else {
		err = build(ctx, dir, "bare", "./test/bench/bare")
	}
	if err != nil {
		return 1, err
	}
	return sandbox.Rerun(ctx, []string{"--rounds", fmt.Sprint(rounds), fmt.Sprintf("--flood=%t", flooded), dir})
}

// build builds a package of this module as a release is built, or with other tags.
func build(ctx context.Context, dir, name, path string, tags ...string) error {
	args := []string{"build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(dir, name)}
	if len(tags) > 0 {
		args = append(args, "-tags="+strings.Join(tags, ","))
	}
	cmd := exec.CommandContext(ctx, "go", append(args, path)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %q: %w: %s", path, err, text)
	}
	return nil
}

// copyProgram copies a program to where no other process runs it: processes are found by their program.
func copyProgram(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("reading the program: %w", err)
	}
	return os.WriteFile(to, text, 0o755)
}
