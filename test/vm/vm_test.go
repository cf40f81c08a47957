package vm

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPack(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "program")
	if err := os.WriteFile(program, []byte("text"), 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "in.tar")
	if err := pack(path, Spec{Files: map[string]string{"b": program, "a/c": program}, Command: "./b"}); err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	var got []string
	for archive := tar.NewReader(in); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, header.FileInfo().Mode().String()+" "+header.Name+" "+string(text))
	}
	want := []string{"-rw-r--r-- command ./b", "-rwxr-xr-x a/c text", "-rwxr-xr-x b text"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("archive (-want +got):\n%s", diff)
	}
}

func TestPackRefuses(t *testing.T) {
	dir := t.TempDir()
	for name, path := range map[string]string{
		"command": "/dev/null", "../out": "/dev/null", "/abs": "/dev/null", "folder": dir, "missing": filepath.Join(dir, "missing"),
	} {
		err := pack(filepath.Join(dir, "in.tar"), Spec{Files: map[string]string{name: path}})
		if err == nil || !strings.HasPrefix(err.Error(), `packing file "`+name+`": `) {
			t.Errorf("file %q at %q: %v", name, path, err)
		}
	}
}

func TestDigest(t *testing.T) {
	of := func(s Spec) string {
		t.Helper()
		c, err := contentsOf(s)
		if err != nil {
			t.Fatal(err)
		}
		key, err := c.digest()
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	if of(Spec{Packages: []string{"a", "b"}}) != of(Spec{Packages: []string{"b", "a", "b"}, Suite: "bookworm", Memory: 1, Reboots: true}) {
		t.Error("the order of packages, or what is no matter of the image, matters")
	}
	others := []Spec{{}, {Packages: []string{"a"}}, {Packages: []string{"a b"}}, {Packages: []string{"a", "b"}}, {Suite: "trixie"}, {Azure: true}}
	seen := map[string]Spec{}
	for _, s := range others {
		key := of(s)
		if other, ok := seen[key]; ok {
			t.Errorf("%+v and %+v have the same digest", s, other)
		}
		seen[key] = s
	}
}

// A machine whose disk is no disk ends, within its time, in an error that shows what there is to see.
func TestBootFails(t *testing.T) {
	image := t.TempDir()
	for name, content := range map[string]string{"kernel": "no kernel", "initrd": "", "disk": strings.Repeat("\x00", 1<<20)} {
		if err := os.WriteFile(filepath.Join(image, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := prerequisites(); err != nil {
		t.Setenv("PATH", "") // then the emulator is what is missing, and that is an error as well
	}
	_, err := boot(t.Context(), image, t.TempDir(), Spec{Command: "true"})
	if err == nil || !strings.Contains(err.Error(), "running a machine: ") {
		t.Errorf("boot = %v", err)
	}
}

func TestResult(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("output", "said\n")
	if r, err := result(dir); err == nil || r.Output != "said\n" {
		t.Errorf("without an exit code: %+v, %v", r, err)
	}
	write("exit", "")
	if _, err := result(dir); err == nil {
		t.Error("an empty exit code was taken")
	}
	write("exit", "3\n")
	if r, err := result(dir); err != nil || r != (Result{Output: "said\n", Exit: 3}) {
		t.Errorf("result = %+v, %v", r, err)
	}
}
