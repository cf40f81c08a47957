package tools

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// interpreter is the real path of the Python that environments are made with, "/usr/bin/python3.11": the first python3 in
// PATH or /usr/bin that can make one. For root it is the first that other users can run too, if there is one: a Python
// from a version manager in root's home is not.
var interpreter = sync.OnceValues(func() (string, error) {
	var first string
	errs := []error{errors.New("looking for a python3 with venv and ensurepip: none in PATH")}
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/bin") {
		file := filepath.Join(dir, "python3")
		if _, err := os.Stat(file); err != nil {
			continue
		}
		// asked of the program itself: what PATH holds may be a script that picks one
		out, err := exec.Command(file, "-c",
			"import ensurepip, os, sys, venv; print(os.path.realpath(sys.executable)); print(sys.base_prefix)").Output()
		if err != nil {
			errs = append(errs, fmt.Errorf("asking %s: %w", file, err))
			continue
		}
		executable, prefix, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		if os.Geteuid() != 0 || open(executable) && open(prefix) {
			return executable, nil
		}
		if first == "" {
			first = executable
		}
	}
	if first == "" {
		return "", errors.Join(errs...)
	}
	return first, nil
})
