package docker

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"azimds/test/agent"
)

// removeGroups ends what is left of the processes of a control group, each of which is a failure of the test, and removes it from each
// hierarchy.
func removeGroups(t testing.TB, group string) {
	t.Helper()
	roots, err := hierarchies()
	if err != nil {
		t.Error(err)
	}
	for _, root := range roots {
		top := filepath.Join(root, group)
		for deadline := time.Now().Add(agent.Patience); ; time.Sleep(10 * time.Millisecond) {
			left := processes(top)
			if len(left) == 0 {
				break
			}
			if time.Now().Before(deadline) {
				continue // a process that has ended may not have been waited for
			}
			for pid, command := range left {
				t.Errorf("process %d outlives the engine: %s", pid, command)
				if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
					t.Error(err)
				}
			}
		}
		if err := removeGroup(top); err != nil {
			t.Error(err)
		}
	}
}

// processes are those in a control group and below it, by their ids, with their command lines.
func processes(top string) map[int]string {
	found := map[int]string{}
	_ = filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "cgroup.procs" {
			return nil //nolint:nilerr // a group that goes meanwhile has no processes
		}
		list, err := os.ReadFile(path)
		if err != nil {
			return nil //nolint:nilerr // likewise
		}
		for field := range strings.FieldsSeq(string(list)) {
			if pid, err := strconv.Atoi(field); err == nil {
				line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
				found[pid] = strings.ReplaceAll(string(line), "\x00", " ")
			}
		}
		return nil
	})
	return found
}

// removeGroup removes a control group and those below it, if it is there. The kernel says that a group is busy as long as what was in
// it has not quite gone.
func removeGroup(top string) error {
	var dirs []string
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	for _, dir := range slices.Backward(dirs) {
		err := os.Remove(dir)
		for deadline := time.Now().Add(agent.Patience); errors.Is(err, unix.EBUSY) && time.Now().Before(deadline); {
			err = os.Remove(dir)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing control group %q: %w", dir, err)
		}
	}
	return err
}

// hierarchies are where control groups are mounted, of version 1 and 2.
func hierarchies() ([]string, error) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, fmt.Errorf("looking for control groups: %w", err)
	}
	var found []string
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 2 && (f[2] == "cgroup" || f[2] == "cgroup2") {
			found = append(found, f[1])
		}
	}
	return found, nil
}

// unified is where control groups of version 2 are mounted.
func unified() (string, error) {
	roots, err := hierarchies()
	if err != nil {
		return "", err
	}
	for _, root := range roots {
		var st unix.Statfs_t
		if err := unix.Statfs(root, &st); err == nil && st.Type == unix.CGROUP2_SUPER_MAGIC {
			return root, nil
		}
	}
	return "", fs.ErrNotExist
}
