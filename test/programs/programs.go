// Package programs builds this repository's programs for tests that run them, also as other users.
package programs

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Program is one to build.
type Program struct {
	Name   string // of the file
	Source string // package, azimds/cmd/azimds
	Tags   string // build tags, separated by commas
}

// Azimds is the program that this repository is about, as it is released.
var Azimds = Program{Name: "azimds", Source: "azimds/cmd/azimds"}

// Build makes a temporary folder that every user can look into, with the programs in it and a copy of each file named, which
// every user can run or read. The caller removes it.
func Build(programs []Program, files ...string) (dir string, err error) {
	if dir, err = os.MkdirTemp("", "azimds-programs-"); err != nil {
		return "", fmt.Errorf("making a folder for programs: %w", err)
	}
	if err := fill(dir, programs, files); err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	return dir, nil
}

func fill(dir string, programs []Program, files []string) error {
	if err := os.Chmod(dir, 0o755); err != nil {
		return fmt.Errorf("opening a folder for programs: %w", err)
	}
	for _, p := range programs {
		args := []string{"build", "-o", filepath.Join(dir, p.Name)}
		if p.Tags != "" {
			args = append(args, "-tags", p.Tags)
		}
		cmd := exec.Command("go", append(args, p.Source)...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("building %q: %w\n%s", p.Source, err, out)
		}
	}
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("copying a program: %w", err)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(path)), data, 0o644); err != nil {
			return fmt.Errorf("copying a program: %w", err)
		}
	}
	return nil
}
