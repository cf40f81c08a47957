package acceptance

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"azimds/test/entra"
	"azimds/test/netns"
	"azimds/test/tools"
)

// files are those that the machine's script and its tests find in their folder.
func files(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{
		"ask":         compile(t, "build", "azimds/test/vm/ask"),
		"load":        compile(t, "build", "azimds/test/acceptance/load"),
		"entra":       compile(t, "build", "azimds/test/entra/cmd/entra"),
		"inside.test": compile(t, "test", "-c", "-tags", "azimdsvm", "azimds/test/acceptance/inside"),
		"client.py":   "../clients/python/client.py",
	}
	for name, version := range map[string]string{"azimds.deb": "1.0.0", "azimds-newer.deb": "1.0.1"} {
		all[name] = deb(t, version)
	}
	add(t, all, "azure", signedIn(t))
	for name, path := range all {
		var err error
		if all[name], err = filepath.Abs(path); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// deb builds a package for the machine.
func deb(t *testing.T, version string) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("../../systemd/package/build", dir, "amd64")
	cmd.Env = append(os.Environ(), "PACKAGES=deb", "VERSION="+version)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building a package: %v\n%s", err, out)
	}
	return filepath.Join(dir, "azimds_"+version+"_amd64.deb")
}

// add adds the files of a folder under another name.
func add(t *testing.T, to map[string]string, name, folder string) {
	t.Helper()
	if err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		below, err := filepath.Rel(folder, path)
		to[filepath.Join(name, below)] = path
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// compile runs the go command for a program that needs no library of the machine's, and returns its path.
func compile(t *testing.T, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	cmd := exec.Command("go", slices.Insert(args, 1, "-o", path)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return path
}

// signedIn is the folder of a real az that is signed in to a stand-in for Entra of the same address as the machine's, in a network
// namespace: az takes a minute for that where it is emulated.
func signedIn(t *testing.T) string {
	t.Helper()
	ns := netns.New(t)
	path := tools.AzureCLI(t)
	var ln net.Listener
	if err := ns.Do(func() (err error) {
		ln, err = net.Listen("tcp", authority)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	srv, err := entra.New(entra.Options{Clients: []entra.Client{{ID: client, Secret: secret}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Start(ln); err != nil {
		t.Fatal(errors.Join(err, ln.Close()))
	}
	defer func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
	}()
	dir := t.TempDir()
	az := entra.Az{
		Path: path, ConfigDir: filepath.Join(dir, "az"), CAFile: filepath.Join(dir, "ca.pem"), URL: srv.URL(),
		Run: func(cmd *exec.Cmd) error { return ns.Do(cmd.Run) },
	}
	if err := os.WriteFile(az.CAFile, srv.CAPEM(), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := az.Login(t.Context(), srv.Tenant(), client, secret); err != nil {
		t.Fatal(err)
	}
	return az.ConfigDir
}
