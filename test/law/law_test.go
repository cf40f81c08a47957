// Package law holds the import law: which package may know which. The linter says it while one writes, this test where no
// linter runs.
package law

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

type listed struct {
	ImportPath string
	Imports    []string
}

// packages are the shipped packages with their own imports; tests' imports are their own matter.
func packages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "azimds/...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if !below(p.ImportPath, "azimds/test") {
			all = append(all, p)
		}
	}
}

func below(path, root string) bool { return path == root || strings.HasPrefix(path, root+"/") }

// TestTreesStandAlone: config, imds, netsetup and systemd do not import one another; cmd joins them.
func TestTreesStandAlone(t *testing.T) {
	trees := []string{"azimds/config", "azimds/imds", "azimds/netsetup", "azimds/systemd"}
	seen := 0
	for _, p := range packages(t) {
		at := slices.IndexFunc(trees, func(tree string) bool { return below(p.ImportPath, tree) })
		if at < 0 {
			continue
		}
		seen++
		for _, i := range p.Imports {
			if below(i, "azimds") && !below(i, trees[at]) {
				t.Errorf("%s imports %s", p.ImportPath, i)
			}
		}
	}
	if seen < 9 {
		t.Errorf("only %d packages were looked at", seen)
	}
}

// TestLibrariesStayAtHome: each of these libraries is one package's to know.
func TestLibrariesStayAtHome(t *testing.T) {
	homes := map[string][]string{
		"github.com/spf13/viper":            {"azimds/config"},
		"github.com/spf13/cobra":            {"azimds/cmd/azimds", "azimds/cmd/azimds/manual"},
		"github.com/Azure/azure-sdk-for-go": {"azimds/imds/token/azure"},
		"github.com/vishvananda/netlink":    {"azimds/netsetup", "azimds/imds/caller"},
		"github.com/coreos/go-iptables":     {"azimds/netsetup"},
		"github.com/coreos/go-systemd":      {"azimds/systemd"},
		"os/exec":                           {"azimds/cmd/azimds", "azimds/netsetup", "azimds/netsetup/holder"},
		"github.com/golang-jwt/jwt":         {"azimds/imds/token/emulated"},
	}
	used := map[string]bool{}
	for _, p := range packages(t) {
		for _, i := range p.Imports {
			for library, home := range homes {
				if !below(i, library) {
					continue
				}
				used[library] = true
				if !slices.Contains(home, p.ImportPath) {
					t.Errorf("%s imports %s, which is for %q", p.ImportPath, i, home)
				}
			}
		}
	}
	for library := range homes {
		if !used[library] {
			t.Errorf("nobody imports %s any more: take it off the list", library)
		}
	}
}
