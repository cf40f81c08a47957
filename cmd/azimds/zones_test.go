package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"azimds/imds"
	"azimds/netsetup/holder"
)

// fakeZoneServer serves bridges without a client: it says which it began with, and which ended.
type fakeZoneServer struct {
	began chan *imds.Zone
	ended chan string
	err   error // ends serving at once
}

func newFakeZoneServer() *fakeZoneServer {
	return &fakeZoneServer{began: make(chan *imds.Zone, 10), ended: make(chan string, 10)}
}

func (s *fakeZoneServer) ServeZone(ctx context.Context, ln net.Listener, z *imds.Zone) error {
	s.began <- z
	if s.err != nil {
		return errors.Join(s.err, ln.Close())
	}
	<-ctx.Done()
	s.ended <- z.Bridge
	return ln.Close()
}

// listenerFile is a listener, as the holder sends it.
func listenerFile(t *testing.T) []*os.File {
	t.Helper()
	ln, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	file, err := ln.File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return []*os.File{file}
}

// The bridges are served as the holder says: one that comes is, one that is there already only gets other addresses, and one that is
// gone, is not to be served or was made again is no longer.
func TestZonesFollow(t *testing.T) {
	s := newFakeZoneServer()
	ctx, cancel := context.WithCancel(t.Context())
	z := newZones(ctx, s, slog.New(slog.DiscardHandler))
	bridge := func(index int, address string) holder.Zone {
		prefix := netip.MustParsePrefix(address)
		return holder.Zone{Name: "br0", Index: index, Addresses: []netip.Addr{prefix.Addr()}, Subnets: []netip.Prefix{prefix.Masked()}}
	}
	follow := func(b holder.Zone, files []*os.File) {
		t.Helper()
		if err := z.follow(holder.Message{Kind: holder.KindZone, Zone: &b}, files); err != nil {
			t.Fatal(err)
		}
	}
	serves := func(z *imds.Zone, address string, want bool) {
		t.Helper()
		if got := z.Contains(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s is behind the bridge: %t", address, got)
		}
	}
	known := func(want ...holder.Zone) {
		t.Helper()
		if diff := cmp.Diff(want, z.list(), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
			t.Errorf("known (-want +got):\n%s", diff)
		}
	}
	nothingNew := func() {
		t.Helper()
		if len(s.began)+len(s.ended) != 0 {
			t.Errorf("%d began and %d ended", len(s.began), len(s.ended))
		}
	}

	first := bridge(3, "10.8.0.1/24")
	follow(first, listenerFile(t))
	served := <-s.began
	known(first)
	serves(served, "10.8.0.2", true)
	serves(served, "10.8.0.1", false) // the bridge itself
	serves(served, "10.9.0.2", false)
	serves(served, "fe80::2", false)

	moved := bridge(3, "10.9.0.1/24")
	follow(moved, listenerFile(t))
	nothingNew()
	known(moved)
	serves(served, "10.9.0.2", true)
	serves(served, "10.8.0.2", false)

	again := bridge(4, "10.8.0.1/24")
	follow(again, listenerFile(t))
	<-s.ended
	<-s.began
	known(again)

	bad := again
	bad.Problem = "it has no IPv4 address"
	follow(bad, nil)
	<-s.ended
	known(bad)

	follow(again, listenerFile(t)) // the same device, whose listener had been closed
	<-s.began
	known(again)

	follow(holder.Zone{Name: "br0", Index: 4, Gone: true}, nil)
	<-s.ended
	known()
	follow(holder.Zone{Name: "br1", Index: 9, Gone: true}, nil) // one that nobody knew
	known()

	local := holder.Zone{Name: "local", Index: 5}
	follow(local, listenerFile(t))
	nothingNew()
	local.Problem = "it is called as this machine's own zone is"
	known(local)

	follow(first, listenerFile(t))
	<-s.began
	cancel()
	z.wait()
	if got := <-s.ended; got != "br0" {
		t.Errorf("%s ended", got)
	}
}

// A bridge whose serving has failed says so, and is served again when the holder sends its listener.
func TestZoneFails(t *testing.T) {
	s := newFakeZoneServer()
	s.err = errors.New("accepting: no")
	z := newZones(t.Context(), s, slog.New(slog.DiscardHandler))
	for range 2 {
		b := holder.Zone{Name: "br0", Index: 3}
		if err := z.follow(holder.Message{Kind: holder.KindZone, Zone: &b}, listenerFile(t)); err != nil {
			t.Fatal(err)
		}
		<-s.began
		z.wait()
		if got := z.list(); len(got) != 1 || got[0].Problem != "accepting: no" {
			t.Errorf("known: %+v", got)
		}
	}
}

// A message that no holder sends, or that brings no listener, is an error.
func TestZonesRefuse(t *testing.T) {
	z := newZones(t.Context(), newFakeZoneServer(), slog.New(slog.DiscardHandler))
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	defer write.Close()
	for name, tt := range map[string]struct {
		zone  *holder.Zone
		files []*os.File
	}{
		"no zone":           {nil, nil},
		"two files":         {&holder.Zone{Name: "br0"}, []*os.File{read, write}},
		"what is no socket": {&holder.Zone{Name: "br0"}, []*os.File{read}},
	} {
		if err := z.follow(holder.Message{Kind: holder.KindZone, Zone: tt.zone}, tt.files); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if got := z.list(); len(got) != 0 {
		t.Errorf("known: %+v", got)
	}
}
