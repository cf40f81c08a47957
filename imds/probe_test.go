package imds_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"azimds/imds"
	"azimds/imds/caller"
)

// While there is no token to be had, a probe that names no resource is reset, and everything else is answered as ever;
// while there is one, the same probe gets its 400.
func TestProbeIsResetWhileThereIsNoToken(t *testing.T) {
	var none atomic.Bool
	a := start(t, func(o *imds.Options) { o.Available = func() bool { return !none.Load() } })
	ask := func(target string, headers ...string) (string, error) {
		lines := append([]string{"GET " + target + " HTTP/1.1", "Host: 169.254.169.254", "Connection: close"}, headers...)
		return a.send(t, strings.Join(lines, "\r\n")+"\r\n\r\n")
	}
	const path = "/metadata/identity/oauth2/token"
	const query = "?api-version=2018-02-01&resource=https://vault.azure.net"
	for _, c := range []struct {
		name, target string
		headers      []string
		reset        bool
		status       string
	}{
		{"Go's and JavaScript's probe", path, nil, true, "400"},
		{"Java's probe", path + "?api-version=2018-02-01", nil, true, "400"},
		{"Python's probe", path + query, nil, false, "400"},
		{"a token request", path + query, []string{"Metadata: true"}, false, "200"},
		{"a token request without a resource", path + "?api-version=2018-02-01", []string{"Metadata: true"}, false, "400"},
		{"another path", "/metadata/identity/getplatformmetadata?cred-api-version=2.0", nil, false, "404"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, without := range []bool{false, true} {
				none.Store(without)
				got, err := ask(c.target, c.headers...)
				if without && c.reset {
					if got != "" || !errors.Is(err, syscall.ECONNRESET) {
						t.Errorf("without a token: %q, %v; want a reset", got, err)
					}
					continue
				}
				if err != nil || !strings.HasPrefix(got, "HTTP/1.1 "+c.status) {
					t.Errorf("without a token %v: %q, %v; want status %s", without, got, err, c.status)
				}
			}
		})
	}
}

// The probe of azimds itself, by which the holder sees that a repair has worked, is answered then, too.
func TestOwnProbeIsAnsweredWhileThereIsNoToken(t *testing.T) {
	for _, ours := range []bool{false, true} {
		a := start(t, func(o *imds.Options) {
			o.Available = func() bool { return false }
			o.Ours = func(caller.Caller) bool { return ours }
		})
		got, err := a.send(t, "GET /metadata/identity/oauth2/token HTTP/1.1\r\nHost: 169.254.169.254\r\nConnection: close\r\n\r\n")
		if answered := strings.HasPrefix(got, "HTTP/1.1 400"); answered != ours || ours != (err == nil) {
			t.Errorf("ours %v: %q, %v", ours, got, err)
		}
	}
}
