package imds_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"azimds/imds"
	"azimds/imds/caller"
)

// reset reports whether a connection from 127.0.0.host ends without a byte, whatever it sends. The reset may come before
// the client's connect(2) has returned.
func (a *agent) reset(t *testing.T, host byte) bool {
	t.Helper()
	c, err := a.connect(host)
	if torn(err) {
		return true
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }() // it was reset
	if _, err := io.WriteString(c, get("Connection: close")); err != nil && !torn(err) {
		t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	if err != nil && !torn(err) {
		t.Fatal(err)
	}
	return len(b) == 0
}

// torn reports whether an error is the peer's doing.
func torn(err error) bool { return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) }

// ask sends a request on a connection that stays open and returns the reply's status.
func ask(t *testing.T, c net.Conn) int {
	t.Helper()
	if _, err := io.WriteString(c, get()); err != nil {
		t.Fatal(err)
	}
	return statusOfNext(t, c)
}

// statusOfNext reads one reply.
func statusOfNext(t *testing.T, c net.Conn) int {
	t.Helper()
	reply, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	if _, err := io.Copy(io.Discard, reply.Body); err != nil {
		t.Fatal(err)
	}
	return reply.StatusCode
}

// Who is not admitted sees a connection that ends before a byte; who is admitted gets a token from the same server.
func TestOnlyAdmittedCallersAreServed(t *testing.T) {
	a := start(t, func(o *imds.Options) {
		o.Admit = func(who caller.Caller) error {
			if who.UID != 1001 {
				return errors.New("uid is not allowed")
			}
			return nil
		}
	})
	if !a.reset(t, 2) {
		t.Error("uid 1002 got a reply")
	}
	if got := a.status(t, get()); got != "200" {
		t.Errorf("uid 1001: status %s", got)
	}
	events := a.seen()
	if len(events) != 2 || !events[0].Refused() || events[0].Caller.UID != 1002 || events[1].Status != 200 || events[1].Caller.UID != 1001 {
		t.Errorf("events %+v", events)
	}
	if log := a.String(); strings.Count(log, "level=WARN") != 1 || !strings.Contains(log, `msg="caller refused"`) ||
		!strings.Contains(log, "uid=1002") {
		t.Errorf("log:\n%s", log)
	}
}

// No peer, however odd, keeps the next one from being served.
func TestRefusals(t *testing.T) {
	a := start(t, func(o *imds.Options) {
		o.Dialed = func(c *net.TCPConn) (netip.AddrPort, error) {
			switch c.RemoteAddr().(*net.TCPAddr).IP.To4()[3] {
			case 3:
				return netip.MustParseAddrPort("127.0.0.1:1023"), nil
			case 4:
				return netip.AddrPort{}, errors.New("no such connection")
			}
			return endpoint, nil
		}
		o.Callers = resolverFunc(func(client, _ netip.AddrPort) (caller.Caller, error) {
			if client.Addr().As4()[3] == 5 {
				return caller.Caller{}, fmt.Errorf("%w: no such socket", caller.ErrUnknown)
			}
			return byAddress(client, endpoint) // a direct connection has an owner, too
		})
	})
	for host, what := range map[byte]string{
		3: "a connection that was not intercepted", 4: "one of unknown destination", 5: "an unknown caller",
	} {
		if !a.reset(t, host) {
			t.Errorf("%s got a reply", what)
		}
	}
	if got := a.status(t, get()); got != "200" {
		t.Errorf("status %s after refusals", got)
	}
	if log := a.String(); strings.Count(log, `level=WARN msg="caller refused"`) != 3 || strings.Contains(log, "uid=0") {
		t.Errorf("log:\n%s", log)
	}
}

// Java's SDK connects and closes to see whether anybody is there. Nothing is said about that, neither of a caller who is
// served nor of one who was gone before the kernel could say whose the socket was.
func TestConnectAndCloseIsSilent(t *testing.T) {
	closed := make(chan struct{})
	a := start(t, func(o *imds.Options) {
		o.Callers = resolverFunc(func(client, dialed netip.AddrPort) (caller.Caller, error) {
			if client.Addr().As4()[3] == 9 {
				<-closed
				return caller.Caller{}, caller.ErrUnknown
			}
			return byAddress(client, dialed)
		})
	})
	for _, host := range []byte{1, 9} {
		if err := a.dial(t, host).Close(); err != nil {
			t.Fatal(err)
		}
	}
	close(closed)
	if got := a.status(t, get()); got != "200" { // accepted after both
		t.Errorf("status %s", got)
	}
	if log := a.String(); strings.Contains(log, "WARN") || strings.Contains(log, "ERROR") {
		t.Errorf("log:\n%s", log)
	}
	if events := a.seen(); len(events) != 1 {
		t.Errorf("events %+v", events)
	}
}

// A connection that has ended while it waited to be accepted is nobody's, whoever has its client's port by now: what it left
// to be read is not answered, and nothing is said about it. One whose client has only finished sending is served.
func TestDeadConnectionIsNobodys(t *testing.T) {
	dead := make(chan struct{})
	a := start(t, func(o *imds.Options) {
		o.Callers = resolverFunc(func(client, dialed netip.AddrPort) (caller.Caller, error) {
			if client.Addr().As4()[3] == 9 {
				<-dead
			}
			return byAddress(client, dialed)
		})
	})
	c := a.dial(t, 9)
	if _, err := io.WriteString(c, get()); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.SetLinger(0), c.Close()); err != nil { // RST
		t.Fatal(err)
	}
	close(dead)

	half := a.dial(t, 1)
	if _, err := io.WriteString(half, get("Connection: close")); err != nil {
		t.Fatal(err)
	}
	if err := half.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got := statusOfNext(t, half); got != http.StatusOK {
		t.Errorf("status %d after shutdown(2) for writing", got)
	}
	if events := a.seen(); len(events) != 1 {
		t.Errorf("events %+v, want that of the second connection alone", events)
	}
	if log := a.String(); strings.Contains(log, "WARN") || !strings.Contains(log, "the connection has ended") {
		t.Errorf("log:\n%s", log)
	}
}

// Refusals cannot fill the log.
func TestRefusalsAreRationed(t *testing.T) {
	a := start(t, func(o *imds.Options) { o.Admit = func(caller.Caller) error { return errors.New("nobody is") } })
	for range 40 {
		if !a.reset(t, 1) {
			t.Fatal("got a reply")
		}
	}
	a.stop()
	if err := <-a.served; err != nil {
		t.Error(err)
	}
	if n := strings.Count(a.String(), "level=WARN"); n != 20 {
		t.Errorf("%d lines of Warn", n)
	}
	if n := strings.Count(a.String(), "level=DEBUG"); n != 20 {
		t.Errorf("%d lines of Debug", n)
	}
	if n := len(a.seen()); n != 40 {
		t.Errorf("%d events", n)
	}
}
