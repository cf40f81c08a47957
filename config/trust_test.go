package config

import (
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// host is a fake file tree: who owns what, and how it may be used. What it does not list is not there.
type host map[string]status

func (h host) lstat(path string) (status, error) {
	s, ok := h[path]
	if !ok {
		return status{}, &fs.PathError{Op: "lstat", Path: path, Err: fs.ErrNotExist}
	}
	return s, nil
}

func TestRootOnly(t *testing.T) {
	const path = "/etc/azimds/config.yaml"
	sound := host{
		"/":           {mode: fs.ModeDir | 0o755},
		"/etc":        {mode: fs.ModeDir | 0o755},
		"/etc/azimds": {mode: fs.ModeDir | 0o755},
		path:          {mode: 0o644},
	}
	tests := []struct {
		name   string
		at     string
		status status
		want   string
	}{
		{name: "as it should be", at: path, status: status{mode: 0o600}},
		{"another's file", path, status{uid: 1000, mode: 0o644},
			`"/etc/azimds/config.yaml" belongs to uid 1000, not to root: sudo chown root:root '/etc/azimds/config.yaml' && sudo chmod go-w '/etc/azimds/config.yaml'`},
		{"group writes file", path, status{mode: 0o664},
			`"/etc/azimds/config.yaml" has mode 0664, others than root can write it: sudo chmod go-w '/etc/azimds/config.yaml'`},
		{"all write file", path, status{mode: 0o646},
			`"/etc/azimds/config.yaml" has mode 0646, others than root can write it: sudo chmod go-w '/etc/azimds/config.yaml'`},
		{"link", path, status{mode: fs.ModeSymlink | 0o777},
			`"/etc/azimds/config.yaml" is a symbolic link: namei -l '/etc/azimds/config.yaml'`},
		{"another's folder", "/etc/azimds", status{uid: 1000, mode: fs.ModeDir | 0o755},
			`"/etc/azimds" belongs to uid 1000, not to root: sudo chown root:root '/etc/azimds' && sudo chmod go-w '/etc/azimds'`},
		{"group writes folder", "/etc/azimds", status{mode: fs.ModeDir | 0o775},
			`"/etc/azimds" has mode 0775, others than root can write it: sudo chmod go-w '/etc/azimds'`},
		{"all write folder, sticky", "/etc/azimds", status{mode: fs.ModeDir | fs.ModeSticky | 0o777},
			`"/etc/azimds" has mode 0777, others than root can write it: sudo chmod go-w '/etc/azimds'`},
		{"link to folder", "/etc/azimds", status{mode: fs.ModeSymlink | 0o777},
			`"/etc/azimds" is a symbolic link: namei -l '/etc/azimds/config.yaml'`},
		{"folder above", "/etc", status{uid: 1000, mode: fs.ModeDir | 0o755},
			`"/etc" belongs to uid 1000, not to root: namei -l '/etc/azimds/config.yaml'`},
		{"top", "/", status{mode: fs.ModeDir | 0o777},
			`"/" has mode 0777, others than root can write it: namei -l '/etc/azimds/config.yaml'`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := maps.Clone(sound)
			h[tt.at] = tt.status
			g := guard{lstat: h.lstat, own: filepath.Dir(path)}
			if diff := cmp.Diff(tt.want, mended(g.rootOnly(path))); diff != "" {
				t.Errorf("finding (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPrivilegedKeys(t *testing.T) {
	for _, k := range keys {
		set := settings[k.Name]
		path := write(t, set.yaml)
		by := "by " + k.Env()
		if k.Flag != "" {
			by = "by --" + k.Flag + ", " + by
		}
		denied := fmt.Sprintf(`%q: %s may be set %s or in a file that root alone can write, such as /etc/azimds/config.yaml: `+
			`%q belongs to uid 1000, not to root: "${EDITOR:-vi}" '%s'`, path, k.Name, by, path, path)
		distrusted := fmt.Sprintf(`reading configuration: %q belongs to uid 1000, not to root: sudo chown root:root '%s' && sudo chmod go-w '%s'`,
			path, path, path)
		tests := []struct {
			name    string
			sources Sources
			alice   string // the error when the file is hers
		}{
			{"system", Sources{System: path}, distrusted},
			{"user", Sources{User: path}, denied},
			{"named", Sources{File: path}, denied},
			{"system for root", Sources{System: path, RootOnly: true}, distrusted},
			{"user for root", Sources{User: path, RootOnly: true}, ""},
			{"named for root", Sources{File: path, RootOnly: true}, distrusted},
		}
		for _, tt := range tests {
			t.Run(k.Name+"/"+tt.name, func(t *testing.T) {
				want := tt.alice
				if want == denied && k.Class != Privileged {
					want = ""
				}
				_, err := load(tt.sources, guard{lstat: alicesHost})
				if diff := cmp.Diff(want, mended(err)); diff != "" {
					t.Errorf("alice's file (-want +got):\n%s", diff)
				}
				if _, err := load(tt.sources, guard{lstat: rootsHost}); err != nil {
					t.Errorf("root's file: %v", err)
				}
			})
		}
	}
}

func TestRootIgnoresUserFile(t *testing.T) {
	user := write(t, "tenant: user.example")
	got, err := load(Sources{User: user, RootOnly: true}, guard{lstat: rootsHost})
	if err != nil || got.Config.Tenant != "" {
		t.Errorf("tenant = %q, err = %v", got.Config.Tenant, err)
	}
}

// The rule on the real file system: a temporary folder is never root's alone all the way up.
func TestRootOnlyReal(t *testing.T) {
	path := write(t, "mode: iptables")
	_, err := Load(Sources{File: path})
	if err == nil {
		t.Fatal("believed mode from a temporary folder")
	}
	if _, err := Load(Sources{File: write(t, "credential: emulated")}); err != nil {
		t.Errorf("ordinary key: %v", err)
	}
}
