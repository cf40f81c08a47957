package netsetup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// The back ends of iptables, by the names of the programs that drive them.
const (
	backendNFT    = "iptables-nft"
	backendLegacy = "iptables-legacy"
)

// programLimit bounds one run of a program that lists rules: it may wait for the lock for lockWait.
const programLimit = 2 * lockWait * time.Second

// legacyTables lists the tables that the legacy back end has in the calling thread's network namespace. Root alone can read it.
const legacyTables = "/proc/thread-self/net/ip_tables_names"

// Backends are the rules of both back ends of iptables. The kernel obeys both, and each program shows its own alone.
type Backends struct {
	Uses  string   // iptables-nft or iptables-legacy: which of them the program iptables is
	Other string   // the one that has rules besides; "" where only one has any
	Move  []string // commands that show the rules of Other and move them over
}

// ListBackends looks for rules in both back ends, in the calling thread's network namespace. It needs root, and changes nothing:
// a table that is not there is not made by the look. Where there is no iptables, or only one back end, Other is "".
func ListBackends(ctx context.Context) (Backends, error) {
	var b Backends
	listed, err := listBackends(ctx)
	if err != nil || listed.uses == "" {
		return b, err
	}
	b.Uses = listed.uses
	other := backendNFT
	if b.Uses == backendNFT {
		other = backendLegacy
	}
	if !listed.rules[b.Uses].any() || !listed.rules[other].any() {
		return b, nil
	}
	b.Other, b.Move = other, listed.rules[other].moving(other, b.Uses)
	return b, nil
}

// backendRules are the tables of one back end as its program lists them with -S.
type backendRules []struct{ table, listing string }

// listedBackends are both back ends.
type listedBackends struct {
	uses  string
	rules map[string]backendRules
}

func listBackends(ctx context.Context) (l listedBackends, err error) {
	program, err := find()
	if errors.Is(err, ErrNoIPTables) {
		return l, nil
	}
	if err != nil {
		return l, err
	}
	version, err := output(ctx, program, "--version")
	if err != nil {
		return l, err
	}
	l.uses = backendLegacy // before 1.8 there was no other, and its version does not say
	if strings.Contains(version, "nf_tables") {
		l.uses = backendNFT
	}
	l.rules = map[string]backendRules{}
	tables, err := readTables()
	if err != nil {
		return l, err
	}
	for backend, names := range map[string][]string{backendLegacy: tables, backendNFT: {"filter", "nat", "mangle", "raw", "security"}} {
		path := program
		if backend != l.uses {
			if path = systemProgram(backend); path == "" {
				continue
			}
		}
		for _, table := range names {
			listing, err := output(ctx, path, "-w", fmt.Sprint(lockWait), "-t", table, "-S")
			if lacking(fmt.Sprint(err)) {
				continue
			}
			if err != nil {
				return l, err
			}
			l.rules[backend] = append(l.rules[backend], struct{ table, listing string }{table, listing})
		}
	}
	return l, nil
}

// readTables are the tables of the legacy back end.
func readTables() ([]string, error) {
	text, err := os.ReadFile(legacyTables)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // the kernel does not have that back end, or its module is not loaded
	}
	if err != nil {
		return nil, fmt.Errorf("listing the tables of iptables-legacy: %w", err)
	}
	return strings.Fields(string(text)), nil
}

// systemProgram is where a program of the system's is; "" where it is not.
func systemProgram(name string) string {
	for _, folder := range systemFolders {
		if path := filepath.Join(folder, name); executable(path) {
			return path
		}
	}
	return ""
}

// output runs a program that prints something, and returns what it printed.
func output(ctx context.Context, path string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, programLimit)
	defer cancel()
	var out []byte
	err := shield(func() (err error) {
		out, err = exec.CommandContext(ctx, path, args...).Output()
		return err
	})
	if failed, ok := errors.AsType[*exec.ExitError](err); ok {
		return "", fmt.Errorf("running %q: %w: %s", filepath.Base(path)+" "+strings.Join(args, " "), err, strings.TrimSpace(string(failed.Stderr)))
	}
	if err != nil {
		return "", fmt.Errorf("running %q: %w", filepath.Base(path), err)
	}
	return string(out), nil
}

// any tells whether there is a rule, or a policy that does not accept.
func (r backendRules) any() bool {
	for _, t := range r {
		for line := range strings.Lines(t.listing) {
			if strings.HasPrefix(line, "-A ") || strings.HasPrefix(line, "-P ") && !strings.HasSuffix(strings.TrimSpace(line), " ACCEPT") {
				return true
			}
		}
	}
	return false
}

// moving are commands that show what one back end has, add it to the other, and empty the first.
func (r backendRules) moving(from, to string) []string {
	commands := []string{from + "-save", fmt.Sprintf("%s-save | %s-restore --noflush", from, to)}
	for _, t := range r {
		empty := true
		for line := range strings.Lines(t.listing) {
			words := strings.Fields(line)
			if len(words) == 3 && words[0] == "-P" && words[2] != "ACCEPT" {
				commands = append(commands, fmt.Sprintf("%s -t %s -P %s ACCEPT", from, t.table, words[1]))
			}
			empty = empty && words[0] == "-P"
		}
		if !empty {
			commands = append(commands, fmt.Sprintf("%s -t %s -F", from, t.table), fmt.Sprintf("%s -t %s -X", from, t.table))
		}
	}
	return commands
}
