package caller

import (
	"net"
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
