package systemd

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"
)

// Store gives the service manager a duplicate of a file, to keep while the service is restarted: FileDescriptorStoreMax= in
// systemd.service(5). The name must have no colon. It does nothing without a NOTIFY_SOCKET.
func Store(name string, file *os.File) error {
	return notifyWith("FDSTORE=1\nFDNAME="+name, file)
}

// Forget has the service manager close what it keeps under a name.
func Forget(name string) error { return notifyWith("FDSTOREREMOVE=1\nFDNAME="+name, nil) }

// Stored are the files that the service manager has kept, by their names. They are handed over once, and to this process alone:
// another call finds none. Of several with one name the last counts, and the others are closed.
func Stored() map[string]*os.File {
	files := map[string]*os.File{}
	for _, f := range activation.Files(true) {
		if earlier, there := files[f.Name()]; there {
			earlier.Close()
		}
		files[f.Name()] = f
	}
	return files
}

// notifyWith is sd_notify_with_fds(3) for one file; nil is none.
func notifyWith(state string, file *os.File) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("telling the service manager: %w", err)
	}
	if file == nil {
		_, err = conn.Write([]byte(state))
	} else {
		err = withFD(conn, func(to int) error { // net.UnixConn sends no rights on a connected socket of this type
			return withFD(file, func(fd int) error {
				return unix.Sendmsg(to, []byte(state), unix.UnixRights(fd), nil, unix.MSG_NOSIGNAL)
			})
		})
	}
	if err := errors.Join(err, conn.Close()); err != nil {
		return fmt.Errorf("telling the service manager: %w", err)
	}
	return nil
}

// withFD calls f with a descriptor. [os.File.Fd] would make the file blocking, for everybody who has a duplicate.
func withFD(of syscall.Conn, f func(fd int) error) error {
	raw, err := of.SyscallConn()
	if err != nil {
		return err
	}
	return errors.Join(raw.Control(func(fd uintptr) { err = f(int(fd)) }), err)
}
