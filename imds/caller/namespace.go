package caller

import (
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// firstPIDNamespace is the inode number of the machine's first namespace of processes: PROC_PID_INIT_INO in
// include/linux/proc_ns.h, which is the same in every kernel.
const firstPIDNamespace = 0xEFFFFFFC

// AmongFew tells whether this process is in a namespace of processes other than the machine's (pid_namespaces(7)), as in a container:
// then it does not see those of others. procRoot is where proc(5) is mounted.
func AmongFew(procRoot string) (bool, error) {
	path := filepath.Join(procRoot, "self/ns/pid")
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return false, fmt.Errorf("reading namespace %q: %w", path, err)
	}
	return st.Ino != firstPIDNamespace, nil
}
