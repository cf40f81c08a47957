package azure

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"time"

	"azimds/imds/token"
)

// MaxSkew is how far a clock may be from Entra's: assertions, and tokens' times, are judged with five minutes of tolerance
// (learn.microsoft.com, "access-tokens", "nbf"; AADSTS700024).
const MaxSkew = 5 * time.Minute

// Skew is by how much the clock now runs ahead of the authority's at host, which is negative for one that is behind, to about a
// second: the time is that of a Date header (RFC 9110, section 6.6.1). Host is as configured, "" is the public cloud's; tenant ""
// is everybody's; nil roots are the system's. By a clock that is so wrong that the authority's certificate is not valid now, it is
// how far that is from being so: at least that much. It asks for the authority's own description, without a secret. The error is
// [token.ErrUnavailable].
func Skew(ctx context.Context, host, tenant string, roots *x509.CertPool, now func() time.Time) (time.Duration, error) {
	u, err := parseAuthority(host)
	if err != nil {
		return 0, err
	}
	if err := checkTenant(tenant); err != nil {
		return 0, err
	}
	u = u.JoinPath(cmp.Or(tenant, "organizations"), "v2.0/.well-known/openid-configuration")
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return 0, fmt.Errorf("asking %q: %w", u.Host, err)
	}
	client := clockClient(roots, now)
	defer client.CloseIdleConnections()
	asked := now()
	resp, err := client.Do(r)
	answered := now()
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		return outside(answered, invalid.Cert), nil
	}
	if err != nil {
		return 0, unreachable(u.Host, err)
	}
	if err := resp.Body.Close(); err != nil {
		return 0, fmt.Errorf("asking %q: %w", u.Host, err)
	}
	date, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return 0, &token.Error{Kind: token.ErrUnavailable, Message: u.Host + " did not say what time it is", Command: "curl -sSI https://" + u.Host}
	}
	theirs := date.Add(time.Second / 2) // the header has whole seconds
	return asked.Add(answered.Sub(asked) / 2).Sub(theirs), nil
}

// clockClient judges certificates by the clock in question, and does not follow a page that sends it elsewhere.
func clockClient(roots *x509.CertPool, now func() time.Time) *http.Client {
	client := newTransport(roots).client
	if t, ok := client.Transport.(*http.Transport); ok {
		t.TLSClientConfig.Time = now
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return client
}

// outside is how far a time is from a certificate's.
func outside(now time.Time, c *x509.Certificate) time.Duration {
	if now.Before(c.NotBefore) {
		return now.Sub(c.NotBefore)
	}
	return now.Sub(c.NotAfter)
}
