package azure

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/http"
)

// Reach says whether the authority at host can be reached at all, whatever it answers; host is as configured, "" is the public
// cloud's, and nil roots are the system's. The error is [token.ErrUnavailable]. It asks for no token and needs no secret.
func Reach(ctx context.Context, host string, roots *x509.CertPool) error {
	u, err := parseAuthority(host)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodHead, u.String(), nil)
	if err != nil {
		return fmt.Errorf("asking %q: %w", u.Host, err)
	}
	t := newTransport(roots)
	defer t.client.CloseIdleConnections()
	resp, err := t.client.Do(r)
	if err != nil {
		return unreachable(u.Host, err)
	}
	return resp.Body.Close()
}
