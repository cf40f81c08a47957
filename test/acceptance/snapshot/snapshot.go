// Package snapshot records what a program could leave on a machine, which is links, addresses, routes, rules and files, and tells
// two records apart.
package snapshot

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Snapshot is a machine at one time.
type Snapshot struct {
	Network map[string]string // what a command printed, by its words
	Files   map[string]string // what a file is, by its path
}

// commands say all that a network namespace is made of here.
var commands = []string{
	"ip -o link", "ip -o address", "ip route show table all", "ip -6 route show table all", "ip rule", "ip -6 rule",
	"iptables-save", "ip6tables-save", "nft list ruleset",
}

// Take records the network and the files below the folders, but for those below the folders that are to be left unread.
func Take(ctx context.Context, folders, unread []string) (Snapshot, error) {
	s := Snapshot{Network: map[string]string{}, Files: map[string]string{}}
	for _, command := range commands {
		words := strings.Fields(command)
		out, err := exec.CommandContext(ctx, words[0], words[1:]...).Output()
		if err != nil {
			return s, fmt.Errorf("running %q: %w", command, err)
		}
		s.Network[command] = rules(string(out))
	}
	for _, folder := range folders {
		if err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
			if slices.Contains(unread, path) {
				return fs.SkipDir
			}
			return s.file(path, d, err)
		}); err != nil {
			return s, fmt.Errorf("reading folder %q: %w", folder, err)
		}
	}
	return s, nil
}

var (
	comment    = regexp.MustCompile(`(?m)^#.*\n`)
	counters   = regexp.MustCompile(`\[\d+:\d+\]|counter packets \d+ bytes \d+ ?`)
	emptyTable = regexp.MustCompile(`(?m)^\*\w+\n(:[^\n]*\n)*COMMIT\n`)
	emptyChain = regexp.MustCompile(`(?m)^\tchain \w+ \{\n(\t\ttype [^\n]*policy accept;\n)?\t\}\n`)
	emptyNft   = regexp.MustCompile(`(?m)^table [^\n]+ \{\n\n*\}\n`)
)

// rules are what was printed without comments, counters, and chains and tables in which nothing is: who looks with iptables makes
// those, too, and they do nothing.
func rules(printed string) string {
	for _, of := range []*regexp.Regexp{comment, counters, emptyTable, emptyChain, emptyNft} {
		printed = of.ReplaceAllString(printed, "")
	}
	return printed
}

// hashed are the folders whose files are compared by what is in them, and not by the time at which they were written.
var hashed = []string{"/etc/", "/home/"}

func (s Snapshot) file(path string, d fs.DirEntry, err error) error {
	if errors.Is(err, fs.ErrNotExist) { // gone since its folder was read
		return nil
	}
	if err != nil {
		return err
	}
	info, err := d.Info()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	line := info.Mode().String()
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		line += fmt.Sprintf(" %d:%d", st.Uid, st.Gid)
	}
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(path)
		if err != nil {
			return err
		}
		line += " -> " + target
	case info.Mode().IsRegular() && slices.ContainsFunc(hashed, func(dir string) bool { return strings.HasPrefix(path, dir) }):
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		line += fmt.Sprintf(" %d bytes %x", len(text), sha256.Sum256(text))
	case info.Mode().IsRegular():
		line += fmt.Sprintf(" %d bytes of %s", info.Size(), info.ModTime().UTC().Format(time.RFC3339Nano))
	}
	s.Files[path] = line
	return nil
}

// Exception is a file that may differ, or with a slash at its end a folder that may and all below it. Path is a pattern of
// [path.Match].
type Exception struct{ Path, Why string }

func (e Exception) covers(file string) bool {
	pattern, below := strings.CutSuffix(e.Path, "/")
	for {
		if ok, err := path.Match(pattern, file); err == nil && ok {
			return true
		}
		if !below || file == "/" {
			return false
		}
		file = path.Dir(file)
	}
}

// Differences are what differs, a line each, but for the exceptions.
func Differences(before, after Snapshot, except []Exception) []string {
	var all []string
	for _, command := range commands {
		if before.Network[command] != after.Network[command] {
			all = append(all, fmt.Sprintf("%s: was\n%s\nis\n%s", command, before.Network[command], after.Network[command]))
		}
	}
	paths := maps.Clone(before.Files)
	maps.Copy(paths, after.Files)
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		was, had := before.Files[path]
		is, has := after.Files[path]
		switch {
		case slices.ContainsFunc(except, func(e Exception) bool { return e.covers(path) }):
		case !had:
			all = append(all, fmt.Sprintf("%s: is new, %s", path, is))
		case !has:
			all = append(all, fmt.Sprintf("%s: is gone, was %s", path, was))
		case was != is:
			all = append(all, fmt.Sprintf("%s: was %s, is %s", path, was, is))
		}
	}
	return all
}
