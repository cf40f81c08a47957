package azure

import (
	"errors"
	"strings"
	"testing"

	"azimds/imds/token"
	"azimds/test/entra"
)

// TestReach wants an authority that answers told from one that does not; what it answers does not matter.
func TestReach(t *testing.T) {
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
	if err := Reach(t.Context(), s.URL(), roots); err != nil {
		t.Error(err)
	}
	if err := Reach(t.Context(), s.URL(), nil); !errors.Is(err, token.ErrUnavailable) {
		t.Errorf("an authority that is not trusted: %v, want ErrUnavailable", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Reach(t.Context(), s.URL(), roots); !errors.Is(err, token.ErrUnavailable) || !strings.Contains(err.Error(), "cannot reach 127.0.0.1") {
		t.Errorf("an authority that is gone: %v, want ErrUnavailable", err)
	}
}
