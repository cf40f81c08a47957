package holder

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"unsafe"

	"azimds/netsetup"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"
)

func pair(t *testing.T) (holder, server *Link) {
	t.Helper()
	a, b, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	return open(t, a), open(t, b)
}

func TestLinkCarriesMessagesAndFiles(t *testing.T) {
	holder, server := pair(t)
	sent := Message{Kind: KindOffer, Offer: &Offer{
		Plan:  netsetup.Plan{Mode: netsetup.Loopback, Endpoint: netsetup.Endpoint, Backend: netsetup.Endpoint, Owner: 1000},
		Owner: Owner{UID: 1000, GID: 1000, Groups: []uint32{4, 24}, Name: "alice", Home: "/home/alice"},
		Dir:   "/run/azimds/1/default", Reason: "asked for", Tree: 12, Holder: 34,
	}}
	var files []*os.File
	for i := range maxFiles {
		f, err := os.Create(filepath.Join(t.TempDir(), fmt.Sprint(i)))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files = append(files, f)
	}
	if err := holder.Send(sent, files...); err != nil {
		t.Fatal(err)
	}
	got, received, err := server.Receive()
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(received)
	if diff := cmp.Diff(sent, got, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
		t.Errorf("message (-sent +received):\n%s", diff)
	}
	if len(received) != len(files) {
		t.Fatalf("received %d files, want %d", len(received), len(files))
	}
	for i, f := range received {
		was, is := stat(t, files[i]), stat(t, f)
		if !os.SameFile(was, is) {
			t.Errorf("file %d is another", i)
		}
		if flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("file %d is inherited: flags %#x, %v", i, flags, err)
		}
	}
}

// A zone with as many addresses as a bridge may have fits into a message, with room for the rest.
func TestLinkCarriesTheLargestZone(t *testing.T) {
	holder, server := pair(t)
	zone := &Zone{Name: strings.Repeat("b", 15), Index: 1 << 30, Problem: strings.Repeat("p", 4<<10)}
	for range 256 {
		zone.Addresses = append(zone.Addresses, netip.MustParseAddr("100.100.100.100"))
		zone.Subnets = append(zone.Subnets, netip.MustParsePrefix("100.100.100.128/25"))
	}
	if err := holder.Send(Message{Kind: KindZone, Zone: zone}); err != nil {
		t.Fatal(err)
	}
	got, _, err := server.Receive()
	if err != nil || got.Zone == nil || len(got.Zone.Subnets) != 256 {
		t.Errorf("received %+v, %v", got.Zone, err)
	}
}

// The kernel tells of a peer that ended with our message unread before it hands out what the peer said last.
func TestLinkHearsTheLastWordOfWhoDidNotListen(t *testing.T) {
	holder, server := pair(t)
	for _, m := range []struct {
		from *Link
		kind Kind
	}{{server, KindStop}, {holder, KindStopped}} {
		if err := m.from.Send(Message{Kind: m.kind}); err != nil {
			t.Fatal(err)
		}
	}
	if err := holder.Close(); err != nil {
		t.Fatal(err)
	}
	if m, _, err := server.Receive(); err != nil || m.Kind != KindStopped {
		t.Errorf("received %q, %v", m.Kind, err)
	}
	if _, _, err := server.Receive(); !errors.Is(err, io.EOF) {
		t.Errorf("then %v, want the end", err)
	}
}

func stat(t *testing.T, f *os.File) os.FileInfo {
	t.Helper()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func TestLinkRefusesWhatIsNoMessage(t *testing.T) {
	tests := []struct {
		name string
		send func(from *Link) error
		want string
	}{
		{"the end", func(from *Link) error { return from.Close() }, "EOF"},
		{"no JSON", write("hello"), "decoding a message: invalid character"},
		{"another type", write(`["hello"]`), "decoding a message: json: cannot unmarshal array"},
		{"no kind", write(`{"id":1}`), "decoding a message: it has no kind"},
		{"two objects", write(`{"kind":"hello"}{"kind":"stop"}`), "decoding a message: invalid character"},
		{"too long", write(`{"kind":"hello"}` + strings.Repeat(" ", maxMessage)), "it is longer than any that is sent"},
		{"too many files", func(from *Link) error {
			return from.Send(Message{Kind: KindHello}, slices.Repeat([]*os.File{os.Stderr}, maxFiles+2)...)
		}, "it is longer than any that is sent"},
		{"no JSON, with files", func(from *Link) error { return withFile(from, []byte("hello")) }, "decoding a message: invalid character"},
		{"nothing, with files", func(from *Link) error { return withFile(from, nil) }, "EOF"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			holder, server := pair(t)
			if err := tt.send(server); err != nil {
				t.Fatal(err)
			}
			m, files, err := holder.Receive()
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Receive returned %+v, %v, want an error with %q", m, err, tt.want)
			}
			if len(files) != 0 {
				t.Errorf("%d files came with an error", len(files))
			}
			if tt.name == "the end" && !errors.Is(err, io.EOF) {
				t.Errorf("the end is %v, want %v", err, io.EOF)
			}
		})
	}
}

func write(text string) func(*Link) error {
	return func(from *Link) error {
		_, err := from.conn.Write([]byte(text))
		return err
	}
}

func withFile(from *Link, data []byte) error { return sendRights(from, data, os.Stderr) }

// sendRights is sendmsg(2) without what the wrappers add: they put a byte into an empty message.
func sendRights(from *Link, data []byte, file *os.File) error {
	rights, err := packRights([]*os.File{file})
	if err != nil {
		return err
	}
	header := unix.Msghdr{Control: &rights[0]}
	header.SetControllen(len(rights))
	if len(data) > 0 {
		header.Iov = &unix.Iovec{Base: &data[0], Len: uint64(len(data))}
		header.SetIovlen(1)
	}
	raw, err := from.conn.SyscallConn()
	if err != nil {
		return err
	}
	var errno syscall.Errno
	err = raw.Write(func(fd uintptr) bool {
		_, _, errno = unix.Syscall(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&header)), 0)
		return true
	})
	if errno != 0 {
		err = errors.Join(err, errno)
	}
	return err
}

// Files that come with something that is no message are closed: a peer that goes on sending them must not use up ours. A
// pipe's reader sees its end when the last writer is closed.
func TestLinkClosesFilesThatItDoesNotReturn(t *testing.T) {
	for _, junk := range []string{"", "junk"} {
		holder, server := pair(t)
		read, writer, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer read.Close()
		if err := errors.Join(sendRights(server, []byte(junk), writer), writer.Close()); err != nil {
			t.Fatal(err)
		}
		if _, _, err := holder.Receive(); err == nil {
			t.Fatalf("%q was received", junk)
		}
		if _, err := io.ReadAll(read); err != nil {
			t.Error(err)
		}
	}
}

// Messages of several senders stay whole.
func TestLinkWithManySenders(t *testing.T) {
	holder, server := pair(t)
	const senders, each = 4, 50
	text := strings.Repeat("x", 1000)
	var sending sync.WaitGroup
	for n := range senders {
		sending.Go(func() {
			for i := range each {
				if err := server.Send(Message{Kind: KindAsk, ID: uint64(n*each + i), Error: text}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	seen := map[uint64]bool{}
	for range senders * each {
		m, _, err := holder.Receive()
		if err != nil {
			t.Fatal(err)
		}
		if m.Error != text {
			t.Errorf("message %d is not whole", m.ID)
		}
		seen[m.ID] = true
	}
	sending.Wait()
	if len(seen) != senders*each {
		t.Errorf("%d messages arrived, want %d", len(seen), senders*each)
	}
}

// A peer that does not read is given up, and the link with it.
func TestLinkGivesUpAPeerThatDoesNotRead(t *testing.T) {
	holder, server := pair(t)
	m := Message{Kind: KindAnswer, Error: strings.Repeat("x", maxMessage/2)}
	var err error
	for err == nil {
		err = holder.Send(m)
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Send returned %v, want %v", err, os.ErrDeadlineExceeded)
	}
	for err = nil; err == nil; {
		_, _, err = server.Receive()
	}
	if !errors.Is(err, io.EOF) {
		t.Errorf("the peer saw %v, want %v", err, io.EOF)
	}
	if err := holder.Close(); err != nil {
		t.Errorf("closing it again: %v", err)
	}
}

func TestOpenLinkNeedsASocket(t *testing.T) {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenLink(f); err == nil {
		t.Error("a device is a link")
	}
	if err := f.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("OpenLink left the file open: %v", err)
	}
}

// FuzzDecode holds decode to JSON: what it accepts has a kind and is the same after another round.
func FuzzDecode(f *testing.F) {
	for _, m := range []Message{
		{Kind: KindHello},
		{Kind: KindOffer, Offer: &Offer{Plan: netsetup.Plan{Mode: netsetup.IPTables, Endpoint: netsetup.Endpoint}, Owner: Owner{UID: 1000, Name: "alice"}}},
		{Kind: KindCheck, Inode: 4711},
		{Kind: KindSeen, UID: 1000},
		{Kind: KindAnswer, ID: 7, Report: &netsetup.Report{Delta: []string{"ip addr add"}}},
		{Kind: KindFailed, Failure: &Failure{Message: "no", Hint: "azimds status", Exit: 1}},
	} {
		data, err := json.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := decode(data)
		if err != nil {
			return
		}
		if m.Kind == "" {
			t.Fatalf("%q has no kind", data)
		}
		again, err := json.Marshal(m)
		if err != nil {
			t.Fatalf("encoding %+v: %v", m, err)
		}
		same, err := decode(again)
		if err != nil {
			t.Fatalf("decoding %s: %v", again, err)
		}
		once, err := json.Marshal(same)
		if err != nil || string(once) != string(again) {
			t.Errorf("%s became %s, %v", again, once, err)
		}
	})
}
