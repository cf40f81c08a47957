package netsetup

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"azimds/test/netns"
)

// TestListenAlone wants a listener on a port of 127.0.0.1 that is free, or the one that is asked for, and a plan that makes nothing.
func TestListenAlone(t *testing.T) {
	ns := netns.New(t)
	err := ns.Do(func() error {
		ln, p, err := ListenAlone(t.Context(), 1001, 0, []string{"docker0"})
		if err != nil {
			return err
		}
		defer ln.Close()
		if p.Endpoint.Addr().String() != "127.0.0.1" || p.Endpoint.Port() == 0 || p.Endpoint.String() != ln.Addr().String() {
			return fmt.Errorf("the listener is at %s and the plan says %s", ln.Addr(), p.Endpoint)
		}
		if p.String() != "" || p.Mode != None || p.Owner != 1001 || len(p.Bridges) != 1 {
			return fmt.Errorf("the plan is %+v, and makes %q", p, p)
		}
		c, err := net.Dial("tcp", p.Endpoint.String())
		if err != nil {
			return err
		}
		defer c.Close()
		if _, _, err := ListenAlone(t.Context(), 1001, p.Endpoint.Port(), nil); !errors.As(err, new(*InUseError)) {
			return fmt.Errorf("the port is taken: %w", err)
		}
		if _, _, err := ListenAlone(t.Context(), 1001, 0, []string{"*"}); err == nil {
			return errors.New("every device is a bridge")
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestListenBridgeAlone wants a bridge's listener on the bridge's first address, with the plan's port.
func TestListenBridgeAlone(t *testing.T) {
	ns := netns.New(t)
	ns.Bridge(t, "brz0", "10.99.0.1/24")
	err := ns.Do(func() error {
		ln, p, err := ListenAlone(t.Context(), 1001, 0, []string{"brz0"})
		if err != nil {
			return err
		}
		defer ln.Close()
		bridges, err := Bridges(t.Context(), p.Bridges)
		if err != nil || len(bridges) != 1 {
			return fmt.Errorf("bridges %+v: %w", bridges, err)
		}
		own, err := ListenBridge(t.Context(), p, bridges[0])
		if err != nil {
			return err
		}
		defer own.Close()
		want := netip.AddrPortFrom(netip.MustParseAddr("10.99.0.1"), p.Endpoint.Port())
		if own.Addr().String() != want.String() {
			return fmt.Errorf("it is at %s, want %s", own.Addr(), want)
		}
		file, err := own.File()
		if err != nil {
			return err
		}
		defer file.Close()
		return ListensForBridge(p, bridges[0], file)
	})
	if err != nil {
		t.Error(err)
	}
}
