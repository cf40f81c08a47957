package azure

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"azimds/imds/token"
)

func TestFindAz(t *testing.T) {
	root := t.TempDir()
	put := func(mode os.FileMode, path ...string) string {
		file := filepath.Join(append([]string{root}, path...)...)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte("#!/bin/sh\n"), mode); err != nil {
			t.Fatal(err)
		}
		return file
	}
	inPATH, local, opt := put(0o755, "path", "az"), put(0o755, "home", ".local", "bin", "az"), put(0o755, "opt", "az")
	put(0o644, "plain", "az")
	if err := os.MkdirAll(filepath.Join(root, "folder", "az"), 0o755); err != nil {
		t.Fatal(err)
	}
	none := filepath.Join(root, "none")
	for _, test := range []struct {
		name, path, home string
		want             string
	}{
		{"PATH first", none + ":" + filepath.Join(root, "path"), filepath.Join(root, "home"), inPATH},
		{"then home", none, filepath.Join(root, "home"), local},
		{"then the rest", none, "", opt},
		{"not a plain file, not a folder", filepath.Join(root, "plain") + ":" + filepath.Join(root, "folder"), "", opt},
		{"nothing relative", "path:.:", "", opt},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Chdir(root)
			env := func(name string) string { return map[string]string{"PATH": test.path, "HOME": test.home}[name] }
			got, err := program{name: "az", dirs: []string{"~/.local/bin", filepath.Join(root, "opt")}}.find(env)
			if err != nil || got != test.want {
				t.Errorf("got %q, %v, want %q", got, err, test.want)
			}
		})
	}
}

func TestFindAzNowhere(t *testing.T) {
	env := func(name string) string {
		return map[string]string{"PATH": "/nowhere:/nowhere/", "HOME": "/home/me"}[name]
	}
	_, err := program{name: "az", title: "the Azure CLI", dirs: []string{"~/bin", "/else"}}.find(env)
	checkError(t, err)
	if !errors.Is(err, token.ErrSignInRequired) {
		t.Errorf("got %v", err)
	}
	if want := "the Azure CLI (az) is neither in PATH nor where its installers put it: not installed"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
