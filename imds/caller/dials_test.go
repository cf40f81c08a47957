package caller

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A socket that is connected to the address is, on whichever kind of socket; the other end of it, one that is connected elsewhere and
// one that is not there are not.
func TestDials(t *testing.T) {
	z := newZone(t)
	client, server := z.dial(t, nil)
	var fd int
	z.do(t, func() (err error) {
		if fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		return unix.Connect(fd, &unix.SockaddrInet6{Port: int(imds.Port()), Addr: imds.Addr().As16()})
	})
	defer unix.Close(fd)
	z.accept(t)
	var mapped unix.Stat_t
	if err := unix.Fstat(fd, &mapped); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		inode uint64
		to    netip.AddrPort
		want  bool
	}{
		{"client", inode(t, client), imds, true},
		{"client on an IPv6 socket", mapped.Ino, imds, true},
		{"server", inode(t, server), imds, false},
		{"another port", inode(t, client), netip.AddrPortFrom(imds.Addr(), 81), false},
		{"another address", inode(t, client), netip.MustParseAddrPort("169.254.169.253:80"), false},
		{"no socket", 1, imds, false},
		{"none", 0, imds, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got bool
			z.do(t, func() (err error) {
				got, err = Dials("/proc", tt.inode, tt.to)
				return err
			})
			if got != tt.want {
				t.Errorf("Dials = %t", got)
			}
		})
	}
	if got, err := Dials("/proc", inode(t, client), imds); got || err != nil {
		t.Errorf("in another namespace: Dials = %t, %v", got, err)
	}
}

// Without IPv6 there is one table; one that cannot be read is no answer.
func TestDialsWithoutTables(t *testing.T) {
	proc := t.TempDir()
	if got, err := Dials(proc, 70, imds); got || err != nil {
		t.Errorf("no table: Dials = %t, %v", got, err)
	}
	if err := os.MkdirAll(filepath.Join(proc, "thread-self/net/tcp"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got, err := Dials(proc, 70, imds); got || err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a table that is none: Dials = %t, %v", got, err)
	}
}
