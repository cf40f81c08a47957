package imds_test

import (
	"errors"
	"io"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"azimds/imds"
)

// exchanged sends raw bytes to a server and returns all that comes back until it has ended the connection, however it did.
func (a *agent) exchanged(t *testing.T, raw string) string {
	t.Helper()
	c, err := a.connect(1)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }() // it may be reset
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, raw); err != nil && !torn(err) {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil && !errors.Is(err, syscall.ENOTCONN) {
		t.Fatal(err)
	}
	reply, err := io.ReadAll(c)
	if err != nil && !torn(err) {
		t.Fatalf("%q: %v", raw, err)
	}
	return string(reply)
}

var (
	// granted is the only request line that a token may follow.
	granted = regexp.MustCompile(`^GET (?i:http://169\.254\.169\.254(:80)?)?(?i:/metadata/identity/oauth2/token)/?\?\S+ HTTP/1\.[01]\r?\n`)
	// forbidden are header fields with which none may.
	forbidden = regexp.MustCompile(`(?im)^(X-Forwarded-For|Forwarded|Origin|Referer|Sec-Fetch-Site)[ \t]*:`)
	metadata  = regexp.MustCompile(`(?im)^Metadata:[ \t]*true[ \t]*\r?$`)
	folded    = regexp.MustCompile(`\n[ \t]+`) // a field that goes on: RFC 9112 section 5.2
	hosts     = regexp.MustCompile(`(?im)^Host:[ \t]*169\.254\.169\.254(:80)?[ \t]*\r?$`)
)

// gotToken tells whether the first reply carries a token.
func gotToken(reply string) bool {
	first, _, _ := strings.Cut(strings.TrimPrefix(reply, "HTTP/1."), "HTTP/1.")
	return strings.Contains(first, `"access_token"`)
}

// unheard keeps nothing of what passes.
func unheard(o *imds.Options) { o.Log, o.Observe = nil, nil }

// FuzzRequestLine wants no request line but the service's own to get a token, whatever it is made of.
func FuzzRequestLine(f *testing.F) {
	for _, line := range []string{
		"GET " + target + " HTTP/1.1", "GET http://169.254.169.254" + target + " HTTP/1.1", "GET http://evil.test" + target + " HTTP/1.1",
		"GET /metadata/identity\\oauth2\\token?api-version=2018-02-01&resource=a HTTP/1.1", "OPTIONS * HTTP/1.1", "PRI * HTTP/2.0",
		"GET  " + target + " HTTP/1.1", "GET //metadata/identity/oauth2/token?resource=a HTTP/1.1", "CONNECT 169.254.169.254:80 HTTP/1.1",
		"get " + target + " HTTP/1.0", "GET " + target + " HTTP/9.9", "GET " + target, "GET http://a@169.254.169.254" + target + " HTTP/1.1",
		"GET /./" + target + " HTTP/1.1\r\nHost: evil.test",
	} {
		f.Add(line)
	}
	a := start(f, unheard)
	f.Fuzz(func(t *testing.T, line string) {
		raw := line + "\r\nHost: 169.254.169.254\r\nMetadata: true\r\nConnection: close\r\n\r\n"
		if reply := a.exchanged(t, raw); gotToken(reply) && !granted.MatchString(strings.TrimLeft(raw, "\r\n")) {
			t.Errorf("%q got a token", raw)
		}
	})
}

// FuzzHeaders wants a token for no request that lacks the service's Host or a Metadata field, or that a proxy or browser had a
// hand in.
func FuzzHeaders(f *testing.F) {
	for _, fields := range []string{
		"Host: 169.254.169.254\r\nMetadata: true", "Host: 169.254.169.254:80\r\nmetadata:True ", "Host: evil.test\r\nMetadata: true",
		"Host: 169.254.169.254\r\nMetadata: true\r\nOrigin: null", "Host: 169.254.169.254\r\nMetadata: true\r\nReferer:",
		"Host: 169.254.169.254\r\nMetadata: true\r\nX-Forwarded-For : a", "Host: 169.254.169.254\r\nMetadata:\r\n true",
		"Host: 169.254.169.254\nMetadata: true\nForwarded: for=a", "Metadata: true", "Host: 169.254.169.254\r\nHost: evil.test\r\nMetadata: true",
		"Host: 169.254.169.254\r\nMetadata: true\r\nMetadata: false", "Host: 169.254.169.254\r\nMetadata: true\r\nContent-Length: 5\r\n\r\nabcde",
		"Host: 169.254.169.254\r\nMetadata: true\r\nTransfer-Encoding: chunked\r\n\r\n0", "Host: 169.254.169.254\x00\r\nMetadata: true",
		"Host: 169.254.169.254.\r\nMetadata: true", "Host: 0xa9fea9fe\r\nMetadata: true", "Host: 169.254.169.254:080\r\nMetadata: true",
		"Host: 169.254.169.254\r\nMetadata: true\r\nSec-Fetch-Site: same-origin", "Host: 169.254.169.254\r\nMetadata: true\r\nSec-Fetch-Mode: cors",
	} {
		f.Add(fields)
	}
	a := start(f, unheard)
	f.Fuzz(func(t *testing.T, fields string) {
		head, _, _ := strings.Cut(strings.ReplaceAll(fields+"\r\n\r\n", "\r\n", "\n"), "\n\n") // the first request's
		head = folded.ReplaceAllString(head, " ")
		reply := a.exchanged(t, "GET "+target+" HTTP/1.1\r\n"+fields+"\r\n\r\n")
		if !gotToken(reply) {
			return
		}
		if forbidden.MatchString(head) || len(metadata.FindAllString(head, -1)) != 1 || len(hosts.FindAllString(head, -1)) != 1 {
			t.Errorf("%q got a token", fields)
		}
	})
}
