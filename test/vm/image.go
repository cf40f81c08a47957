package vm

import (
	"context"
	"crypto/sha256"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// recipe is all that an image depends on, beside its packages.
//
//go:embed image
var recipe embed.FS

// systemCache is for a root that has no home.
const systemCache = "/var/cache/azimds-test"

// install returns the folder of the image with these packages, which it builds when it is not there yet. It is in
// "azimds-test" in the user's cache folder, named after the digest of its recipe: another recipe is another folder, and an
// old one may be deleted at any time that no test runs. Tests that start at the same time wait for one another.
func install(ctx context.Context, packages []string) (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		base = systemCache
	} else {
		base = filepath.Join(base, "azimds-test")
	}
	name, err := digest(packages)
	if err != nil {
		return "", err
	}
	return installIn(ctx, base, "vm-"+name, func(ctx context.Context, dir string) error { return build(ctx, dir, packages) })
}

// installIn returns the folder of that name. Build fills another one, which gets the name when it is complete: what has the
// name is whole, whenever a build was cut short.
func installIn(
	ctx context.Context, base, name string, build func(ctx context.Context, dir string) error,
) (dir string, err error) {
	dir = filepath.Join(base, name)
	if exists(dir) {
		return dir, nil
	}
	if err := os.MkdirAll(base, 0o755); err != nil {
		return "", fmt.Errorf("making the cache folder: %w", err)
	}
	lock, err := os.OpenFile(dir+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", fmt.Errorf("locking the cache: %w", err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }() // which unlocks
	if err := flock(lock); err != nil {
		return "", fmt.Errorf("locking %q: %w", lock.Name(), err)
	}
	if exists(dir) {
		return dir, nil
	}
	unfinished := dir + ".unfinished"
	if err := os.RemoveAll(unfinished); err != nil {
		return "", fmt.Errorf("removing an unfinished image: %w", err)
	}
	if err := os.Mkdir(unfinished, 0o755); err != nil {
		return "", fmt.Errorf("making a folder in the cache: %w", err)
	}
	if err := build(ctx, unfinished); err != nil {
		return "", errors.Join(fmt.Errorf("building image %q: %w", dir, err), os.RemoveAll(unfinished))
	}
	if err := os.Rename(unfinished, dir); err != nil {
		return "", fmt.Errorf("naming an image: %w", err)
	}
	return dir, nil
}

func exists(dir string) bool {
	_, err := os.Stat(dir)
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

// build runs the recipe in dir. Its mounts are in a namespace of its own, so that none outlives it for a later RemoveAll to
// walk into; and it is a process group of its own, which ends with ctx as a whole.
func build(ctx context.Context, dir string, packages []string) error {
	if err := os.CopyFS(dir, recipe); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "sh", append([]string{"image/build"}, sorted(packages)...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Unshareflags: syscall.CLONE_NEWNS}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("running %q: %w\n%s", cmd.Args, err, out)
	}
	return nil
}

// digest names a recipe with its packages, whatever their order.
func digest(packages []string) (string, error) {
	sum := sha256.New()
	err := fs.WalkDir(recipe, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := recipe.ReadFile(path)
		fmt.Fprintf(sum, "%s %d\n%s", path, len(text), text)
		return err
	})
	fmt.Fprintf(sum, "%q", sorted(packages))
	return fmt.Sprintf("%x", sum.Sum(nil)[:6]), err
}

func sorted(packages []string) []string {
	packages = slices.Clone(packages)
	slices.Sort(packages)
	return slices.Compact(packages)
}
