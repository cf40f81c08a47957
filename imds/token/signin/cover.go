package signin

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/fsnotify/fsnotify"
)

// attempts bounds how often cover goes after a directory that comes while it looks for it.
const attempts = 10

// cover has n watch the directories of paths, each or, where it is absent, the nearest above it, and nothing else: a home
// directory is a noisy place.
func cover(n *fsnotify.Watcher, paths []string) error {
	var (
		watched []string
		errs    []error
	)
	for _, path := range paths {
		dir := filepath.Dir(path)
		if slices.Contains(watched, dir) {
			continue
		}
		got, err := coverDir(n, dir)
		if err != nil {
			errs = append(errs, fmt.Errorf("watching directory %q: %w", dir, err))
			continue
		}
		watched = append(watched, got)
	}
	for _, dir := range n.WatchList() {
		if slices.Contains(watched, dir) {
			continue
		}
		if err := n.Remove(dir); err != nil && !errors.Is(err, fsnotify.ErrNonExistentWatch) {
			errs = append(errs, fmt.Errorf("no longer watching directory %q: %w", dir, err))
		}
	}
	return errors.Join(errs...)
}

// coverDir returns what it watches.
func coverDir(n *fsnotify.Watcher, dir string) (string, error) {
	at := dir
	for range attempts {
		err := n.Add(at)
		for err != nil && absent(err) && at != filepath.Dir(at) {
			at = filepath.Dir(at)
			err = n.Add(at)
		}
		if err != nil || at == dir {
			return at, err
		}
		below, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(dir, at), "/"), "/")
		if info, err := os.Stat(filepath.Join(at, below)); err != nil || !info.IsDir() {
			return at, nil //nolint:nilerr // it is absent; that it comes will be signalled
		}
		at = dir // it came between the two
	}
	return at, nil
}

func absent(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) }
