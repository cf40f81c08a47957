package netsetup

import (
	"errors"
	"strings"
	"testing"

	"azimds/test/netns"

	"golang.org/x/sys/unix"
)

// Each route or rule that refuses the endpoint is named, and its command removes it; what leads there, or is about others, is none.
func TestBarriers(t *testing.T) {
	uid := uint32(1000)
	if !manyUIDs(t) {
		uid = 0
	}
	for _, tt := range []struct {
		name string
		made []string // by ip
		want []string // what is found
	}{
		{name: "none"},
		{name: "a way there", made: []string{"address add 10.8.0.1/24 dev lo", "route add 169.254.169.254 dev lo"}},
		{name: "systemd-imdsd's", made: []string{
			"route add prohibit 169.254.169.254", "route add 169.254.169.254 dev lo table 2147419157", "rule add fwmark 0x7FFF0815 lookup 2147419157",
		}, want: []string{"route prohibit 169.254.169.254/32 in table main"}},
		{name: "all of 169.254", made: []string{"route add blackhole 169.254.0.0/16 metric 7"},
			want: []string{"route blackhole 169.254.0.0/16 in table main"}},
		{name: "everything", made: []string{"route add unreachable default"}, want: []string{"route unreachable default in table main"}},
		{name: "a rule", made: []string{"rule add pref 60 to 169.254.169.254 prohibit"},
			want: []string{"routing policy rule pref 60 to 169.254.169.254/32"}},
		{name: "a rule about the user", made: []string{"rule add pref 60 to 169.254.0.0/16 uidrange 1000-1010 blackhole"},
			want: []string{"routing policy rule pref 60 to 169.254.0.0/16 uidrange 1000-1010"}},
		{name: "a rule about another user", made: []string{"rule add pref 60 to 169.254.169.254 uidrange 0-0 prohibit"}},
		{name: "a table of its own", made: []string{"route add prohibit 169.254.169.254 table 99", "rule add pref 60 lookup 99"},
			want: []string{"route prohibit 169.254.169.254/32 in table 99"}},
		{name: "two, one behind the other", made: []string{"route add prohibit 169.254.169.254", "rule add pref 60 to 169.254.169.254 unreachable"},
			want: []string{"routing policy rule pref 60 to 169.254.169.254/32", "route prohibit 169.254.169.254/32 in table main"}},
		{name: "thrown back", made: []string{"route add throw 169.254.169.254", "route add prohibit default"}},
		{name: "the address is here", made: []string{"route add prohibit 169.254.169.254", "address add 169.254.169.254/32 dev lo"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ns := netns.New(t)
			for _, command := range tt.made {
				if strings.Contains(command, "uidrange") {
					netns.Root(t)
				}
				ns.Run(t, "ip", strings.Fields(command)...)
			}
			find := func() (found []Barrier) {
				do(t, ns, func() (err error) {
					found, err = Barriers(uid)
					return err
				})
				return found
			}
			var what []string
			for _, b := range find() {
				what = append(what, b.What)
				ns.Run(t, "sh", "-ec", b.Remove)
			}
			if strings.Join(what, "\n") != strings.Join(tt.want, "\n") {
				t.Errorf("found %q, want %q", what, tt.want)
			}
			if left := find(); len(left) > 0 {
				t.Errorf("after their commands: %v", left)
			}
		})
	}
}

// What is found is what dials fail of: the kernel's own answer to a dial in mode iptables' place.
func TestBarriersRefuse(t *testing.T) {
	ns := netns.New(t)
	ns.Run(t, "ip", "route", "add", "prohibit", Endpoint.Addr().String())
	do(t, ns, func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: Endpoint.Addr().As4(), Port: int(Endpoint.Port())}); !errors.Is(err, unix.EACCES) {
			t.Errorf("dialling ended with %v", err)
		}
		return nil
	})
}
