package vm

import (
	"context"
	"crypto/sha256"
	"embed"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"

	"azimds/test/tools"
)

// recipe is all that an image depends on, beside its packages.
//
//go:embed image
var recipe embed.FS

// image returns the folder of the image with these packages, which it builds when it is not there yet. It is in the tests'
// cache folder, named after the digest of its recipe: another recipe is another folder, and an old one may be deleted at any
// time that no test runs.
func image(t testing.TB, packages []string) (string, error) {
	name, err := digest(packages)
	if err != nil {
		return "", err
	}
	return tools.Install(t, "vm-"+name, func(ctx context.Context, dir string) error { return build(ctx, dir, packages) })
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
