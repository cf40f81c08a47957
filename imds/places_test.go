package imds_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"azimds/imds"
	"azimds/imds/caller"
	"azimds/imds/token"
)

// busy is a connection whose request is under way until release is closed.
func (a *agent) busy(t *testing.T, host byte) net.Conn {
	t.Helper()
	c := a.dial(t, host)
	if _, err := io.WriteString(c, get()); err != nil {
		t.Fatal(err)
	}
	return c
}

// waiting is a source that answers nobody before release.
func waiting(asked chan<- struct{}, release <-chan struct{}) token.Source {
	return sourceFunc(func(context.Context, token.Request) (token.Token, error) {
		asked <- struct{}{}
		<-release
		return token.Token{Value: token.NewSecret(secret), ExpiresOn: time.Unix(expiresOn, 0)}, nil
	})
}

// Beyond the limit a connection is reset while all are in use; one that ends makes room.
func TestConnectionLimit(t *testing.T) {
	asked, release := make(chan struct{}, 10), make(chan struct{})
	a := start(t, func(o *imds.Options) {
		o.Limits.Connections = 2
		o.Source = waiting(asked, release)
	})
	one, two := a.busy(t, 1), a.busy(t, 1)
	<-asked
	<-asked
	if !a.reset(t, 1) {
		t.Error("third connection got a reply")
	}
	close(release)
	for _, c := range []net.Conn{one, two} {
		if got := statusOfNext(t, c); got != http.StatusOK {
			t.Errorf("status %d", got)
		}
	}
	if got := a.status(t, get()); got != "200" {
		t.Errorf("status %s once they are answered", got)
	}
}

// Of connections on which nothing is asked, the one that has been so for longest makes room for a new one.
func TestIdleConnectionsMakeRoom(t *testing.T) {
	a := start(t, func(o *imds.Options) { o.Limits.Connections = 2 })
	silent, first := a.dial(t, 1), a.dial(t, 1)
	if got := ask(t, first); got != http.StatusOK {
		t.Fatalf("status %d", got)
	}
	third := a.dial(t, 1) // in the place of silent
	if got := ask(t, third); got != http.StatusOK {
		t.Errorf("status %d beyond the limit", got)
	}
	if got := ask(t, a.dial(t, 1)); got != http.StatusOK { // of first or, where the server was slow to see that one idle, third
		t.Errorf("status %d beyond the limit again", got)
	}
	if _, err := io.ReadAll(silent); err != nil && !torn(err) {
		t.Errorf("the connection on which nothing was asked was not ended: %v", err)
	}
	left := 0
	for _, c := range []net.Conn{first, third} {
		_, err := io.WriteString(c, get())
		if err == nil {
			_, err = io.ReadFull(c, make([]byte, len("HTTP/1.1 200")))
		}
		if err == nil {
			left++
		}
	}
	if left != 1 {
		t.Errorf("%d of the two others are left, want 1", left)
	}
}

// However many connections others have, and use, the owner gets one; and each of the others gets only so many.
func TestOthersCannotTakeThePlacesOfTheOwner(t *testing.T) {
	const limit = 16 // of which others have 8, each of them 2
	asked, release := make(chan struct{}, 2*limit), make(chan struct{})
	var owners resolverFunc = func(client, _ netip.AddrPort) (caller.Caller, error) {
		return caller.Caller{UID: uint32(client.Addr().As4()[3]), Inode: 1}, nil
	}
	slow := waiting(asked, release)
	a := start(t, func(o *imds.Options) {
		o.Limits.Connections = limit
		o.Callers = owners
		o.Owner = func(c caller.Caller) bool { return c.UID == 1 }
		o.Source = sourceFunc(func(ctx context.Context, r token.Request) (token.Token, error) {
			if who, _ := imds.CallerOf(ctx); who.UID == 1 {
				return token.Token{Value: token.NewSecret(secret), ExpiresOn: time.Unix(expiresOn, 0)}, nil
			}
			return slow.Token(ctx, r)
		})
	})
	admitted := 0
	for host := byte(2); host < 8; host++ {
		for range 3 {
			c, err := a.connect(host)
			if err == nil {
				_, err = io.WriteString(c, get())
			}
			if err != nil && !torn(err) {
				t.Fatal(err)
			}
			if err != nil {
				continue
			}
			t.Cleanup(func() { c.Close() })
			if ended(t, c, asked) {
				continue
			}
			admitted++
		}
	}
	if admitted != limit/2 {
		t.Errorf("%d connections of others are served, want %d", admitted, limit/2)
	}
	for range limit / 2 {
		c := a.dial(t, 1)
		if got := ask(t, c); got != http.StatusOK {
			t.Errorf("the owner's request: status %d", got)
		}
	}
	close(release)
}

// ended waits until a request is under way or its connection is torn.
func ended(t *testing.T, c net.Conn, asked <-chan struct{}) bool {
	t.Helper()
	end := make(chan error, 1)
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	go func() {
		_, err := c.Read(make([]byte, 1))
		end <- err
	}()
	select {
	case <-asked:
		return false
	case err := <-end:
		if !torn(err) && !errors.Is(err, io.EOF) {
			t.Errorf("a connection too many: %v", err)
		}
		return true
	}
}
