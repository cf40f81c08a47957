package azure

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// Bounds of one exchange with Entra. A dead network is told after one dialTimeout at most, because what could not be dialled
// is not tried again; an Entra that accepts and then says nothing, after answerTimeout.
const (
	dialTimeout      = 3 * time.Second  // a SYN lost once is repeated after 1 s
	handshakeTimeout = 5 * time.Second  // two round trips, over a slow proxy
	answerTimeout    = 10 * time.Second // Entra answers within 1 s
	idleTimeout      = 90 * time.Second // as net/http's default transport
	retryDelay       = 500 * time.Millisecond
	maxRetryDelay    = time.Second // an Entra that asks for more is not retried
)

// metadataHost is the address that this program answers on.
const metadataHost = "169.254.169.254"

// Roots is the system's certificate pool with the certificates of a PEM text added, for the CA options of this package.
func Roots(pem []byte) (*x509.CertPool, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("loading system certificates: %w", err)
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("adding certificates: no PEM certificate in the text")
	}
	return pool, nil
}

// transport is the policy.Transporter of every source that talks to Entra itself. It notes in the context's exchange how each
// request went, since azidentity keeps of a transport error only its text.
type transport struct {
	client *http.Client
}

// newTransport makes a transport that trusts roots; nil means the system's.
func newTransport(roots *x509.CertPool) *transport {
	dialer := &net.Dialer{Timeout: dialTimeout}
	return &transport{client: &http.Client{Transport: &http.Transport{
		Proxy:                 proxy,
		DialContext:           dialer.DialContext,
		TLSClientConfig:       &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:   handshakeTimeout,
		ResponseHeaderTimeout: answerTimeout,
		IdleConnTimeout:       idleTimeout,
	}}}
}

// proxy is the environment's, but never for the metadata service: Go exempts only loopback by itself.
func proxy(r *http.Request) (*url.URL, error) {
	if r.URL.Hostname() == metadataHost {
		return nil, nil
	}
	return http.ProxyFromEnvironment(r)
}

// Do implements policy.Transporter.
func (t *transport) Do(r *http.Request) (*http.Response, error) {
	resp, err := t.client.Do(r) //nolint:gosec // azidentity makes the request, for the authority configured
	x, ok := r.Context().Value(exchangeKey{}).(*exchange)
	if !ok {
		return resp, err
	}
	x.asked, x.host, x.err, x.refused = true, r.URL.Host, err, nil
	if err != nil {
		return resp, err
	}
	resp.Body = notedBody{resp.Body, x}
	if resp.StatusCode >= http.StatusBadRequest {
		if err := x.keep(resp); err != nil {
			return nil, err
		}
	}
	return resp, nil
}

// exchange is what became of the last HTTP request of one token request. azidentity sends them one after the other.
type exchange struct {
	asked bool
	host  string
	err   error // of the request or of its answer's body
	// refused is the answer, if its status is an error's; azidentity does not always pass it on.
	refused *refusedAnswer
	runner  error // what a person is told of a CI service that gave no token, so that Entra was not asked
}

// refusedAnswer is an answer whose status is an error's.
type refusedAnswer struct {
	status     int
	retryAfter string // header
	body       []byte
}

// keep reads a refusal's body, which is small, and leaves a copy in its place.
func (x *exchange) keep(resp *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return errors.Join(fmt.Errorf("reading answer: %w", err), resp.Body.Close())
	}
	if err := resp.Body.Close(); err != nil {
		return fmt.Errorf("reading answer: %w", err)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	x.refused = &refusedAnswer{status: resp.StatusCode, retryAfter: resp.Header.Get("Retry-After"), body: body}
	return nil
}

// notedBody notes an answer that broke off.
type notedBody struct {
	io.ReadCloser
	exchange *exchange
}

func (b notedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.exchange.err = err
	}
	return n, err
}

type exchangeKey struct{}

func withExchange(ctx context.Context) (context.Context, *exchange) {
	x := &exchange{}
	return context.WithValue(ctx, exchangeKey{}, x), x
}

// retries lets azcore try once more, after half a second, what a second try may mend: a 5xx, and a connection that
// the other side had closed. Never what could not be dialled, and never a 429: whoever asked shall know of it.
func retries() policy.RetryOptions {
	return policy.RetryOptions{
		MaxRetries: 1, RetryDelay: retryDelay, MaxRetryDelay: maxRetryDelay,
		ShouldRetry: func(resp *http.Response, err error) bool {
			if err != nil {
				return brokenOff(err)
			}
			return resp.StatusCode >= http.StatusInternalServerError
		},
	}
}

// brokenOff tells a connection that was there and ended from one that never came about.
func brokenOff(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET)
}
