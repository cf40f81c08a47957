package tools

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"azimds/test/clients/java"
	"azimds/test/clients/rust"
	"azimds/test/netns"
)

// copyJars is the Maven goal that puts a project's dependencies into a folder. Maven has no lock file: the versions follow
// from pom.xml, and the digests of what arrived are compared with jars.sha256.
const copyJars = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"

// JavaClient returns the command that azimds/test/clients/java is started with, to which its arguments are appended;
// otherwise it is as [AzureCLI].
func JavaClient(t testing.TB) []string {
	t.Helper()
	program, err := exec.LookPath("java")
	netns.Need(t, "java", err)
	key, err := digest("", "lock/pom.xml", "lock/jars.sha256")
	if err != nil {
		t.Fatal(err)
	}
	if key, err = digestFS(key, java.Source); err != nil {
		t.Fatal(err)
	}
	dir, err := Install(t, "java-"+key, buildJava)
	netns.Need(t, "the Azure SDK for Java", err)
	// the quick compiler alone: a client lives for seconds
	return []string{program, "-XX:TieredStopAtLevel=1",
		"-cp", filepath.Join(dir, "classes") + ":" + filepath.Join(dir, "jars", "*"), "Client"}
}

func buildJava(ctx context.Context, dir string) error {
	pom, err := locks.ReadFile("lock/pom.xml")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "pom.xml"), pom, 0o644); err != nil {
		return err
	}
	if err := os.CopyFS(dir, java.Source); err != nil {
		return err
	}
	if err := run(ctx, dir, "mvn", "-q", "-B", copyJars, "-DoutputDirectory=jars", "-DincludeScope=runtime"); err != nil {
		return err
	}
	if err := verifyJars(filepath.Join(dir, "jars")); err != nil {
		return err
	}
	return run(ctx, dir, "javac", "--release", "17", "-cp", filepath.Join("jars", "*"), "-d", "classes", "Client.java")
}

// verifyJars compares a folder with jars.sha256: the same files, no more and no fewer, with the same content.
func verifyJars(dir string) error {
	want, err := locks.ReadFile("lock/jars.sha256")
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var got strings.Builder
	for _, e := range entries { // in the order of names, as the list is
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&got, "%x  %s\n", sha256.Sum256(data), e.Name())
	}
	if got.String() != string(want) {
		return fmt.Errorf("verifying the jars in %q: they differ from lock/jars.sha256; these arrived:\n%s", dir, got.String())
	}
	return nil
}

// RustClient returns the path of the program in azimds/test/clients/rust; otherwise it is as [AzureCLI].
func RustClient(t testing.TB) string {
	t.Helper()
	cargo, err := exec.LookPath("cargo")
	netns.Need(t, "cargo", err)
	key, err := digestFS("", rust.Source)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := Install(t, "rust-"+key, func(ctx context.Context, dir string) error {
		if err := os.CopyFS(dir, rust.Source); err != nil {
			return err
		}
		if err := run(ctx, dir, cargo, "build", "--quiet", "--locked", "--target-dir", "target"); err != nil {
			return err
		}
		if err := os.Rename(filepath.Join(dir, "target", "debug", "client"), filepath.Join(dir, "client")); err != nil {
			return err
		}
		return os.RemoveAll(filepath.Join(dir, "target")) // 200 MB that nobody needs again
	})
	netns.Need(t, "the Azure SDK for Rust", err)
	return filepath.Join(dir, "client")
}

// digestFS is as [digest], of all files in fsys.
func digestFS(on string, fsys fs.FS) (string, error) {
	sum := sha256.New()
	fmt.Fprintln(sum, on)
	err := fs.WalkDir(fsys, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(fsys, path)
		fmt.Fprintf(sum, "%s %d\n%s", path, len(text), text)
		return err
	})
	return fmt.Sprintf("%x", sum.Sum(nil)[:6]), err
}
