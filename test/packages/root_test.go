package packages

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"azimds/test/netns"
	"azimds/test/tools"
)

// system makes a small Debian with systemd in it, as an archive, in the current folder.
const system = `
debootstrap --variant=minbase --include=systemd bookworm root
rm -rf root/var/cache/apt/* root/var/lib/apt/lists/* root/etc/apt/sources.list
tar --numeric-owner -C root -cf root.tar .
rm -r root`

// root is a small Debian in a folder of this test's own.
func root(t *testing.T) string {
	t.Helper()
	netns.Root(t)
	for _, p := range []string{"debootstrap", "tar", "unshare"} {
		_, err := exec.LookPath(p)
		netns.Need(t, p, err)
	}
	dir, err := tools.Install(t, fmt.Sprintf("packages-%x", sha256.Sum256([]byte(system)))[:len("packages-")+12], install)
	netns.Need(t, "a Debian by debootstrap", err)
	place := t.TempDir()
	printed(t, "tar", "--numeric-owner", "-C", place, "-xpf", filepath.Join(dir, "root.tar"))
	if err := os.Chmod(place, 0o755); err != nil { // apt looks into it as a user of its own
		t.Fatal(err)
	}
	return place
}

// install runs the recipe in dir, with its mounts in a namespace of its own.
func install(ctx context.Context, dir string) error {
	cmd := exec.CommandContext(ctx, "sh", "-ec", system)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Unshareflags: syscall.CLONE_NEWNS}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("making a Debian: %w\n%s", err, out)
	}
	return nil
}

// inside runs a shell's command in a root, as in a container without systemd: its first process is this one, and it has no network.
func inside(t *testing.T, root, command string) (out string, ok bool) {
	t.Helper()
	cmd := exec.Command("unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "--root="+root, "sh", "-c", command)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8",
		"DEBIAN_FRONTEND=noninteractive"}
	text, err := cmd.CombinedOutput()
	return string(text), err == nil
}

// must is inside, for what has to go well.
func must(t *testing.T, root, command string) string {
	t.Helper()
	out, ok := inside(t, root, command)
	if !ok {
		t.Fatalf("%s:\n%s", command, out)
	}
	return out
}

// bookkeeping is what package managers keep for themselves, and system ids.
var bookkeeping = []string{"var/lib/dpkg", "var/lib/apt", "var/cache/apt", "var/lib/rpm", "var/log", "etc/group", "etc/group-", "etc/gshadow",
	"etc/gshadow-", "etc/passwd-", "etc/shadow-", "etc/.pwd.lock"}

// snapshot is everything in a root: kind, mode, owner, and what it holds.
func snapshot(t *testing.T, root string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		for _, kept := range bookkeeping {
			if name == kept && d.IsDir() {
				return fs.SkipDir
			} else if name == kept {
				return nil
			}
		}
		all[name], err = described(path, d)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 1000 {
		t.Fatalf("a root of %d files", len(all))
	}
	return all
}

func described(path string, d fs.DirEntry) (string, error) {
	info, err := d.Info()
	if err != nil {
		return "", err
	}
	owner := info.Sys().(*syscall.Stat_t)
	text := fmt.Sprintf("%s %d:%d", info.Mode(), owner.Uid, owner.Gid)
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(path)
		return text + " " + target, err
	case info.Mode().IsRegular():
		data, err := os.ReadFile(path)
		return fmt.Sprintf("%s %x", text, sha256.Sum256(data)), err
	}
	return text, nil
}

// put writes a file in a root.
func put(t *testing.T, root, path, text string) {
	t.Helper()
	path = filepath.Join(root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// there tells which of these paths a root has.
func there(t *testing.T, root string, paths ...string) string {
	t.Helper()
	var found []string
	for _, p := range paths {
		if _, err := os.Lstat(filepath.Join(root, p)); err == nil {
			found = append(found, p)
		}
	}
	return strings.Join(found, " ")
}

// written is a file as "azimds install" writes it.
func written(text string) string {
	return fmt.Sprintf("# Written by \"azimds install\" and removed by \"azimds uninstall\". Changes belong elsewhere: sha256:%x\n%s",
		sha256.Sum256([]byte(text)), text)
}
