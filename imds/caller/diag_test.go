package caller

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"azimds/test/netns"
)

func TestFindSkipsOtherAnswers(t *testing.T) {
	d, k := newFakeKernel(t)
	defer closed(t, d)
	d.seq = 6
	late := named
	late.uid = stranger
	k.say(answer(6, late), refusal(5, unix.ENOENT), message(unix.NLMSG_NOOP, 0),
		append(answer(6, late), answer(7, named)...))
	if got, err := d.find(client, imds, anyDevice); got != named || err != nil {
		t.Errorf("find = %+v, %v; want %+v", got, err, named)
	}
}

func TestFindGivesUp(t *testing.T) {
	tests := []struct {
		name string
		say  func(k fakeKernel)
		want error // nil: any
	}{
		{"no answer", func(fakeKernel) {}, unix.EAGAIN},
		{"too many other answers", func(k fakeKernel) {
			for range maxStray {
				k.say(answer(9, named))
			}
			k.say(answer(1, named))
		}, nil},
		{"no socket", func(k fakeKernel) { k.say(refusal(1, unix.ENOENT)) }, errNoSocket},
		{"refused", func(k fakeKernel) { k.say(refusal(1, unix.EPERM)) }, unix.EPERM},
		{"an acknowledgement", func(k fakeKernel) { k.say(refusal(1, 0)) }, errMalformed},
		{"half an error", func(k fakeKernel) { k.say(message(unix.NLMSG_ERROR, 1, 0xfe)) }, errMalformed},
		{"half a socket", func(k fakeKernel) { k.say(answer(1, named)[:60]) }, errMalformed},
		{"half a message", func(k fakeKernel) { k.say(message(unix.SOCK_DIAG_BY_FAMILY, 1, make([]byte, 71)...)) }, errMalformed},
		{"another message", func(k fakeKernel) { k.say(message(unix.NLMSG_DONE, 1)) }, errMalformed},
		{"another family", func(k fakeKernel) {
			b := answer(1, named)
			b[headerLen] = unix.AF_UNIX
			k.say(b)
		}, errMalformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, k := newFakeKernel(t)
			defer closed(t, d)
			tt.say(k)
			got, err := d.find(client, imds, anyDevice)
			if err == nil || got != (socket{}) || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("find = %+v, %v; want %v", got, err, tt.want)
			}
		})
	}
}

// A descriptor that fails is replaced, once a question.
func TestResolveReopens(t *testing.T) {
	broken, old := newFakeKernel(t)
	old.say(make([]byte, headerLen)) // a message of length 0
	good, k := newFakeKernel(t)
	k.say(answer(1, named), answer(2, named))
	fakes := []*diag{broken, good}
	r := &Resolver{open: func() (*diag, error) {
		if len(fakes) == 0 {
			return nil, unix.EMFILE
		}
		d := fakes[0]
		fakes = fakes[1:]
		return d, nil
	}}
	want := Caller{UID: owner, Inode: 77, Cgroup: 5}
	for range 2 {
		if got, err := r.Resolve(client, imds); got != want || err != nil {
			t.Errorf("Resolve = %+v, %v; want %+v", got, err, want)
		}
	}
	if !old.closed() {
		t.Error("the broken descriptor was left open")
	}
	got, err := r.Resolve(client, imds) // no answer left, and no descriptor
	if got != (Caller{}) || !errors.Is(err, unix.EAGAIN) || !errors.Is(err, unix.EMFILE) || errors.Is(err, ErrUnknown) {
		t.Errorf("Resolve = %+v, %v; want both errors", got, err)
	}
}

// The second question, about the loopback device, is put when the first finds nothing or another's listener, and not
// when it finds a socket of which nobody can be named.
func TestResolveAsksAgain(t *testing.T) {
	listener := socket{src: netip.MustParseAddrPort("0.0.0.0:40000"), dst: netip.MustParseAddrPort("0.0.0.0:0"),
		state: unix.BPF_TCP_LISTEN, uid: stranger, inode: 9}
	dead := named
	dead.inode = 0
	tests := []struct {
		name          string
		first, second []byte
		again, named  bool
	}{
		{"bound to lo", refusal(1, unix.ENOENT), answer(2, named), true, true},
		{"bound to lo beside a listener", answer(1, listener), answer(2, named), true, true},
		{"gone", refusal(1, unix.ENOENT), refusal(2, unix.ENOENT), true, false},
		{"gone beside a listener", refusal(1, unix.ENOENT), answer(2, listener), true, false},
		{"dead", answer(1, dead), answer(2, named), false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, k := newFakeKernel(t)
			k.say(tt.first, tt.second)
			r := &Resolver{open: func() (*diag, error) { return d, nil }}
			defer r.Close()
			got, err := r.Resolve(client, imds)
			if tt.named != (err == nil) || tt.named != (got != Caller{}) || !tt.named && !errors.Is(err, ErrUnknown) {
				t.Errorf("Resolve = %+v, %v; want named %t", got, err, tt.named)
			}
			if device := k.asked(); device != anyDevice {
				t.Errorf("first asked for device %d", device)
			}
			if tt.again {
				if device := k.asked(); device != loopbackDevice {
					t.Errorf("then asked for device %d", device)
				}
			}
		})
	}
}

func TestAnswers(t *testing.T) {
	with := func(change func(*socket)) socket {
		s := named
		change(&s)
		return s
	}
	tests := []struct {
		name string
		socket
		ok bool
	}{
		{"the socket", named, true},
		{"another source port", with(func(s *socket) { s.src = another }), false},
		{"another destination", with(func(s *socket) { s.dst = another }), false},
		{"the other end", with(func(s *socket) { s.src, s.dst = s.dst, s.src }), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.answers(client, imds); tt.ok != (err == nil) || !tt.ok && !errors.Is(err, errNoSocket) {
				t.Errorf("answers = %v, want ok %t", err, tt.ok)
			}
		})
	}
}

func TestOwnerByState(t *testing.T) {
	connected := map[uint8]bool{stateEstablished: true, stateCloseWait: true, stateFinWait1: true, stateFinWait2: true}
	for state := range uint8(16) {
		s := named
		s.state = state
		got, err := s.owner(65534)
		if connected[state] != (err == nil) || connected[state] != (got != Caller{}) || err != nil && !errors.Is(err, ErrUnknown) {
			t.Errorf("state %d: %+v, %v; want named %t", state, got, err, connected[state])
		}
	}
}

func TestOwnerOverflow(t *testing.T) {
	s := named
	if got, err := s.owner(s.uid); !errors.Is(err, ErrUnknown) || got != (Caller{}) {
		t.Errorf("overflow uid: %+v, %v; want %v", got, err, ErrUnknown)
	}
}

func TestOverflowUID(t *testing.T) {
	if uid, err := overflowUID(overflowFile); uid == 0 || err != nil {
		t.Errorf("overflowUID(%q) = %d, %v", overflowFile, uid, err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"empty": "", "words": "nobody\n", "negative": "-2\n", "large": "4294967296\n"} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if uid, err := overflowUID(file); err == nil {
			t.Errorf("overflowUID of %q = %d", text, uid)
		}
	}
	if _, err := overflowUID(filepath.Join(dir, "absent")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("overflowUID without a file: %v", err)
	}
}

// The kernel takes no datagram from another process for a connected descriptor: no answer can be forged.
func TestDiagTakesNoAnswerFromOthers(t *testing.T) {
	netns.Root(t)
	d, err := openDiag()
	if err != nil {
		t.Fatal(err)
	}
	defer closed(t, d)
	to, err := unix.Getsockname(d.fd)
	if err != nil {
		t.Fatal(err)
	}
	forger, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(forger)
	if err := unix.Sendto(forger, answer(1, named), 0, to); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("forging an answer: %v, want %v", err, unix.ECONNREFUSED)
	}
}

// closed closes a diag, which must go well.
func closed(t *testing.T, d *diag) {
	t.Helper()
	if err := d.close(); err != nil {
		t.Error(err)
	}
}
