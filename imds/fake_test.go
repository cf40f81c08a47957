package imds_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"azimds/imds"
	"azimds/imds/caller"
	"azimds/imds/token"
)

// Times of a reply that the real service gave in 2024: 13 minutes into a token of 24 hours and 5 minutes.
const (
	notBefore = 1709809297
	expiresOn = 1709895997
	now       = expiresOn - 86317
)

const (
	tenantID = "dd08c73a-948e-45de-9ce4-845e0568830a"
	appID    = "0d46c104-a85f-49e2-9c96-ae58c6fa927b"
	secret   = "eyJ0eXAiOiJKV1QifQ.e30.c2lnbmF0dXJl" // what must be in a reply and nowhere else
)

var endpoint = netip.MustParseAddrPort("169.254.169.254:80")

// patience is how long a test waits for what must happen. It is no measure of anything: a test that meets it has failed.
const patience = 30 * time.Second

// world is a [token.Source] in which the resource's host tells what happens.
type world struct {
	mu    sync.Mutex
	asked []token.Request
}

func (w *world) Token(_ context.Context, r token.Request) (token.Token, error) {
	w.mu.Lock()
	w.asked = append(w.asked, r)
	w.mu.Unlock()
	good := token.Token{
		Value: token.NewSecret(secret), ClientID: appID, TenantID: tenantID,
		NotBefore: time.Unix(notBefore, 0), ExpiresOn: time.Unix(expiresOn, 0),
	}
	host, _, _ := strings.Cut(strings.TrimPrefix(r.Resource, "https://"), "/")
	switch host {
	case "long.test":
		good.Value = token.NewSecret(strings.Repeat("A", 3000))
	case "opaque.test":
		good.ClientID, good.NotBefore = "", time.Time{}
	case "empty.test":
		return token.Token{}, nil
	case "expired.test":
		good.ExpiresOn = time.Unix(now, 0)
	case "signed-out.test":
		return token.Token{}, fmt.Errorf("asking for a token: %w", &token.Error{
			Kind: token.ErrSignInRequired, Message: "nobody is signed in to Azure", Command: "az login",
			Err: errors.New("internal detail"),
		})
	case "bare-signed-out.test":
		return token.Token{}, fmt.Errorf("internal detail: %w", token.ErrSignInRequired)
	case "unsupported.test":
		return token.Token{}, &token.Error{
			Kind: token.ErrUnsupportedResource, Message: `resource has a character that cannot be asked for: "{"`,
		}
	case "away.test":
		return token.Token{}, fmt.Errorf("internal detail: %w", token.ErrUnavailable)
	case "broken.test":
		return token.Token{}, errors.New("internal detail")
	case "panic.test":
		panic("internal detail")
	case "consent.test":
		return token.Token{}, fmt.Errorf("internal detail: %w", refusal())
	case "throttled.test":
		return token.Token{}, &token.EntraError{Status: 429, Code: "temporarily_unavailable", RetryAfter: 2500 * time.Millisecond}
	case "throttled-long.test":
		return token.Token{}, &token.EntraError{Status: 429, RetryAfter: 30 * time.Second}
	case "entra-down.test":
		return token.Token{}, &token.EntraError{Status: 503, Code: "temporarily_unavailable", Description: "AADSTS90033: A transient error has occurred."}
	}
	return good, nil
}

// refusal is one that Entra gave, as published in MSAL.NET #3979.
func refusal() *token.EntraError {
	return &token.EntraError{
		Status: 400, Code: "invalid_resource",
		Description: "AADSTS500011: The resource principal named https://consent.test was not found in the tenant named Contoso.",
		ErrorCodes:  []int{500011}, Timestamp: "2024-04-24 17:54:15Z", TraceID: "c4c2a3a5-0000-0000-0000-000000000000",
		CorrelationID: "1a2b3c4d-0000-0000-0000-000000000000", URI: "https://login.microsoftonline.com/error?code=500011",
	}
}

// requests is what the source was asked for so far.
func (w *world) requests() []token.Request {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.asked)
}

// sourceFunc is a [token.Source] made for one test.
type sourceFunc func(context.Context, token.Request) (token.Token, error)

func (f sourceFunc) Token(ctx context.Context, r token.Request) (token.Token, error) {
	return f(ctx, r)
}

// resolverFunc is an [imds.CallerResolver] made for one test.
type resolverFunc func(client, dialed netip.AddrPort) (caller.Caller, error)

func (f resolverFunc) Resolve(client, dialed netip.AddrPort) (caller.Caller, error) {
	return f(client, dialed)
}

// byAddress names callers by the loopback address they come from: 127.0.0.N is uid 1000+N.
func byAddress(client, dialed netip.AddrPort) (caller.Caller, error) {
	if dialed != endpoint {
		return caller.Caller{}, fmt.Errorf("asked about %s", dialed)
	}
	return caller.Caller{UID: 1000 + uint32(client.Addr().As4()[3]), Inode: 1, Cgroup: 2}, nil
}

// journal is a log and all events, kept as text.
type journal struct {
	mu     sync.Mutex
	text   strings.Builder
	events []imds.Event
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) observe(e imds.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.events = append(j.events, e)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

func (j *journal) seen() []imds.Event {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.events)
}

// agent is a server on a loopback port, which it believes to be the service's address.
type agent struct {
	addr   string
	world  *world
	server *imds.Server
	*journal

	stop   context.CancelFunc
	served chan error // what Serve returned
}

// start serves until the test ends. change may alter the options; nil alters none.
func start(t testing.TB, change func(*imds.Options)) *agent {
	t.Helper()
	a := prepare(t, change)
	a.serve(t, a.server.Serve)
	return a
}

// prepare makes a server that serves nothing yet.
func prepare(t testing.TB, change func(*imds.Options)) *agent {
	t.Helper()
	a := &agent{world: &world{}, journal: &journal{}, served: make(chan error, 1)}
	o := imds.Options{
		Dialed:  func(*net.TCPConn) (netip.AddrPort, error) { return endpoint, nil },
		Callers: resolverFunc(byAddress),
		Admit:   func(caller.Caller) error { return nil },
		Source:  a.world,
		Log: slog.New(slog.NewTextHandler(a.journal, &slog.HandlerOptions{
			Level: slog.LevelDebug,
			ReplaceAttr: func(_ []string, attr slog.Attr) slog.Attr {
				if attr.Key == slog.TimeKey {
					return slog.Attr{}
				}
				return attr
			},
		})),
		Observe: a.observe,
		Now:     func() time.Time { return time.Unix(now, 0) },
	}
	if change != nil {
		change(&o)
	}
	s, err := imds.New(o)
	if err != nil {
		t.Fatal(err)
	}
	a.server = s
	return a
}

// serve has the server serve on a listener of its own until the test ends.
func (a *agent) serve(t testing.TB, serve func(context.Context, net.Listener) error) {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	a.addr, a.stop = ln.Addr().String(), cancel
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		a.served <- serve(ctx, ln)
	}()
	t.Cleanup(func() { cancel(); <-finished })
}

// connect connects from 127.0.0.host, with a deadline for all that follows.
func (a *agent) connect(host byte) (*net.TCPConn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, host)}, Timeout: patience}
	c, err := d.Dial("tcp4", a.addr)
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), c.SetDeadline(time.Now().Add(patience))
}

// dial is connect to a server that admits.
func (a *agent) dial(t testing.TB, host byte) *net.TCPConn {
	t.Helper()
	c, err := a.connect(host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // many are closed already
	return c
}

// send writes raw bytes on a connection of its own, closes its side and returns everything that comes back, and how it
// ended: nil is an orderly end.
func (a *agent) send(t testing.TB, raw string) (string, error) {
	t.Helper()
	c := a.dial(t, 1)
	if _, err := io.WriteString(c, raw); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil && !errors.Is(err, syscall.ENOTCONN) { // reset already: the read says so
		t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	return string(b), err
}

// status is the status of the one reply to raw bytes.
func (a *agent) status(t testing.TB, raw string) string {
	t.Helper()
	reply, err := a.send(t, raw)
	if err != nil {
		t.Fatal(err)
	}
	return statusOf(reply)
}

// statusOf cuts "400" out of "HTTP/1.1 400 Bad Request…".
func statusOf(reply string) string {
	_, rest, _ := strings.Cut(reply, " ")
	status, _, _ := strings.Cut(rest, " ")
	return status
}

// get is a request for the token endpoint that is in order; lines are headers to add.
func get(lines ...string) string {
	return request(append([]string{"GET " + target + " HTTP/1.1", "Host: 169.254.169.254", "Metadata: true"}, lines...)...)
}

const target = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net"

func request(lines ...string) string { return strings.Join(lines, "\r\n") + "\r\n\r\n" }
