package caller

import (
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"azimds/test/netns"
)

func BenchmarkResolve(b *testing.B) {
	z := newZone(b)
	_, conn := z.dial(b, nil)
	client := remote(conn)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := z.Resolve(client, imds); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkResolveCrowd looks a client up among 10 sockets and among 10 000, in turn, and reports the median of each
// round's ratio of times; 1.5 is the goal, 1 ideal. Each iteration is one round:
//
//	go test -bench ResolveCrowd -benchtime 15x
func BenchmarkResolveCrowd(b *testing.B) {
	const few, many, lookups = 10, 10_000, 2_000
	needDescriptors(b, many+1000)
	z := newZone(b)
	_, conn := z.dial(b, nil)
	client := remote(conn)
	measure := func() time.Duration {
		began := time.Now()
		for range lookups {
			if _, err := z.Resolve(client, imds); err != nil {
				b.Fatal(err)
			}
		}
		return time.Since(began)
	}
	var ratios []float64
	for b.Loop() {
		disperse := z.crowd(b, few-2)
		alone := measure()
		disperse()
		disperse = z.crowd(b, many-2)
		ratios = append(ratios, float64(measure())/float64(alone))
		disperse()
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "ratio")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkFindKnown looks for the process of a connection that was found before, as that of a program's next connection is.
func BenchmarkFindKnown(b *testing.B) {
	z := newZone(b)
	who, _ := z.client(b)
	f := NewFinder("/proc")
	defer f.Close()
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := f.Find(who); !ok {
			b.Fatal("not found")
		}
	}
}

// BenchmarkFindNew looks for the process of a connection for the first time, among so many on the machine. The client is the
// latest of them, or had all the others start after it, which is the worst: the latest are looked into first.
func BenchmarkFindNew(b *testing.B) {
	for _, n := range []int{80, 500} {
		for _, latest := range []bool{true, false} {
			b.Run(fmt.Sprintf("processes=%d/latest=%t", n, latest), func(b *testing.B) { benchmarkFindNew(b, n, latest) })
		}
	}
}

func benchmarkFindNew(b *testing.B, n int, latest bool) {
	z := newZone(b)
	if latest {
		sleepers(b, n)
	}
	who, pid := z.client(b)
	if !latest {
		sleepers(b, n)
	}
	b.ReportAllocs()
	for b.Loop() {
		f := NewFinder("/proc")
		if found, _ := f.Find(who); found.PID != pid {
			b.Fatalf("found %+v, want process %d", found, pid)
		}
		f.Close()
	}
}

// client connects from a process of its own and names who did.
func (z *zone) client(b *testing.B) (Caller, int) {
	b.Helper()
	c := start(b, z.NS, nil, "dial", imds.String())
	who, err := z.Resolve(remote(z.accept(b)), imds)
	if err != nil {
		b.Fatal(err)
	}
	return who, c.cmd.Process.Pid
}

// sleepers starts processes until n run on the machine.
func sleepers(b *testing.B, n int) {
	b.Helper()
	running, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		b.Fatal(err)
	}
	for range n - len(running) {
		cmd := exec.Command("sleep", "600") // should this process be killed, they end all the same
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() {
			_ = cmd.Process.Kill() // it has not ended by itself
			_ = cmd.Wait()         // says how it ended: by this
		})
	}
}

// crowd opens n more sockets, two a connection, and returns what closes them again without leaving TIME_WAIT.
func (z *zone) crowd(b *testing.B, n int) (disperse func()) {
	b.Helper()
	conns := make([]*net.TCPConn, 0, n)
	z.do(b, func() error {
		for len(conns) < n {
			c, err := net.DialTCP("tcp4", nil, net.TCPAddrFromAddrPort(imds))
			if err != nil {
				return err
			}
			conns = append(conns, c)
			if c, err = z.ln.AcceptTCP(); err != nil {
				return err
			}
			conns = append(conns, c)
		}
		return nil
	})
	return func() {
		for _, c := range conns {
			_ = c.SetLinger(0) // leaves a connection in TIME_WAIT if it fails, no more
			c.Close()
		}
	}
}

// needDescriptors needs room for n open files.
func needDescriptors(b *testing.B, n uint64) {
	b.Helper()
	var limit unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit)
	if err == nil && limit.Cur < n {
		err = unix.EMFILE
	}
	netns.Need(b, "room for 10 000 open files", err)
}
