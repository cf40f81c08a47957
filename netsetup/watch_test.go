package netsetup

import (
	"context"
	"fmt"
	"testing"

	"azimds/test/netns"

	"golang.org/x/sys/unix"
)

// follow starts following bridges and yields what was told, until the test ends.
func follow(t *testing.T, w *BridgeWatch) <-chan []Bridge {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	told := make(chan []Bridge)
	ended := make(chan error, 1)
	go func() {
		ended <- w.Follow(ctx, func(bridges []Bridge, err error) {
			if err != nil {
				t.Error(err)
			}
			select {
			case told <- bridges:
			case <-ctx.Done():
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Follow returned %v", err)
		}
	})
	return told
}

func watching(t *testing.T, ns *netns.NS, names ...string) (w *BridgeWatch) {
	t.Helper()
	do(t, ns, func() (err error) {
		w, err = WatchBridges(names)
		return err
	})
	return w
}

// await waits until bridges are told that are as wanted, printed as names and problems.
func await(t *testing.T, told <-chan []Bridge, want string) (last []Bridge) {
	t.Helper()
	for last = range told {
		said := ""
		for _, b := range last {
			said += fmt.Sprintf("%s %v %s;", b.Name, b.Subnets, b.Problem)
		}
		if said == want {
			return last
		}
		t.Logf("told %q", said)
	}
	return nil
}

// A watch follows a bridge that comes, changes, goes and is made again, in its own namespace, wherever its goroutine runs.
func TestWatchBridges(t *testing.T) {
	ns := netns.New(t)
	told := follow(t, watching(t, ns, "br0"))
	ns.Run(t, "ip", "link", "add", "br0", "type", "bridge")
	await(t, told, "br0 [] it has no IPv4 address;")
	ns.Run(t, "ip", "addr", "add", "10.8.0.1/24", "dev", "br0")
	first := await(t, told, "br0 [10.8.0.0/24] ;")
	ns.Run(t, "sh", "-ec", "ip link add vx0 type vxlan id 7 dstport 4789; ip link set vx0 master br0")
	await(t, told, "br0 [10.8.0.0/24] its port vx0, a device of type vxlan, leads to other machines;")
	ns.Run(t, "ip", "link", "set", "vx0", "nomaster")
	await(t, told, "br0 [10.8.0.0/24] ;")
	ns.Run(t, "ip", "link", "del", "br0")
	await(t, told, "")
	ns.Run(t, "sh", "-ec", "ip link add br0 type bridge; ip addr add 10.8.0.1/24 dev br0")
	if again := await(t, told, "br0 [10.8.0.0/24] ;"); again[0].Index == first[0].Index {
		t.Errorf("the bridge made again has the old index %d", first[0].Index)
	}
}

// What the kernel had no room to tell is found out all the same.
func TestWatchBridgesOverrun(t *testing.T) {
	ns := netns.New(t)
	w := watching(t, ns, "br0")
	if err := unix.SetsockoptInt(int(w.events.Fd()), unix.SOL_SOCKET, unix.SO_RCVBUF, 1); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetNonblock(int(w.events.Fd()), true); err != nil { // which Fd undoes
		t.Fatal(err)
	}
	ns.Run(t, "sh", "-ec", "for n in $(seq 50); do ip link set lo down; ip link set lo up; done; ip link add br0 type bridge")
	if _, _, err := unix.Recvfrom(int(w.events.Fd()), nil, unix.MSG_PEEK); err != unix.ENOBUFS {
		t.Errorf("the socket says %v, want ENOBUFS", err)
	}
	if err := unix.SetNonblock(int(w.events.Fd()), true); err != nil {
		t.Fatal(err)
	}
	ns.Run(t, "sh", "-ec", "for n in $(seq 50); do ip link set lo down; ip link set lo up; done")
	await(t, follow(t, w), "br0 [] it has no IPv4 address;")
}

// A watch that nobody follows ends too.
func TestWatchBridgesClosed(t *testing.T) {
	if err := watching(t, netns.New(t), "br0").Close(); err != nil {
		t.Error(err)
	}
}
