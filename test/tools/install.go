package tools

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// complete marks a folder whose installation ended well.
const complete = ".complete"

// systemCache is where root installs when nobody else can reach its own cache folder.
const systemCache = "/var/cache/azimds-test"

// Install returns the folder of that name in the tests' cache; build fills it when it is not there yet or an earlier build was cut
// short. One process builds, the others wait. build works in the final place, since the scripts of a virtual environment
// hold its path: a folder counts once it is marked complete, last of all. Every user can read what it has made.
func Install(t testing.TB, name string, build func(ctx context.Context, dir string) error) (string, error) {
	t.Helper()
	base, err := cache()
	if err != nil {
		return "", err
	}
	return installIn(t.Context(), base, name, build)
}

func installIn(
	ctx context.Context, base, name string, build func(ctx context.Context, dir string) error,
) (dir string, err error) {
	dir = filepath.Join(base, name)
	if installed(dir) {
		return dir, nil
	}
	lock, err := os.OpenFile(dir+".lock", os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return "", fmt.Errorf("locking the cache: %w", err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }() // which unlocks
	if err := flock(lock); err != nil {
		return "", fmt.Errorf("locking %q: %w", lock.Name(), err)
	}
	if installed(dir) {
		return dir, nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", fmt.Errorf("removing an unfinished installation: %w", err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", fmt.Errorf("making a folder in the cache: %w", err)
	}
	if err := build(ctx, dir); err != nil {
		return "", fmt.Errorf("installing %q: %w", dir, err)
	}
	if err := run(ctx, dir, "chmod", "-R", "a+rX", dir); err != nil { // whatever the umask: other users run it too
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dir, complete), nil, 0o644); err != nil {
		return "", fmt.Errorf("marking an installation complete: %w", err)
	}
	return dir, nil
}

func installed(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, complete))
	return err == nil
}

// flock waits for the lock; it ends with the open file, also when the process dies.
func flock(f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// cache is the folder that holds all installations, made if it is missing: "azimds-test" in the user's cache folder
// ($XDG_CACHE_HOME, else ~/.cache). Tests that run as root also start clients as other users, who cannot look into root's
// home where it is closed, as it mostly is: there it is [systemCache].
func cache() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil { // neither XDG_CACHE_HOME nor HOME is set
		me, err := user.Current()
		if err != nil {
			return "", fmt.Errorf("finding the user's cache folder: %w", err)
		}
		base = filepath.Join(me.HomeDir, ".cache")
	}
	dir := filepath.Join(base, "azimds-test")
	if os.Geteuid() == 0 && !open(dir) {
		if err := makeOpen(systemCache); err == nil {
			return systemCache, nil
		} else if !errors.Is(err, fs.ErrPermission) { // root of a user namespace is nobody outside of it
			return "", err
		}
	}
	return dir, makeOpen(dir)
}

// open says whether any user can pass through dir and all folders above it; those that do not exist yet will be open.
func open(dir string) bool {
	for {
		info, err := os.Stat(dir)
		switch {
		case err == nil && info.Mode()&0o001 == 0:
			return false
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return false
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return true
		}
		dir = parent
	}
}

func makeOpen(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making the cache folder %q: %w", dir, err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return fmt.Errorf("opening the cache folder %q: %w", dir, err)
	}
	return nil
}
