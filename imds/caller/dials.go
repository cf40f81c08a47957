package caller

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Dials says whether the TCP socket with this inode is connected to an IPv4 address, in the network namespace of the calling thread.
// procRoot is where proc(5) is mounted. It reads the table of all connections, for a question that comes seldom.
func Dials(procRoot string, inode uint64, to netip.AddrPort) (bool, error) {
	b := to.Addr().Unmap().As4()
	// The kernel writes each 32 bits of an address as the number that they are to the processor (tcp4_seq_show in net/ipv4/tcp_ipv4.c).
	end := fmt.Sprintf("%08X:%04X", binary.NativeEndian.Uint32(b[:]), to.Port())
	mapped := fmt.Sprintf("%016X%08X", 0, binary.NativeEndian.Uint32([]byte{0, 0, 0xff, 0xff}))
	for name, remote := range map[string]string{"tcp": end, "tcp6": mapped + end} {
		found, err := inTable(filepath.Join(procRoot, "thread-self/net", name), strconv.FormatUint(inode, 10), remote)
		if found || err != nil && !errors.Is(err, fs.ErrNotExist) { // without IPv6 there is no second table
			return found, err
		}
	}
	return false, nil
}

// inTable looks for a socket's line in a table of connections, whose first fields are
//
//	sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode
func inTable(path, inode, remote string) (bool, error) {
	file, err := os.Open(path)
	if err != nil {
		return false, fmt.Errorf("reading connections: %w", err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if !strings.Contains(lines.Text(), remote) {
			continue
		}
		fields := strings.Fields(lines.Text())
		if len(fields) > 9 && fields[2] == remote && fields[9] == inode {
			return true, nil
		}
	}
	if err := lines.Err(); err != nil {
		return false, fmt.Errorf("reading connections in %q: %w", path, err)
	}
	return false, nil
}
