// Package signin notices, by the files of the Azure CLI, that somebody signed in or out, or chose another subscription or
// cloud.
//
// What holds:
//
//   - Contents are compared, not times: az rewrites its files with what they already held.
//   - What az writes whenever it renews a token (msal_token_cache) is never a change of account. Otherwise each token that
//     is asked for would make the cache forget all of them.
//   - A file that is being written, or cannot be read, counts as unchanged until it can.
//   - Directories may be absent, come later, be replaced or be removed.
//   - Where the kernel grants no watches, files are looked at every few seconds instead.
package signin

import (
	"context"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// settle is how long the files are left alone after the first sign of a change: az login writes several, each in more
	// than one step. What follows is looked at in the same way, so that a second is enough to notice a sign-in.
	settle = 200 * time.Millisecond

	// patrol is how often they are looked at though nothing was signalled: network file systems do not signal what another
	// machine did, nor does a symbolic link that points elsewhere.
	patrol = time.Minute

	// poll is that where there are no signals at all. inotify(7) has limits for each user, which editors use up.
	poll = 5 * time.Second
)

// Change says what was noticed.
type Change int

const (
	// Written: the files differ, and name the same accounts. A tool renewed its tokens, or the same person signed in again.
	// What failed for lack of a sign-in is worth another try; stored tokens are as good as before.
	Written Change = iota + 1
	// Switched: somebody signed in or out, or the default subscription or the cloud is another. Stored tokens may be of the
	// wrong account.
	Switched
)

// String names the change for a log.
func (c Change) String() string {
	switch c {
	case Written:
		return "written"
	case Switched:
		return "switched"
	}
	return "unknown"
}

// AzureCLIFiles are the files in which az keeps who is signed in (azure-cli-core 2.91: _profile.py, cloud.py and
// auth/identity.py), whether they exist or not: in AZURE_CONFIG_DIR, else ~/.azure.
func AzureCLIFiles(getenv func(string) string) []string {
	dir := getenv("AZURE_CONFIG_DIR")
	if dir == "" {
		dir = "~/.azure"
	}
	if rest, ok := strings.CutPrefix(dir, "~/"); ok {
		dir = filepath.Join(getenv("HOME"), rest)
	}
	names := []string{
		"azureProfile.json", "clouds.config", "config",
		"msal_token_cache.json", "msal_token_cache.bin", "service_principal_entries.json", "service_principal_entries.bin",
	}
	for i, name := range names {
		names[i] = filepath.Join(dir, name)
	}
	return names
}

// Watch calls changed for each [Change] of the files until ctx ends, one call at a time, from the caller's goroutine. What
// the files held when it began is no change. Of files that are not az's, any other content is [Switched].
func Watch(ctx context.Context, log *slog.Logger, paths []string, changed func(Change)) {
	w := &watcher{log: log, changed: changed, seen: map[string]content{}}
	for _, path := range paths {
		w.paths = append(w.paths, filepath.Clean(path))
	}
	n, err := fsnotify.NewWatcher()
	if err != nil {
		log.Warn(sightless, "error", err, "every", poll)
		w.run(ctx, nil)
		return
	}
	var listening sync.WaitGroup
	defer listening.Wait()
	defer func() {
		if err := n.Close(); err != nil { // it ends what listens
			log.Debug("no longer watching for sign-ins", "error", err)
		}
	}()
	w.cover = func() error { return cover(n, w.paths) }
	signal := make(chan struct{}, 1)
	listening.Go(func() { w.listen(n, signal) })
	w.run(ctx, signal)
}

// began is logged when the files have been read for the first time: from then on nothing is missed.
const began = "watching for sign-ins"

// sightless is logged when the kernel signals nothing.
const sightless = "watching for sign-ins without inotify"

// watcher is a Watch.
type watcher struct {
	log     *slog.Logger
	paths   []string // clean
	changed func(Change)
	cover   func() error       // makes the kernel signal changes of the paths; nil when it cannot
	blind   bool               // it could not
	seen    map[string]content // by path
}

// listen turns what n tells into signals, until n is closed. It never lets n wait: n may hold the lock then that adding a
// directory needs.
func (w *watcher) listen(n *fsnotify.Watcher, signal chan<- struct{}) {
	errs := n.Errors
	for {
		select {
		case e, open := <-n.Events:
			if !open {
				return
			}
			if !w.concerns(e) {
				continue
			}
		case err, open := <-errs: // something was missed
			if !open {
				errs = nil
				continue
			}
			w.log.Debug("missed what the kernel signalled", "error", err)
		}
		select {
		case signal <- struct{}{}:
		default: // one is waiting already
		}
	}
}

func (w *watcher) run(ctx context.Context, signal <-chan struct{}) {
	w.look()
	w.log.Debug(began, "files", w.paths)
	next := time.NewTimer(w.interval())
	defer next.Stop()
	settling := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-signal:
			if !settling {
				settling = true
				next.Reset(settle)
			}
		case <-next.C:
			settling = false
			if c := w.look(); c != 0 {
				w.changed(c)
			}
			next.Reset(w.interval())
		}
	}
}

// concerns reports whether e is about one of the files or a directory on the way to it.
func (w *watcher) concerns(e fsnotify.Event) bool {
	if !e.Has(fsnotify.Create) && !e.Has(fsnotify.Write) && !e.Has(fsnotify.Remove) && !e.Has(fsnotify.Rename) {
		return false
	}
	return slices.ContainsFunc(w.paths, func(path string) bool {
		return path == e.Name || strings.HasPrefix(path, strings.TrimSuffix(e.Name, "/")+"/")
	})
}

// interval is the time to the next look when nothing is signalled.
func (w *watcher) interval() time.Duration {
	if w.blind || w.cover == nil {
		return poll
	}
	return patrol
}

// look reads the files and says how they differ from those of last time, all of them if there was none; 0 means not at all.
// It sees to the signals first, so that what changes while it reads is signalled.
func (w *watcher) look() Change {
	if w.cover != nil {
		err := w.cover()
		if err != nil && !w.blind {
			w.log.Warn(sightless, "error", err, "every", poll)
		}
		w.blind = err != nil
	}
	var noticed Change
	for _, path := range w.paths {
		now, err := read(path)
		if err != nil {
			w.log.Debug("looking for a sign-in", "error", err)
			continue
		}
		before, known := w.seen[path]
		w.seen[path] = now
		switch {
		case !known || before.who != now.who:
			noticed = Switched
		case before.text != now.text:
			noticed = max(noticed, Written)
		}
	}
	return noticed
}
