package netsetup

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"

	"github.com/coreos/go-iptables/iptables"
)

// lockWait is how long iptables waits for the xtables lock, in seconds: Docker and kube-proxy hold it for moments, and one
// that is never released must not hang a start.
const lockWait = 5

const natTable = "nat"

// programs are where iptables is looked for. A person's PATH often lacks the sbin directories. Which back end it drives,
// nf_tables or legacy, is the distribution's choice, which Docker follows too.
var programs = []string{"iptables", "/usr/sbin/iptables", "/sbin/iptables"}

// hostFirewall is the nat table of the calling thread's network namespace, through the iptables program.
type hostFirewall struct {
	found *iptables.IPTables
}

// Rules lists a chain.
func (f *hostFirewall) Rules(ctx context.Context, chain string) ([]string, bool, error) {
	t, err := f.program(ctx)
	if err != nil {
		return nil, false, err
	}
	lines, err := t.List(natTable, chain)
	if err != nil {
		// That the chain does not exist looks like that the table cannot be read; only the list of chains tells.
		chains, listErr := t.ListChains(natTable)
		if listErr == nil && !slices.Contains(chains, chain) {
			return nil, false, nil
		}
		return nil, false, plain(err)
	}
	var specs []string
	for _, line := range lines {
		if spec, ok := strings.CutPrefix(line, "-A "+chain+" "); ok {
			specs = append(specs, spec)
		}
	}
	return specs, true, nil
}

// Has asks iptables -C.
func (f *hostFirewall) Has(ctx context.Context, chain, spec string) (bool, error) {
	t, words, err := f.rule(ctx, spec)
	if err != nil {
		return false, err
	}
	has, err := t.Exists(natTable, chain, words...)
	return has, plain(err)
}

// Insert makes a rule at a position, from 1.
func (f *hostFirewall) Insert(ctx context.Context, chain string, pos int, spec string) error {
	t, words, err := f.rule(ctx, spec)
	if err != nil {
		return err
	}
	return plain(t.Insert(natTable, chain, pos, words...))
}

// Delete removes a rule.
func (f *hostFirewall) Delete(ctx context.Context, chain, spec string) error {
	t, words, err := f.rule(ctx, spec)
	if err != nil {
		return err
	}
	return present(t.Delete(natTable, chain, words...))
}

// NewChain makes a chain.
func (f *hostFirewall) NewChain(ctx context.Context, chain string) error {
	t, err := f.program(ctx)
	if err != nil {
		return err
	}
	return plain(t.NewChain(natTable, chain))
}

// DeleteChain removes an empty chain that nothing jumps to.
func (f *hostFirewall) DeleteChain(ctx context.Context, chain string) error {
	t, err := f.program(ctx)
	if err != nil {
		return err
	}
	return present(t.DeleteChain(natTable, chain))
}

func (f *hostFirewall) rule(ctx context.Context, spec string) (*iptables.IPTables, []string, error) {
	words, err := splitSpec(spec)
	if err != nil {
		return nil, nil, fmt.Errorf("splitting rule %q: %w", spec, err)
	}
	t, err := f.program(ctx)
	return t, words, err
}

// program finds iptables. A context cannot stop it once it runs; it is asked before each run.
func (f *hostFirewall) program(ctx context.Context) (*iptables.IPTables, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if f.found != nil {
		return f.found, nil
	}
	for _, name := range programs {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		t, err := iptables.New(iptables.Path(path), iptables.Timeout(lockWait))
		if err != nil {
			return nil, fmt.Errorf("asking %q for its version: %w", path, err)
		}
		f.found = t
		return t, nil
	}
	return nil, fmt.Errorf("looking for %s: %w", strings.Join(programs, ", "), ErrNoIPTables)
}

// present drops the error of a deletion that found nothing to delete.
func present(err error) error {
	if failed, ok := errors.AsType[*iptables.Error](err); ok && failed.IsNotExist() {
		return nil
	}
	return plain(err)
}

// plain puts what iptables said on several lines on one.
func plain(err error) error {
	if err == nil {
		return nil
	}
	said := strings.Split(strings.TrimSpace(err.Error()), "\n")
	return &programError{strings.Join(slices.DeleteFunc(said, func(line string) bool {
		return strings.TrimSpace(line) == "" || strings.HasPrefix(line, "Try `iptables -h'")
	}), "; "), err}
}

// programError is iptables' refusal on one line.
type programError struct {
	text string
	err  error
}

func (e *programError) Error() string { return e.text }
func (e *programError) Unwrap() error { return e.err }
