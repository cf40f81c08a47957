package signin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// patience bounds what should happen at once. It measures nothing: only a test that fails waits so long.
const patience = 30 * time.Second

// profile is azureProfile.json as az writes it.
func profile(user, subscription, name string) string {
	return "\xef\xbb\xbf" + fmt.Sprintf(`{"installationId": "i", "subscriptions": [{"id": %q, "name": %q, "state": "Enabled",
		"tenantId": "t", "environmentName": "AzureCloud", "isDefault": true, "user": {"name": %q, "type": "user"}}]}`,
		subscription, name, user)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// put writes a file in one step.
func put(t *testing.T, path, text string) {
	t.Helper()
	aside := filepath.Join(t.TempDir(), "aside")
	write(t, aside, text)
	rename(t, aside, path)
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// azDir is a directory as az leaves it after a sign-in.
func azDir(t *testing.T, user string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "azure")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "azureProfile.json"), profile(user, "s", "n"))
	write(t, filepath.Join(dir, "msal_token_cache.json"), "{}")
	return dir
}

func azFiles(dir string) []string {
	return AzureCLIFiles(func(name string) string { return map[string]string{"AZURE_CONFIG_DIR": dir}[name] })
}

// tells is a log that is closed when it says so.
type tells struct {
	said chan struct{}
	once sync.Once
	what string
}

func (l *tells) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte(l.what)) {
		l.once.Do(func() { close(l.said) })
	}
	return len(line), nil
}

func logTo(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// watching runs Watch on az's files until the test ends.
func watching(t *testing.T, dir string) <-chan Change {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	changes, log := make(chan Change, 16), &tells{said: make(chan struct{}), what: began}
	var watch sync.WaitGroup
	watch.Go(func() { Watch(ctx, logTo(log), azFiles(dir), func(c Change) { changes <- c }) })
	t.Cleanup(func() {
		stop()
		watch.Wait()
	})
	<-log.said
	return changes
}

func noticed(t *testing.T, changes <-chan Change, want Change) {
	t.Helper()
	select {
	case got := <-changes:
		if got != want {
			t.Errorf("noticed %v, want %v", got, want)
		}
	case <-time.After(patience):
		t.Fatalf("noticed nothing, want %v", want)
	}
}

func TestWatchNoticesWhatPeopleDo(t *testing.T) {
	dir := azDir(t, "ann")
	changes := watching(t, dir)
	file := func(name string) string { return filepath.Join(dir, name) }
	for _, step := range []struct {
		name string
		do   func(t *testing.T)
		want Change
	}{
		{"az renews a token", func(t *testing.T) { put(t, file("msal_token_cache.json"), `{"AccessToken": {}}`) }, Written},
		{"az account set", func(t *testing.T) { write(t, file("azureProfile.json"), profile("ann", "s2", "n")) }, Switched},
		{"a subscription is renamed", func(t *testing.T) { write(t, file("azureProfile.json"), profile("ann", "s2", "n2")) }, Written},
		{"az login as another", func(t *testing.T) { write(t, file("azureProfile.json"), profile("bob", "s2", "n2")) }, Switched},
		{"az writes the same, then az logout", func(t *testing.T) {
			write(t, file("azureProfile.json"), profile("bob", "s2", "n2"))
			write(t, file("azureProfile.json"), `{"subscriptions": []}`)
		}, Switched},
		{"az config set defaults.group", func(t *testing.T) { put(t, file("config"), "[defaults]\ngroup = g\n") }, Written},
		{"az cloud set", func(t *testing.T) {
			put(t, file("config"), "[defaults]\ngroup = g\n[cloud]\nname = AzureUSGovernment\n")
		}, Switched},
		{"something else, then az cloud update", func(t *testing.T) {
			write(t, file("commandIndex.json"), "{}")
			put(t, file("clouds.config"), "[AzureUSGovernment]\nsubscription = s3\n")
		}, Switched},
		{"az login --service-principal", func(t *testing.T) { put(t, file("service_principal_entries.json"), `[{"client_id": "c"}]`) }, Switched},
		{"the token cache is deleted", func(t *testing.T) {
			if err := os.Remove(file("msal_token_cache.json")); err != nil {
				t.Fatal(err)
			}
		}, Switched},
	} {
		t.Run(step.name, func(t *testing.T) {
			step.do(t)
			noticed(t, changes, step.want)
		})
	}
}

func TestWatchFollowsTheDirectory(t *testing.T) {
	home := t.TempDir()
	dir := filepath.Join(home, "not", "yet", "azure")
	changes := watching(t, dir)
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		t.Fatal(err)
	}
	rename(t, azDir(t, "ann"), dir)
	noticed(t, changes, Switched)
	rename(t, dir, filepath.Join(home, "away"))
	noticed(t, changes, Switched)
	rename(t, azDir(t, "bob"), dir)
	noticed(t, changes, Switched)
	rename(t, dir, filepath.Join(home, "away too"))
	rename(t, azDir(t, "ann"), dir)
	noticed(t, changes, Switched)
	put(t, filepath.Join(dir, "azureProfile.json"), profile("bob", "s", "n")) // in the new one
	noticed(t, changes, Switched)
	if err := os.RemoveAll(filepath.Join(home, "not")); err != nil {
		t.Fatal(err)
	}
	noticed(t, changes, Switched)
	rename(t, azDir(t, "ann"), filepath.Join(home, "dir"))
	if err := os.MkdirAll(filepath.Join(home, "not"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(home, filepath.Join(home, "not", "yet")); err != nil {
		t.Fatal(err)
	}
	rename(t, filepath.Join(home, "dir"), filepath.Join(home, "azure"))
	noticed(t, changes, Switched)
}

// patrolled runs a watch without a kernel on a fake clock; each value sent is a signal.
func patrolled(t *testing.T, w *watcher, test func(t *testing.T, signal chan<- struct{}, changes func() []Change)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var (
			mu  sync.Mutex
			all []Change
		)
		w.seen = map[string]content{}
		w.changed = func(c Change) {
			mu.Lock()
			defer mu.Unlock()
			all = append(all, c)
		}
		if w.log == nil {
			w.log = slog.New(slog.DiscardHandler)
		}
		ctx, stop := context.WithCancel(t.Context())
		signal := make(chan struct{})
		var run sync.WaitGroup
		run.Go(func() { w.run(ctx, signal) })
		synctest.Wait()
		test(t, signal, func() []Change {
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			return all
		})
		stop()
		run.Wait()
	})
}

func TestWatchLetsTheFilesSettle(t *testing.T) {
	dir := azDir(t, "ann")
	path := filepath.Join(dir, "azureProfile.json")
	patrolled(t, &watcher{paths: azFiles(dir), cover: func() error { return nil }}, func(t *testing.T, signal chan<- struct{}, changes func() []Change) {
		begin := time.Now()
		text := profile("bob", "s", "n")
		for i := range len(text) { // a slow writer: a byte each 10 ms
			write(t, path, text[:i+1])
			signal <- struct{}{}
			if got := changes(); len(got) > 0 && i < len(text)-1 {
				t.Fatalf("noticed %v when byte %d was written", got, i)
			}
			<-time.After(10 * time.Millisecond)
		}
		<-time.After(settle)
		if diff := cmp.Diff([]Change{Switched}, changes()); diff != "" {
			t.Errorf("after %v (-want +noticed):\n%s", time.Since(begin), diff)
		}
	})
}

func TestWatchIsNotKeptFromLookingBySignals(t *testing.T) {
	dir := azDir(t, "ann")
	patrolled(t, &watcher{paths: azFiles(dir), cover: func() error { return nil }}, func(t *testing.T, signal chan<- struct{}, changes func() []Change) {
		write(t, filepath.Join(dir, "azureProfile.json"), profile("bob", "s", "n"))
		for range 100 {
			signal <- struct{}{}
			<-time.After(settle / 50)
		}
		if diff := cmp.Diff([]Change{Switched}, changes()); diff != "" {
			t.Errorf("(-want +noticed):\n%s", diff)
		}
	})
}

func TestWatchLooksWithoutSignals(t *testing.T) {
	for name, test := range map[string]struct {
		cover func() error
		after time.Duration
		warns int
	}{
		"kernel signals":      {func() error { return nil }, patrol, 0},
		"no watches left":     {func() error { return errors.New("no space left on device") }, poll, 1},
		"no inotify whatever": {nil, poll, 0}, // Watch has said so
	} {
		t.Run(name, func(t *testing.T) {
			dir := azDir(t, "ann")
			var log strings.Builder
			patrolled(t, &watcher{paths: azFiles(dir), cover: test.cover, log: logTo(&log)}, func(t *testing.T, _ chan<- struct{}, changes func() []Change) {
				write(t, filepath.Join(dir, "azureProfile.json"), profile("bob", "s", "n"))
				<-time.After(test.after - 1)
				if got := changes(); len(got) != 0 {
					t.Errorf("noticed %v too early", got)
				}
				<-time.After(1)
				if diff := cmp.Diff([]Change{Switched}, changes()); diff != "" {
					t.Errorf("(-want +noticed):\n%s", diff)
				}
				<-time.After(10 * patrol)
			})
			if got := strings.Count(log.String(), sightless); got != test.warns {
				t.Errorf("warned %d times, want %d:\n%s", got, test.warns, log.String())
			}
		})
	}
}

func TestAzureCLIFiles(t *testing.T) {
	for name, test := range map[string]struct {
		env  map[string]string
		want string
	}{
		"home":     {map[string]string{"HOME": "/home/ann"}, "/home/ann/.azure/azureProfile.json"},
		"variable": {map[string]string{"HOME": "/home/ann", "AZURE_CONFIG_DIR": "/srv/az"}, "/srv/az/azureProfile.json"},
		"tilde":    {map[string]string{"HOME": "/home/ann", "AZURE_CONFIG_DIR": "~/az"}, "/home/ann/az/azureProfile.json"},
	} {
		if got := AzureCLIFiles(func(key string) string { return test.env[key] })[0]; got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
}
