package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"azimds/config"
	"azimds/systemd"
)

// fakeManager puts programs in PATH that note how they were called in the order of the calls, and of which the call with number fails
// fails; 0 is none.
func fakeManager(t *testing.T, fails int) (calls func() []string) {
	t.Helper()
	dir := t.TempDir()
	script := "#!/bin/sh\necho \"${0##*/} $*\" >>" + dir + "/calls\n" +
		"if [ $(wc -l <" + dir + "/calls) = " + strconv.Itoa(fails) + " ]; then echo no such luck >&2; exit 1; fi\n"
	for _, name := range []string{"systemctl", "systemd-sysusers", "networkctl"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return func() []string {
		text, err := os.ReadFile(filepath.Join(dir, "calls"))
		if err != nil {
			return nil
		}
		return strings.Split(strings.TrimSpace(string(text)), "\n")
	}
}

// tree is all that is below a folder: each path with its mode, and a file's text.
func tree(t *testing.T, root string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name, text := strings.TrimPrefix(path, root), ""
		if !d.IsDir() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text = string(data)
		}
		found[name] = fmt.Sprintf("%s %s", info.Mode(), text)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// bareRoot is a machine's root with the folders that systemd brings.
func bareRoot(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for _, folder := range []string{"etc/systemd/system", "etc/systemd/network", "etc/NetworkManager/conf.d"} {
		if err := os.MkdirAll(filepath.Join(root, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func put(t *testing.T, path, text string, mode fs.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// bareService is an installation of a bare program, which writes all that one can write.
var bareService = systemd.Service{
	User: "alice", Program: "/usr/local/bin/azimds", Holder: []string{"AZIMDS_USER=alice"}, NetworkManager: true,
}

const serverDropIn = "etc/systemd/system/azimds.service.d/azimds.conf"

// Whichever step of an install or of its end fails, the files are as before, and systemd has been told so.
func TestApplyTakesBack(t *testing.T) {
	for _, kind := range []string{"install", "uninstall"} {
		for fails := 1; ; fails++ {
			root := bareRoot(t)
			put(t, filepath.Join(root, serverDropIn), "[Service]\n# mine\n", 0o600)
			plan := planFor(t, kind, root)
			before := tree(t, root)
			calls := fakeManager(t, fails)
			err := (site{root: root, out: &bytes.Buffer{}}).apply(t.Context(), plan)
			if err == nil {
				if fails < 4 {
					t.Errorf("%s has %d commands alone", kind, fails)
				}
				break
			}
			t.Run(fmt.Sprintf("%s, command %d", kind, fails), func(t *testing.T) {
				if diff := cmp.Diff(before, tree(t, root)); diff != "" {
					t.Errorf("files (-before +after):\n%s", diff)
				}
				for _, want := range []string{"no such luck", "what was done has been taken back"} {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("error %q does not say %q", err, want)
					}
				}
				made := calls()
				failed := made[fails-1]
				if hints := config.Commands(err); strings.HasPrefix(failed, "systemctl") && (len(hints) != 1 || !strings.Contains(hints[0], "journalctl")) {
					t.Errorf("error %q is mended by %q", err, hints)
				}
				checkUndone(t, made, fails)
			})
		}
	}
}

// planFor is a plan that does all: for "uninstall" the install has been done.
func planFor(t *testing.T, kind, root string) systemd.Plan {
	t.Helper()
	fakeManager(t, 0)
	look := func() systemd.Host {
		h, err := lookAtHost(t.Context(), root)
		if err != nil {
			t.Fatal(err)
		}
		h.Enabled, h.AnyEnabled, h.Active, h.AnyActive, h.Group = false, false, false, false, false
		h.Networkd, h.NetworkManager = true, true
		return h
	}
	plan, err := systemd.Install(bareService, look())
	if err != nil {
		t.Fatal(err)
	}
	if kind == "install" {
		return plan
	}
	if err := (site{root: root, out: &bytes.Buffer{}}).apply(t.Context(), plan); err != nil {
		t.Fatal(err)
	}
	h := look()
	h.Enabled, h.AnyEnabled, h.Active, h.AnyActive = true, true, true, true
	return systemd.Uninstall(h)
}

// checkUndone wants each verb that changes a service to be followed by its opposite, and systemd's last word to be the old files'.
func checkUndone(t *testing.T, made []string, fails int) {
	t.Helper()
	opposite := map[string]string{"enable": "disable", "disable": "enable", "restart": "stop", "stop": "start"}
	after := strings.Join(made[fails:], "\n")
	for _, call := range made[:fails] {
		verb := strings.Fields(call)[1]
		if want, ok := opposite[verb]; ok && !strings.Contains(after, "systemctl "+want+" azimds") {
			t.Errorf("%q was not taken back:\n%s", call, strings.Join(made, "\n"))
		}
	}
	if !strings.Contains(after, "systemctl daemon-reload") {
		t.Errorf("systemd was not told that the files are as before:\n%s", strings.Join(made, "\n"))
	}
}

// What is installed is found again, taken away as a whole, and what was there before, and what was edited since, is kept.
func TestApply(t *testing.T) {
	root := bareRoot(t)
	put(t, filepath.Join(root, serverDropIn), "[Service]\n# mine\n", 0o600)
	before := tree(t, root)
	uninstall := planFor(t, "uninstall", root)
	calls := fakeManager(t, 0)
	h, err := lookAtHost(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	h.Group, h.Enabled, h.Active = true, true, true
	again, err := systemd.Install(bareService, h)
	if err != nil || len(again.Steps) > 0 {
		t.Errorf("installing twice does %q, %v", again, err)
	}
	edited := filepath.Join(root, "etc/systemd/system/azimds.service")
	text, err := os.ReadFile(edited)
	if err != nil {
		t.Fatal(err)
	}
	put(t, edited, string(text)+"# mine\n", 0o644)
	if h, err = lookAtHost(t.Context(), root); err != nil {
		t.Fatal(err)
	}
	h.AnyEnabled, h.AnyActive = true, true
	if err := (site{root: root, out: &bytes.Buffer{}}).apply(t.Context(), systemd.Uninstall(h)); err != nil {
		t.Fatal(err)
	}
	delete(before, "/"+serverDropIn)
	before["/"+serverDropIn+".saved"] = "-rw------- [Service]\n# mine\n"
	before["/etc/systemd/system/azimds.service.saved"] = "-rw-r--r-- " + string(text) + "# mine\n"
	if diff := cmp.Diff(before, tree(t, root)); diff != "" {
		t.Errorf("files (-wanted +there):\n%s", diff)
	}
	want := []string{"systemctl disable azimds-net.service azimds.service", "systemctl stop azimds-net.service azimds.service", "systemctl daemon-reload"}
	var changes []string
	for _, call := range calls() {
		if !strings.Contains(call, "is-") {
			changes = append(changes, call)
		}
	}
	if diff := cmp.Diff(want, changes); diff != "" || len(uninstall.Steps) == 0 {
		t.Errorf("commands (-want +got):\n%s", diff)
	}
}

// A step that is interrupted is taken back, too.
func TestApplyInterrupted(t *testing.T) {
	root := bareRoot(t)
	plan, before := planFor(t, "install", root), tree(t, root)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := (site{root: root, out: &bytes.Buffer{}}).apply(ctx, plan); err == nil {
		t.Error("an interrupted install has gone on")
	}
	if diff := cmp.Diff(before, tree(t, root)); diff != "" {
		t.Errorf("files (-before +after):\n%s", diff)
	}
}
