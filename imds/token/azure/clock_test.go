package azure

import (
	"context"
	"errors"
	"testing"
	"time"

	"azimds/imds/token"
	"azimds/test/entra"
)

// A clock that runs by the authority's is told from one that is ahead or behind, by as much, also where the certificate is not
// valid by it; an authority that does not answer, or whom nobody vouches for, tells nothing.
func TestSkew(t *testing.T) {
	s, err := entra.New(entra.Options{})
	if err == nil {
		err = s.Start(nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	roots, err := Roots(s.CAPEM())
	if err != nil {
		t.Fatal(err)
	}
	const century = 100 * 365 * 24 * time.Hour
	for _, tt := range []struct {
		name, tenant string
		ahead        time.Duration
		slack        time.Duration // of what is found: a machine may be slow; of a certificate, years
	}{
		{name: "right", slack: 2 * time.Minute},
		{name: "right, by the tenant", tenant: entra.DefaultTenant, slack: 2 * time.Minute},
		{name: "ahead", ahead: time.Hour / 2, slack: 2 * time.Minute},
		{name: "behind", ahead: -time.Hour / 2, slack: 2 * time.Minute},
		{name: "a century ahead", ahead: century, slack: century / 2},
		{name: "a century behind", ahead: -century, slack: century / 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Skew(t.Context(), s.URL(), tt.tenant, roots, func() time.Time { return time.Now().Add(tt.ahead) })
			if err != nil || (got-tt.ahead).Abs() > tt.slack {
				t.Errorf("skew %s, %v, want %s", got, err, tt.ahead)
			}
		})
	}
	for _, r := range s.Requests() {
		if r.Method != "GET" || r.ClientID != "" {
			t.Errorf("asked by %+v", r)
		}
	}
	if _, err := Skew(t.Context(), s.URL(), "", nil, time.Now); !errors.Is(err, token.ErrUnavailable) {
		t.Errorf("an authority that is not trusted: %v", err)
	}
	if _, err := Skew(t.Context(), s.URL(), "a b", roots, time.Now); err == nil {
		t.Error("a tenant that is none is asked for")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Skew(ended, s.URL(), "", roots, time.Now); !errors.Is(err, token.ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("called off: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Skew(t.Context(), s.URL(), "", roots, time.Now); !errors.Is(err, token.ErrUnavailable) {
		t.Errorf("an authority that is gone: %v", err)
	}
}
