package caller

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"azimds/test/netns"
)

// Uids that need no entry in passwd.
const (
	owner    = 4001
	stranger = 4002
	server   = 4003
)

func TestResolveTellsTwoUsersApart(t *testing.T) {
	netns.Root(t)
	z := newZone(t)
	for _, uid := range []uint32{owner, stranger, 0, owner} {
		client := start(t, z.NS, as(uid), "dial", imds.String())
		conn := z.accept(t)
		got, err := z.Resolve(remote(conn), imds)
		if err != nil {
			t.Fatalf("client of uid %d: %v", uid, err)
		}
		if got.UID != uid {
			t.Errorf("client of uid %d is taken for uid %d", uid, got.UID)
		}
		pid, ok, err := InTree("/proc", got.Inode, client.cmd.Process.Pid)
		if pid != client.cmd.Process.Pid || !ok || err != nil {
			t.Errorf("InTree(inode %d) = %d, %t, %v; want process %d", got.Inode, pid, ok, err, client.cmd.Process.Pid)
		}
	}
}

func TestResolveNeedsNoPrivilege(t *testing.T) {
	netns.Root(t)
	z := newZone(t)
	start(t, z.NS, as(owner), "dial", imds.String())
	conn := z.accept(t)
	want, err := z.Resolve(remote(conn), imds)
	if err != nil {
		t.Fatal(err)
	}
	answer := start(t, z.NS, as(server), "resolve", remote(conn).String(), imds.String()).line
	if want := fmt.Sprintln(want.UID, want.Inode, nil); answer+"\n" != want {
		t.Errorf("uid %d resolves %q, root %q", server, answer, want)
	}
}

func TestResolveUnmappedUserIsUnknown(t *testing.T) {
	netns.Root(t)
	z := newZone(t)
	start(t, z.NS, as(owner), "dial", imds.String())
	conn := z.accept(t)
	userns := &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}},
	}
	answer := start(t, z.NS, userns, "resolve", remote(conn).String(), imds.String()).line
	if !strings.Contains(answer, ErrUnknown.Error()) || !strings.Contains(answer, "overflow uid") {
		t.Errorf("in a user namespace without uid %d: %q, want %q for its overflow uid", owner, answer, ErrUnknown)
	}
}

func TestResolveControlGroup(t *testing.T) {
	root := cgroup2(t)
	dir, err := os.MkdirTemp(root, "azimds-test-")
	netns.Need(t, "a control group of one's own", err)
	t.Cleanup(func() {
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}

	z := newZone(t)
	client := start(t, z.NS, &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(f.Fd())}, "dial", imds.String())
	defer client.end()
	got, err := z.Resolve(remote(z.accept(t)), imds)
	if want := st.Sys().(*syscall.Stat_t).Ino; err != nil || got.Cgroup != want {
		t.Errorf("control group %d, %v; want that of %q, %d", got.Cgroup, err, dir, want)
	}
}

// cgroup2 is where the version 2 hierarchy is mounted.
func cgroup2(t *testing.T) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for mount := range strings.Lines(string(mounts)) {
		if f := strings.Fields(mount); len(f) > 2 && f[2] == "cgroup2" {
			return f[1]
		}
	}
	netns.Need(t, "cgroup2", errors.New("not mounted"))
	return ""
}

func TestResolveClientOnIPv6Socket(t *testing.T) {
	z := newZone(t)
	var fd int
	z.do(t, func() (err error) {
		if fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		return unix.Connect(fd, &unix.SockaddrInet6{Port: int(imds.Port()), Addr: imds.Addr().As16()})
	})
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	from := remote(z.accept(t))
	mapped := netip.AddrPortFrom(netip.AddrFrom16(from.Addr().As16()), from.Port())
	for _, client := range []netip.AddrPort{from, mapped} {
		if got, err := z.Resolve(client, imds); got.Inode != st.Ino || err != nil {
			t.Errorf("Resolve(%s) = %+v, %v; want inode %d", client, got, err, st.Ino)
		}
	}
}

func TestResolveMultipathClient(t *testing.T) {
	z := newZone(t)
	d := net.Dialer{}
	d.SetMultipathTCP(true)
	var client *net.TCPConn
	z.do(t, func() error {
		c, err := d.Dial("tcp4", imds.String())
		if err != nil {
			return err
		}
		client = c.(*net.TCPConn)
		return nil
	})
	defer client.Close()
	got, err := z.Resolve(remote(z.accept(t)), imds)
	if want := self(t, client); got.UID != want.UID || got.Inode != want.Inode || err != nil {
		t.Errorf("Resolve = %+v, %v; want %+v", got, err, want)
	}
}

func TestResolveClientBoundToLoopback(t *testing.T) {
	z := newZone(t)
	client, conn := z.dial(t, func(fd int) error { return unix.BindToDevice(fd, "lo") })
	if s, err := z.diag.find(remote(conn), imds, anyDevice); !errors.Is(err, errNoSocket) {
		t.Errorf("the trap is gone: without a device the kernel says %+v, %v", s, err)
	}
	got, err := z.Resolve(remote(conn), imds)
	if want := self(t, client); got.UID != want.UID || got.Inode != want.Inode || err != nil {
		t.Errorf("Resolve = %+v, %v; want %+v", got, err, want)
	}
}

func TestResolveAnotherNamespace(t *testing.T) {
	z, other := newZone(t), newZone(t)
	_, conn := z.dial(t, nil)
	if got, err := other.Resolve(remote(conn), imds); !errors.Is(err, ErrUnknown) {
		t.Errorf("Resolve = %+v, %v; want %v", got, err, ErrUnknown)
	}
}

func TestResolveOpensWhereItIsFirstAsked(t *testing.T) {
	z := newZone(t)
	client, conn := z.dial(t, nil)
	r := NewResolver()
	defer r.Close()
	var got Caller
	z.do(t, func() (err error) {
		got, err = r.Resolve(remote(conn), imds)
		return err
	})
	if want := self(t, client); got.UID != want.UID || got.Inode != want.Inode {
		t.Errorf("Resolve = %+v; want %+v", got, want)
	}
}

func TestResolveNotIPv4(t *testing.T) {
	v6 := netip.MustParseAddrPort("[fe80::1]:80")
	for _, pair := range [][2]netip.AddrPort{{v6, v6}, {imds, v6}, {v6, imds}, {{}, imds}} {
		if _, err := NewResolver().Resolve(pair[0], pair[1]); !errors.Is(err, ErrUnknown) {
			t.Errorf("Resolve(%s, %s): %v, want %v", pair[0], pair[1], err, ErrUnknown)
		}
	}
}

func TestResolveConcurrently(t *testing.T) {
	const clients, rounds = 8, 100
	z := newZone(t)
	var all sync.WaitGroup
	for range clients {
		client, conn := z.dial(t, nil)
		want := self(t, client)
		all.Go(func() {
			for range rounds {
				got, err := z.Resolve(remote(conn), imds)
				if got.Cgroup = 0; got != want || err != nil {
					t.Errorf("Resolve = %+v, %v; want %+v", got, err, want)
					return
				}
			}
		})
	}
	all.Wait()
}

func TestResolveAllocatesNothing(t *testing.T) {
	z := newZone(t)
	_, conn := z.dial(t, nil)
	client := remote(conn)
	allocs := testing.AllocsPerRun(100, func() {
		if _, err := z.Resolve(client, imds); err != nil {
			t.Error(err)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations a lookup", allocs)
	}
}

func TestResolveAfterClose(t *testing.T) {
	z := newZone(t)
	_, conn := z.dial(t, nil)
	for range 2 {
		if err := z.Close(); err != nil {
			t.Error(err)
		}
		if _, err := z.Resolve(remote(conn), imds); !errors.Is(err, net.ErrClosed) || errors.Is(err, ErrUnknown) {
			t.Errorf("Resolve after Close: %v, want %v", err, net.ErrClosed)
		}
	}
}
