package vm

import (
	"context"
	"crypto/sha256"
	"embed"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"azimds/test/tools"
)

// recipe is all that an image depends on, beside its packages.
//
//go:embed image
var recipe embed.FS

// venvPackages are what makes a virtual environment.
var venvPackages = []string{"python3", "python3-venv", "ca-certificates"}

// contents are what an image is made of beside its recipe.
type contents struct {
	suite    string
	packages []string
	lists    map[string]string // what pip installs, by the name of a virtual environment
}

func contentsOf(s Spec) (contents, error) {
	c := contents{suite: s.Suite, packages: slices.Clone(s.Packages)}
	if c.suite == "" {
		c.suite = defaultSuite
	}
	if s.Azure {
		var err error
		if c.lists, err = tools.Requirements(); err != nil {
			return contents{}, err
		}
		c.packages = append(c.packages, venvPackages...)
	}
	slices.Sort(c.packages)
	c.packages = slices.Compact(c.packages)
	return c, nil
}

// image returns the folder of a machine's image, which it builds when it is not there yet. It is in the tests' cache folder, named
// after the digest of its recipe: another recipe is another folder, and an old one may be deleted at any time that no test runs.
func image(t testing.TB, s Spec) (string, error) {
	c, err := contentsOf(s)
	if err != nil {
		return "", err
	}
	name, err := c.digest()
	if err != nil {
		return "", err
	}
	return tools.Install(t, "vm-"+name, c.build)
}

// build runs the recipe in dir. Its mounts are in a namespace of its own, so that none outlives it for a later RemoveAll to
// walk into; and it is a process group of its own, which ends with ctx as a whole.
func (c contents) build(ctx context.Context, dir string) error {
	if err := os.CopyFS(dir, recipe); err != nil {
		return err
	}
	for name, list := range c.lists {
		if err := os.WriteFile(filepath.Join(dir, "image", name+".txt"), []byte(list), 0o644); err != nil {
			return err
		}
	}
	cmd := exec.CommandContext(ctx, "sh", append([]string{"image/build", c.suite}, c.packages...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Unshareflags: syscall.CLONE_NEWNS}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("running %q: %w\n%s", cmd.Args, err, out)
	}
	return nil
}

// digest names a recipe with what it is given.
func (c contents) digest() (string, error) {
	sum := sha256.New()
	err := fs.WalkDir(recipe, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := recipe.ReadFile(path)
		fmt.Fprintf(sum, "%s %d\n%s", path, len(text), text)
		return err
	})
	fmt.Fprintf(sum, "%q %q %q", c.suite, c.packages, c.lists) // a map prints in the order of its keys
	return fmt.Sprintf("%x", sum.Sum(nil)[:6]), err
}
