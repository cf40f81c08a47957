//go:build !race

// The race detector makes sync.Pool forget at random, so that allocations cannot be counted under it.

package imds_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"azimds/imds"
	"azimds/imds/token"
)

// ownAllocations is what one request for a token that is at hand costs beyond the same reply by a bare net/http handler
// with a fixed body, on a kept connection: the decoded resource, Content-Length as text, and what of the log line does not fit
// into slog's record. A resource sent unescaped costs one less.
const ownAllocations = 3

func TestAllocationsOfCachedToken(t *testing.T) {
	kept := token.Token{
		Value: token.NewSecret(strings.Repeat("A", 1600)), ClientID: appID,
		NotBefore: time.Unix(notBefore, 0), ExpiresOn: time.Unix(expiresOn, 0),
	}
	source := sourceFunc(func(context.Context, token.Request) (token.Token, error) { return kept, nil })
	ours := start(t, func(o *imds.Options) {
		o.Source = source
		o.Log = slog.New(slog.NewTextHandler(io.Discard, nil)) // a line of Info a token, as in production
		o.Observe = func(imds.Event) {}
	})
	raw := strings.Replace(get("User-Agent: azsdk-go-azidentity/v1.15.0"), "https://vault.azure.net", "https%3A%2F%2Fvault.azure.net", 1)

	length := replyLength(t, ours.dial(t, 1), raw)
	body := []byte(strings.Repeat("A", length-1) + "}")
	kind, name, size := []string{"application/json; charset=utf-8"}, []string{"bare"}, []string{strconv.Itoa(length)}
	bare := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h["Content-Type"], h["Server"], h["Content-Length"] = kind, name, size
		if _, err := w.Write(body); err != nil {
			t.Error(err)
		}
	})}
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- bare.Serve(ln) }()
	t.Cleanup(func() {
		if err := bare.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})

	own := allocations(t, ours.dial(t, 1), raw)
	floor := allocations(t, (&agent{addr: ln.Addr().String()}).dial(t, 1), raw)
	t.Logf("allocations a request: ours %.0f, bare net/http %.0f", own, floor)
	if own-floor > ownAllocations {
		t.Errorf("%.0f allocations of our own, want at most %d", own-floor, ownAllocations)
	}
}

// replyLength is the Content-Length of the reply to raw.
func replyLength(t *testing.T, c net.Conn, raw string) int {
	t.Helper()
	reply := exchange(t, c, raw, make([]byte, 8192))
	_, rest, _ := strings.Cut(reply, "Content-Length: ")
	digits, _, _ := strings.Cut(rest, "\r")
	length, err := strconv.Atoi(digits)
	if err != nil {
		t.Fatalf("%v in %q", err, reply)
	}
	return length
}

// allocations counts those of the whole process during one exchange, the client's being none.
func allocations(t *testing.T, c net.Conn, raw string) float64 {
	t.Helper()
	request, buffer := []byte(raw), make([]byte, 8192)
	once := func() {
		if _, err := c.Write(request); err != nil {
			t.Fatal(err)
		}
		readReply(t, c, buffer)
	}
	once()
	return testing.AllocsPerRun(1000, once)
}

func exchange(t *testing.T, c net.Conn, raw string, buffer []byte) string {
	t.Helper()
	if _, err := io.WriteString(c, raw); err != nil {
		t.Fatal(err)
	}
	return string(buffer[:readReply(t, c, buffer)])
}

// readReply reads until the closing brace that ends both bodies.
func readReply(t *testing.T, c net.Conn, buffer []byte) (n int) {
	t.Helper()
	for {
		m, err := c.Read(buffer[n:])
		if err != nil {
			t.Fatal(err)
		}
		if n += m; buffer[n-1] == '}' {
			return n
		}
	}
}
