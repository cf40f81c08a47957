package netsetup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/coreos/go-iptables/iptables"
)

// lockWait is how long iptables waits for the xtables lock, in seconds: Docker and kube-proxy hold it for moments, and one
// that is never released must not hang a start.
const lockWait = 5

// hostFirewall is netfilter in the calling thread's network namespace, through the iptables program, which it shields.
type hostFirewall struct {
	found *iptables.IPTables
}

// Rules lists a chain.
func (f *hostFirewall) Rules(ctx context.Context, c chain) ([]string, bool, error) {
	t, err := f.program(ctx)
	if err != nil {
		return nil, false, err
	}
	var lines []string
	err = shield(func() (err error) {
		lines, err = t.List(c.table, c.name)
		return err
	})
	if err != nil {
		// That the chain does not exist looks like that the table cannot be read; only the list of chains tells.
		var chains []string
		listErr := shield(func() (err error) {
			chains, err = t.ListChains(c.table)
			return err
		})
		if listErr == nil && !slices.Contains(chains, c.name) {
			return nil, false, nil
		}
		if lacking(err.Error()) {
			return nil, false, fmt.Errorf("%w: %w", ErrNoNetfilter, plain(err))
		}
		return nil, false, fmt.Errorf("%w: %w", ErrIPTables, plain(err))
	}
	var specs []string
	for _, line := range lines {
		if spec, ok := strings.CutPrefix(line, "-A "+c.name+" "); ok {
			specs = append(specs, spec)
		}
	}
	return specs, true, nil
}

// Has asks iptables -C.
func (f *hostFirewall) Has(ctx context.Context, c chain, spec string) (bool, error) {
	t, words, err := f.rule(ctx, spec)
	if err != nil {
		return false, err
	}
	has := false
	err = shield(func() (err error) {
		has, err = t.Exists(c.table, c.name, words...)
		return err
	})
	return has, plain(err)
}

// Insert makes a rule at a position, from 1.
func (f *hostFirewall) Insert(ctx context.Context, c chain, pos int, spec string) error {
	t, words, err := f.rule(ctx, spec)
	if err != nil {
		return err
	}
	return plain(shield(func() error { return t.Insert(c.table, c.name, pos, words...) }))
}

// Delete removes a rule.
func (f *hostFirewall) Delete(ctx context.Context, c chain, spec string) error {
	t, words, err := f.rule(ctx, spec)
	if err != nil {
		return err
	}
	return present(shield(func() error { return t.Delete(c.table, c.name, words...) }))
}

// NewChain makes a chain.
func (f *hostFirewall) NewChain(ctx context.Context, c chain) error {
	t, err := f.program(ctx)
	if err != nil {
		return err
	}
	return plain(shield(func() error { return t.NewChain(c.table, c.name) }))
}

// DeleteChain removes an empty chain that nothing jumps to.
func (f *hostFirewall) DeleteChain(ctx context.Context, c chain) error {
	t, err := f.program(ctx)
	if err != nil {
		return err
	}
	return present(shield(func() error { return t.DeleteChain(c.table, c.name) }))
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
	path, err := find()
	if err != nil {
		return nil, err
	}
	var t *iptables.IPTables
	err = shield(func() (err error) {
		t, err = iptables.New(iptables.Path(path), iptables.Timeout(lockWait))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%w: asking %q for its version: %w", ErrIPTables, path, plain(err))
	}
	f.found = t
	return t, nil
}

// lacking tells that iptables has said that the kernel has no tables for it; its exit status tells no more than "failed".
// One sentence is that of the legacy back end (iptc_strerror in libiptc/libiptc.c), the others are those of the one for
// nf_tables (nft_init and mnl_genid_get in iptables/nft.c).
func lacking(said string) bool {
	return strings.Contains(said, "Table does not exist (do you need to insmod?)") ||
		strings.Contains(said, "Could not fetch rule set generation id: Invalid argument") ||
		strings.Contains(said, "Failed to initialize nft: Protocol not supported")
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
