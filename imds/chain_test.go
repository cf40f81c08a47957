package imds_test

import (
	"context"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"azimds/imds"
	"azimds/imds/caller"
	"azimds/imds/token"
)

// TestChainIsSentOn wants a token request that comes after a probe told, in the place of what SDKs retry, what lets a chain go
// on; and nothing else changed.
func TestChainIsSentOn(t *testing.T) {
	const path = "GET /metadata/identity/oauth2/token"
	for _, c := range []struct {
		name, resource string
		probed         bool
		ago            time.Duration
		ours           bool
		status         string
	}{
		{"no probe", "away.test", false, 0, false, "503"},
		{"a probe", "away.test", true, 0, false, "403"},
		{"a probe a while ago", "away.test", true, 9 * time.Second, false, "403"},
		{"a probe long ago", "away.test", true, 11 * time.Second, false, "503"},
		{"a probe, and the clock set back", "away.test", true, -time.Hour, false, "503"},
		{"a probe of azimds itself", "away.test", true, 0, true, "503"},
		{"throttled", "throttled.test", true, 0, false, "403"},
		{"refused", "consent.test", true, 0, false, "400"},
		{"a token", "vault.test", true, 0, false, "200"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var later atomic.Int64
			a := start(t, func(o *imds.Options) {
				o.Now = func() time.Time { return time.Unix(now, later.Load()) }
				o.Ours = func(caller.Caller) bool { return c.ours }
			})
			if c.probed {
				probe := request(path+" HTTP/1.1", "Host: 169.254.169.254", "Connection: close")
				if status := a.status(t, probe); status != "400" {
					t.Fatalf("the probe got %s", status)
				}
			}
			later.Store(int64(c.ago))
			status := a.status(t, request(path+"?api-version=2018-02-01&resource=https://"+c.resource+" HTTP/1.1",
				"Host: 169.254.169.254", "Metadata: true", "Connection: close"))
			if status != c.status {
				t.Errorf("status %s, want %s", status, c.status)
			}
		})
	}
}

// silent is a source that does not answer.
type silent struct{}

func (silent) Token(ctx context.Context, _ token.Request) (token.Token, error) {
	<-ctx.Done()
	return token.Token{}, ctx.Err()
}

// TestChainIsNotKeptWaiting wants a chain's wait cut short while there is no token to be had.
func TestChainIsNotKeptWaiting(t *testing.T) {
	a := start(t, func(o *imds.Options) {
		o.Source, o.Available = silent{}, func() bool { return false }
	})
	if status := a.status(t, request("GET "+target+" HTTP/1.1", "Host: 169.254.169.254", "Connection: close")); status != "400" {
		t.Fatalf("the probe got %s", status)
	}
	c := a.dial(t, 1) // which stays open: a client that leaves is not waited for either
	if _, err := io.WriteString(c, get("Connection: close")); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(c)
	if err != nil || statusOf(string(got)) != "403" || !strings.Contains(string(got), "no token can be had at the moment") {
		t.Errorf("%q, %v; want status 403", got, err)
	}
}
