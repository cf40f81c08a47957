package imds_test

import (
	"net/http"
	"testing"

	"azimds/imds"
)

// Each guard, in both directions: with what it forbids there is no token, without it there is one.
func TestGuards(t *testing.T) {
	a := start(t, nil)
	host, metadata := "Host: 169.254.169.254", "Metadata: true"
	line := "GET " + target + " HTTP/1.1"
	tests := []struct {
		name, allowed, forbidden string
		status                   string
	}{
		{"method", get(), request("DELETE "+target+" HTTP/1.1", host, metadata), "405"},
		{"method case", get(), request("get "+target+" HTTP/1.1", host, metadata), "405"},
		{"body", get("Content-Length: 4") + "1234", get("Content-Length: 4097"), "413"},
		{"body of unknown length", get("Content-Length: 0"), get("Transfer-Encoding: chunked") + "0\r\n\r\n", "413"},
		{"host name", get(), request(line, "Host: metadata.evil.test", metadata), "400"},
		{"host port", request(line, "Host: 169.254.169.254:80", metadata), request(line, "Host: 169.254.169.254:8080", metadata), "400"},
		{"host prefix", get(), request(line, "Host: 169.254.169.254.evil.test", metadata), "400"},
		{"host twice", get(), request(line, host, host, metadata), "400"},
		{"host empty", get(), request(line, "Host:", metadata), "400"},
		{"target authority", request("GET http://169.254.169.254"+target+" HTTP/1.1", "Host: evil.test", metadata),
			request("GET http://evil.test"+target+" HTTP/1.1", host, metadata), "400"},
		{"metadata absent", get(), request(line, host), "400"},
		{"metadata value", request(line, host, "METADATA:  TRUE "), request(line, host, "Metadata: 1"), "400"},
		{"metadata list", get(), request(line, host, "Metadata: true, true"), "400"},
		{"metadata twice", get(), get("metadata: true"), "400"},
		{"forwarded for", get("X-Forwarded-Proto: http"), get("X-Forwarded-For: 10.0.0.1"), "400"},
		{"forwarded for, empty", get(), get("x-forwarded-for:"), "400"},
		{"forwarded", get(), get("Forwarded: for=10.0.0.1"), "400"},
		{"origin", get(), get("Origin: null"), "400"},
		{"referer", get("Referrer: x"), get("Referer: http://evil.test/"), "400"},
		{"sec-fetch-site", get("Sec-Fetch-Mode: cors"), get("Sec-Fetch-Site: cross-site"), "400"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := len(a.world.requests())
			if got := a.status(t, tt.forbidden); got != tt.status {
				t.Errorf("forbidden: status %s, want %s", got, tt.status)
			}
			if asked := len(a.world.requests()) - before; asked != 0 {
				t.Errorf("forbidden: source asked %d times", asked)
			}
			if got := a.status(t, tt.allowed); got != "200" {
				t.Errorf("allowed: status %s", got)
			}
		})
	}
}

// The issuer's documents are public, but not to a page that rebinds a name.
func TestGuardOfIssuer(t *testing.T) {
	a := start(t, func(o *imds.Options) {
		issuer := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
		o.Issuer = func() http.Handler { return issuer }
	})
	line := "GET /azimds/emulated/keys HTTP/1.1"
	for _, tt := range []struct{ name, raw, status string }{
		{"plain", request(line, "Host: 169.254.169.254"), "200"},
		{"foreign host", request(line, "Host: evil.test"), "400"},
		{"post", request("POST /azimds/emulated/keys HTTP/1.1", "Host: 169.254.169.254", "Content-Length: 0"), "405"},
		{"another path", request("GET /azimds/emulatedkeys HTTP/1.1", "Host: 169.254.169.254"), "404"},
	} {
		if got := a.status(t, tt.raw); got != tt.status {
			t.Errorf("%s: status %s, want %s", tt.name, got, tt.status)
		}
	}
}

func TestNoIssuer(t *testing.T) {
	a := start(t, nil)
	if got := a.status(t, request("GET /azimds/emulated/keys HTTP/1.1", "Host: 169.254.169.254")); got != "404" {
		t.Errorf("status %s", got)
	}
}

// A probe is answered before anything is asked, with any query, and without a line that a person would see.
func TestProbeAsksNothing(t *testing.T) {
	a := start(t, nil)
	for _, raw := range []string{
		request("GET /metadata/identity/oauth2/token HTTP/1.1", "Host: 169.254.169.254"),
		request("GET "+target+" HTTP/1.1", "Host: 169.254.169.254"),
		request("GET "+target+"&bypass_cache=true&client_id=x HTTP/1.1", "Host: 169.254.169.254"),
		request("GET /metadata/identity/info?api-version=2018-02-01 HTTP/1.1", "Host: 169.254.169.254"),
	} {
		if got := a.status(t, raw); got != "400" {
			t.Errorf("%q: status %s", raw, got)
		}
	}
	if asked := a.world.requests(); len(asked) != 0 {
		t.Errorf("source was asked %v", asked)
	}
	if got := a.status(t, get()); got != "200" {
		t.Errorf("status %s", got)
	}
	if asked := a.world.requests(); len(asked) != 1 {
		t.Errorf("source was asked %v", asked)
	}
}
