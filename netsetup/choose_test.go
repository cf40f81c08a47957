package netsetup

import (
	"errors"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"azimds/test/netns"

	"github.com/google/go-cmp/cmp"
)

func TestDecide(t *testing.T) {
	noIPTables := errors.Join(ErrNoIPTables)
	const shadows = "; takes the place of a metadata service that answers at 169.254.169.254:80, as this network namespace is not the host's"
	taken := &InUseError{Addr: Endpoint, Holder: "nginx (pid 812) on 0.0.0.0:80"}
	tests := []struct {
		name   string
		want   Want
		facts  facts
		mode   Mode
		reason string // or the error
		is     error
	}{
		{"auto", Want{Mode: Auto}, facts{loopback: taken}, IPTables,
			"works here, and leaves other users and port 80 alone", nil},
		{"auto without iptables", Want{Mode: Auto}, facts{iptables: noIPTables}, Loopback,
			"port 80 is free; iptables does not work here (no iptables program)", nil},
		{"auto without anything", Want{Mode: Auto}, facts{iptables: noIPTables, loopback: taken}, "",
			`trying mode "iptables": no iptables program; trying mode "loopback": listening on "169.254.169.254:80": ` +
				`address already in use: nginx (pid 812) on 0.0.0.0:80`, taken},
		{"auto on a cloud VM", Want{Mode: Auto}, facts{metadata: true}, "",
			`dialling "169.254.169.254:80": a metadata service answers there`, ErrMetadataService},
		{"auto on a cloud VM, shadowed", Want{Mode: Auto, ShadowMetadata: true}, facts{metadata: true}, IPTables,
			"works here, and leaves other users and port 80 alone", nil},
		{"by name", Want{Mode: Loopback}, facts{}, Loopback, "asked for, and works here", nil},
		{"by name, never exchanged", Want{Mode: Loopback}, facts{loopback: taken}, "",
			`trying mode "loopback": listening on "169.254.169.254:80": address already in use: nginx (pid 812) on 0.0.0.0:80`, taken},
		{"iptables by name, without", Want{Mode: IPTables}, facts{iptables: noIPTables}, "",
			`trying mode "iptables": no iptables program`, ErrNoIPTables},
		{"by name on a cloud VM", Want{Mode: IPTables}, facts{metadata: true}, "",
			`dialling "169.254.169.254:80": a metadata service answers there`, ErrMetadataService},
		{"auto on a cloud VM, in a container", Want{Mode: Auto}, facts{metadata: true, elsewhere: true}, IPTables,
			"works here, and leaves other users and port 80 alone" + shadows, nil},
		{"auto on a cloud VM, in a container, without iptables", Want{Mode: Auto},
			facts{metadata: true, elsewhere: true, iptables: noIPTables}, Loopback,
			"port 80 is free; iptables does not work here (no iptables program)" + shadows, nil},
		{"by name on a cloud VM, in a container", Want{Mode: Dummy}, facts{metadata: true, elsewhere: true}, "",
			`dialling "169.254.169.254:80": a metadata service answers there`, ErrMetadataService},
		{"auto in a container", Want{Mode: Auto}, facts{elsewhere: true}, IPTables,
			"works here, and leaves other users and port 80 alone", nil},
		{"dummy by name", Want{Mode: Dummy}, facts{}, Dummy, "asked for, and works here", nil},
		{"dummy by name, without", Want{Mode: Dummy}, facts{dummy: ErrNoDummy}, "",
			`trying mode "dummy": the kernel has no module dummy`, ErrNoDummy},
		{"unknown", Want{Mode: "tun"}, facts{}, "", `choosing mode "tun": not one of "auto", "iptables", "loopback", "dummy"`, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			mode, reason, err := decide(tt.want, tt.facts)
			if err != nil {
				reason = err.Error()
			}
			if mode != tt.mode || reason != tt.reason || (err == nil) != (mode != "") {
				t.Errorf("decide = %q, %q, %v; want %q, %q", mode, reason, err, tt.mode, tt.reason)
			}
			if tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("error %v is not %v", err, tt.is)
			}
		})
	}
}

// choose runs Choose in a namespace and proves that it left nothing behind.
func choose(t *testing.T, ns *netns.NS, w Want) (mode Mode, err error) {
	t.Helper()
	before := snapshot(t, ns)
	do(t, ns, func() error {
		mode, _, err = Choose(t.Context(), w)
		return nil
	})
	if diff := cmp.Diff(before, snapshot(t, ns)); diff != "" {
		t.Errorf("Choose changed the namespace (-before +after):\n%s", diff)
	}
	return mode, err
}

// serve opens a server of somebody else.
func serve(t *testing.T, ns *netns.NS, addr string) {
	t.Helper()
	do(t, ns, func() error {
		network := "tcp" // of both families, where the address is none's
		if strings.HasPrefix(addr, "0.0.0.0:") {
			network = "tcp4"
		}
		ln, err := net.Listen(network, addr)
		if err == nil {
			t.Cleanup(func() { ln.Close() })
		}
		return err
	})
}

func TestChoose(t *testing.T) {
	backends(t, func(t *testing.T, ns *netns.NS) {
		wants := []Want{{Mode: Auto}, {Mode: IPTables}}
		if manyUIDs(t) {
			wants = append(wants, Want{Mode: Auto, ExemptGroup: 4242})
		}
		for _, w := range wants {
			if mode, err := choose(t, ns, w); mode != IPTables || err != nil {
				t.Errorf("Choose(%+v) = %q, %v", w, mode, err)
			}
		}
		if mode, err := choose(t, ns, Want{Mode: Loopback}); mode != Loopback || err != nil {
			t.Errorf("Choose loopback = %q, %v", mode, err)
		}
		serve(t, ns, "0.0.0.0:80")
		if mode, err := choose(t, ns, Want{Mode: Auto}); mode != IPTables || err != nil {
			t.Errorf("Choose auto beside a web server = %q, %v", mode, err)
		}
		_, err := choose(t, ns, Want{Mode: Loopback})
		if _, inUse := errors.AsType[*InUseError](err); !inUse {
			t.Errorf("Choose loopback beside a web server: %v, want an InUseError", err)
		}
	})
}

// A namespace in which nothing was ever set up, as in a fresh container.
func TestChooseInEmptyNamespace(t *testing.T) {
	_, err := exec.LookPath("iptables")
	netns.Need(t, "iptables", err)
	ns := netns.New(t)
	if mode, err := choose(t, ns, Want{Mode: Auto}); mode != IPTables || err != nil {
		t.Errorf("Choose = %q, %v", mode, err)
	}
}

func TestChooseWithoutIPTables(t *testing.T) {
	_, err := exec.LookPath("iptables-save")
	netns.Need(t, "iptables-save", err)
	withoutIPTables(t)
	ns := netns.New(t)
	if mode, err := choose(t, ns, Want{Mode: Auto}); mode != Loopback || err != nil {
		t.Errorf("Choose auto = %q, %v", mode, err)
	}
	if _, err := choose(t, ns, Want{Mode: IPTables}); !errors.Is(err, ErrNoIPTables) {
		t.Errorf("Choose iptables: %v, want ErrNoIPTables", err)
	}
	serve(t, ns, "0.0.0.0:80")
	_, err = choose(t, ns, Want{Mode: Auto})
	if _, inUse := errors.AsType[*InUseError](err); !inUse || !errors.Is(err, ErrNoIPTables) {
		t.Errorf("Choose auto beside a web server: %v, want ErrNoIPTables and an InUseError", err)
	}
}

// A service that answers at the endpoint, as on a cloud VM, is shadowed only when that was asked for.
func TestChooseBesideMetadataService(t *testing.T) {
	_, err := exec.LookPath("iptables")
	netns.Need(t, "iptables", err)
	host, cloud := netns.New(t), netns.New(t)
	connect(t, host, cloud)
	host.Run(t, "ip", "route", "add", "default", "via", "10.9.0.2")
	cloud.Run(t, "sh", "-ec", "ip route del 169.254.169.254; ip addr add 169.254.169.254/32 dev veth1")
	if mode, err := choose(t, host, Want{Mode: Auto}); mode != IPTables || err != nil {
		t.Errorf("Choose while nothing answers = %q, %v", mode, err)
	}
	serve(t, cloud, Endpoint.String())
	onHost(t)
	for _, mode := range []Mode{Auto, IPTables, Loopback, Dummy} {
		if _, err := choose(t, host, Want{Mode: mode}); !errors.Is(err, ErrMetadataService) {
			t.Errorf("Choose %s: %v, want ErrMetadataService", mode, err)
		}
	}
	if mode, err := choose(t, host, Want{Mode: Auto, ShadowMetadata: true}); mode != IPTables || err != nil {
		t.Errorf("Choose, shadowing = %q, %v", mode, err)
	}
}

func TestInUseErrorWithoutHolder(t *testing.T) {
	err := &InUseError{Addr: netip.MustParseAddrPort("127.0.0.1:981")}
	if want := `listening on "127.0.0.1:981": address already in use`; err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
}
