package imds_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"azimds/imds"
	"azimds/imds/caller"
	"azimds/imds/token"
)

// behind is a zone of which 127.0.0.2 alone is not.
func behind() *imds.Zone {
	return &imds.Zone{Bridge: "docker0", Contains: func(a netip.Addr) bool { return a != netip.MustParseAddr("127.0.0.2") }}
}

// serveZone has the server serve a bridge, too, and returns it as an agent of its own.
func (a *agent) serveZone(t *testing.T, zone *imds.Zone) *agent {
	t.Helper()
	b := &agent{world: a.world, server: a.server, journal: a.journal, served: make(chan error, 1)}
	b.serve(t, func(ctx context.Context, ln net.Listener) error { return a.server.ServeZone(ctx, ln, zone) })
	return b
}

// Behind a bridge a caller is its address. Nobody is asked for a uid, and an address from elsewhere is reset before a byte.
func TestServeZone(t *testing.T) {
	var allowed caller.Caller
	a := prepare(t, func(o *imds.Options) {
		o.Callers = resolverFunc(func(client, _ netip.AddrPort) (caller.Caller, error) {
			t.Errorf("the kernel was asked who %s is", client)
			return caller.Caller{}, caller.ErrUnknown
		})
		o.Allow = func(c caller.Caller, _ caller.Detail, r token.Request) (token.Request, error) {
			allowed = c
			return r, nil
		}
	}).serveZone(t, behind())
	if !a.reset(t, 2) {
		t.Error("an address outside of the zone got a reply")
	}
	if got := a.status(t, get()); got != "200" {
		t.Errorf("status %s", got)
	}
	want := caller.Caller{Bridge: "docker0", Address: netip.MustParseAddr("127.0.0.1")}
	if allowed != want {
		t.Errorf("policy was asked about %+v, want %+v", allowed, want)
	}
	events := a.seen()
	if len(events) != 2 || !events[0].Refused() || events[0].Zone() != "docker0" || events[1].Caller != want {
		t.Errorf("events %+v", events)
	}
	if log := a.String(); !strings.Contains(log, "zone=docker0 address=127.0.0.2") || strings.Contains(log, "uid=") {
		t.Errorf("log:\n%s", log)
	}
}

// A bridge that goes away while more is looked for about somebody who was refused elsewhere does not wait for that.
func TestZoneEndsByItself(t *testing.T) {
	looking, found := make(chan struct{}, 1), make(chan struct{})
	a := start(t, func(o *imds.Options) {
		o.Admit = func(c caller.Caller) error {
			if c.UID == 1002 {
				return errors.New("is nobody")
			}
			return nil
		}
		o.Describe = func(caller.Caller) caller.Detail {
			looking <- struct{}{}
			<-found
			return caller.Detail{}
		}
	})
	zone := a.serveZone(t, behind())
	refused := a.dial(t, 2)
	<-looking
	zone.stop()
	if err := <-zone.served; err != nil { // hangs where it waits
		t.Error(err)
	}
	close(found)
	if _, err := io.ReadAll(refused); !torn(err) {
		t.Errorf("a refused connection ended with %v", err)
	}
}

// However many are refused at once, more is looked for about some of them only: the others are gone at once.
func TestFewAreDescribedAtOnce(t *testing.T) {
	const most = 20
	looking, found := make(chan struct{}, 2*most), make(chan struct{})
	a := start(t, func(o *imds.Options) {
		o.Admit = func(caller.Caller) error { return errors.New("is nobody") }
		o.Describe = func(caller.Caller) caller.Detail {
			looking <- struct{}{}
			<-found
			return caller.Detail{}
		}
	})
	for range most {
		a.dial(t, 1)
		<-looking
	}
	if !a.reset(t, 1) { // hangs where it is looked for, too
		t.Error("got a reply")
	}
	close(found)
}
