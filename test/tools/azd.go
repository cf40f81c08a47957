package tools

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"azimds/test/netns"
)

// azdPackage is the program's, in the version that lock/azd.mod requires, which also says how it is renewed: choose a version
// there, and run "go mod download" and "go build -mod=mod" in a folder that has the files as go.mod and go.sum.
const azdPackage = "github.com/azure/azure-dev/cli/azd"

// Azd returns the path of a real azd, the Azure Developer CLI, built from its Go module. It writes to AZD_CONFIG_DIR, else to
// ~/.azd: a test sets the former. Otherwise it is as [AzureCLI]; building it takes some minutes.
func Azd(t testing.TB) string {
	t.Helper()
	program, err := exec.LookPath("go")
	netns.Need(t, "go", err)
	key, err := digest("", "lock/azd.mod", "lock/azd.sum")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := Install(t, "azd-"+key, func(ctx context.Context, dir string) error {
		for from, to := range map[string]string{"lock/azd.mod": "go.mod", "lock/azd.sum": "go.sum"} {
			text, err := locks.ReadFile(from)
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(dir, to), text, 0o644); err != nil {
				return err
			}
		}
		return run(ctx, dir, "env", "CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOWORK=off",
			program, "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(dir, "azd"), azdPackage)
	})
	netns.Need(t, "the Azure Developer CLI", err)
	return filepath.Join(dir, "azd")
}
