package holder

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"azimds/test/netns"

	"golang.org/x/sys/unix"
)

// The server's answer is not read for longer than an answer is.
func TestProbeReadsABoundedAnswer(t *testing.T) {
	inNamespace(t, func(ns *netns.NS) {
		r := startRun(t, ns, options(t, "janitor"))
		r.send(Message{Kind: KindHello})
		r.receive(KindOffer)
		r.receive(KindCheck)
		r.send(Message{Kind: KindExpect})
		conn, err := r.endpoint.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		r.send(Message{Kind: KindSeen})
		endless := slices.Concat([]byte("HTTP/1.1 400 Bad Request\r\nServer: IMDS/"), make([]byte, 1<<20))
		_, err = conn.Write(endless) // ends when the other side closes
		for err == nil {
			_, err = conn.Write(endless)
		}
		if got := r.receive(KindFailed); !strings.Contains(got.Failure.Message, "reading the answer") {
			t.Errorf("failed with %q", got.Failure.Message)
		}
		if err := <-r.ended; err == nil {
			t.Error("Run returned nil")
		}
	})
}

// The probe is the owner's to the kernel, and stays the thread's only act as the owner.
func TestProbeIsTheOwners(t *testing.T) {
	netns.Root(t)
	err := netns.New(t).Do(func() error {
		ln, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer ln.Close()
		for _, uid := range []uint32{1234, 0, 65534} {
			p, err := newProbe(Owner{UID: uid})
			if err != nil {
				return err
			}
			defer p.file.Close()
			addr := ln.Addr().(*net.TCPAddr)
			if err := unix.Connect(int(p.file.Fd()), &unix.SockaddrInet4{Addr: addr.AddrPort().Addr().As4(), Port: addr.Port}); err != nil {
				return err
			}
			got, err := uidOf(p.inode)
			if err != nil {
				return err
			}
			if got != uid {
				t.Errorf("the kernel says that the probe is of uid %d, want %d", got, uid)
			}
			if now, err := unix.SetfsuidRetUid(-1); err != nil || now != 0 {
				t.Errorf("the thread's filesystem uid is %d: %v", now, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// uidOf is whose socket has an inode, as proc_net_tcp says for the thread's namespace.
func uidOf(inode uint64) (uint32, error) {
	table, err := os.ReadFile("/proc/thread-self/net/tcp")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		var uid uint32
		if len(fields) > 9 && fields[9] == fmt.Sprint(inode) {
			_, err := fmt.Sscan(fields[7], &uid)
			return uid, err
		}
	}
	return 0, fmt.Errorf("no socket %d in\n%s", inode, table)
}

// A signal that comes while the connection is being made, as the Go runtime sends them, does not end the attempt.
func TestConnectSurvivesASignal(t *testing.T) {
	listening, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(listening)
	if err := unix.Bind(listening, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(listening, 0); err != nil { // one connection fits into the queue
		t.Fatal(err)
	}
	name, err := unix.Getsockname(listening)
	if err != nil {
		t.Fatal(err)
	}
	to := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(name.(*unix.SockaddrInet4).Port))
	first, err := net.Dial("tcp4", to.String())
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	thread, ended := make(chan int, 1), make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			defer unix.Close(fd)
			limit := unix.NsecToTimeval(selfDialLimit.Nanoseconds())
			err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit)
		}
		thread <- unix.Gettid()
		if err == nil {
			err = connect(fd, to)
		}
		ended <- err
	}()
	tid := <-thread
	for interrupted := false; !interrupted; { // until it waits in another system call than connect(2)
		call, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/syscall", tid))
		if err != nil {
			t.Fatal(err)
		}
		switch number, _, _ := strings.Cut(string(call), " "); number {
		case fmt.Sprint(unix.SYS_CONNECT):
			if err := unix.Tgkill(os.Getpid(), tid, unix.SIGURG); err != nil {
				t.Fatal(err)
			}
		case fmt.Sprint(unix.SYS_PPOLL):
			interrupted = true
		}
		select {
		case err := <-ended:
			t.Fatalf("connect: %v", err)
		default:
		}
	}
	for range 2 {
		fd, _, err := unix.Accept(listening)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
	}
	if err := <-ended; err != nil {
		t.Errorf("connect: %v", err)
	}
}
