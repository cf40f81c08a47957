package tools

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestInstallBuildsOnce(t *testing.T) {
	base := t.TempDir()
	var built atomic.Int32
	build := func(_ context.Context, dir string) error {
		built.Add(1)
		return os.WriteFile(filepath.Join(dir, "tool"), []byte("works"), 0o600)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			dir, err := installIn(t.Context(), base, "tool-1", build)
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := os.Stat(filepath.Join(dir, "tool")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := built.Load(); n != 1 {
		t.Errorf("built %d times, want 1", n)
	}
	info, err := os.Stat(filepath.Join(base, "tool-1", "tool"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o644 {
		t.Errorf("mode %v, want it readable by all", info.Mode())
	}
}

func TestInstallStartsOver(t *testing.T) {
	base := t.TempDir()
	want := errors.New("no network")
	_, err := installIn(t.Context(), base, "tool-1", func(_ context.Context, dir string) error {
		if err := os.WriteFile(filepath.Join(dir, "half"), nil, 0o644); err != nil {
			t.Error(err)
		}
		return want
	})
	if !errors.Is(err, want) {
		t.Errorf("error = %v, want %v", err, want)
	}
	dir, err := installIn(t.Context(), base, "tool-1", func(_ context.Context, dir string) error {
		return os.WriteFile(filepath.Join(dir, "whole"), nil, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if diff := cmp.Diff([]string{complete, "whole"}, names); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestOpen(t *testing.T) {
	if missing := "/usr/lib/not/there"; !open(missing) {
		t.Errorf("open(%q) = false where nothing is closed", missing)
	}
	closed := filepath.Join(t.TempDir(), "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{closed, filepath.Join(closed, "not", "there")} {
		if open(dir) {
			t.Errorf("open(%q) = true at or below a closed folder", dir)
		}
	}
}

func TestCacheWithoutHome(t *testing.T) {
	t.Setenv("HOME", "")
	t.Setenv("XDG_CACHE_HOME", "")
	dir, err := cache()
	if err != nil {
		t.Fatal(err)
	}
	if !filepath.IsAbs(dir) || !isDir(dir) {
		t.Errorf("cache() = %q, want a folder", dir)
	}
}

func TestCacheOfOthers(t *testing.T) {
	home := t.TempDir()
	if err := os.Chmod(filepath.Dir(home), 0o755); err != nil { // root looks elsewhere when others cannot pass
		t.Fatal(err)
	}
	t.Setenv("XDG_CACHE_HOME", filepath.Join(home, "missing"))
	dir, err := cache()
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(os.Getenv("XDG_CACHE_HOME"), "azimds-test"); dir != want || !isDir(dir) {
		t.Errorf("cache() = %q, want the folder %q", dir, want)
	}
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
