package imds

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"azimds/imds/token"
)

func TestProblemOf(t *testing.T) {
	entra := &token.EntraError{Status: 400, Code: "interaction_required", Description: "AADSTS50076: more is needed.", ErrorCodes: []int{50076, 2}}
	signIn := &token.Error{Kind: token.ErrSignInRequired, Message: "more proof is needed", Command: "az login --scope x", Err: entra}
	throttled := func(d time.Duration) error { return &token.EntraError{Status: 429, RetryAfter: d} }
	tests := []struct {
		name       string
		err        error
		status     int
		body       string
		retryAfter string
	}{
		{"entra alone", entra, 400, `{"error":"interaction_required","error_description":"AADSTS50076: more is needed.","error_codes":[50076,2]}`, ""},
		{"entra and a command", signIn, 400,
			`{"error":"interaction_required","error_description":"AADSTS50076: more is needed. azimds: more proof is needed; run: az login --scope x","error_codes":[50076,2]}`, ""},
		{"entra says nothing", &token.EntraError{Status: 401}, 400,
			`{"error":"invalid_request","error_description":"Entra ID refused the request"}`, ""},
		{"throttled", throttled(0), 429, `{"error":"invalid_request","error_description":"Temporarily throttled, too many requests"}`, ""},
		{"throttled, 5 s", throttled(5 * time.Second), 429, `{"error":"invalid_request","error_description":"Temporarily throttled, too many requests"}`, "5"},
		{"throttled, more", throttled(5001 * time.Millisecond), 429, `{"error":"invalid_request","error_description":"Temporarily throttled, too many requests"}`, ""},
		{"throttled, negative", throttled(-time.Hour), 429, `{"error":"invalid_request","error_description":"Temporarily throttled, too many requests"}`, ""},
		{"unknown identity", &token.Error{Message: `no identity is called "x"`}, 400,
			`{"error":"invalid_request","error_description":"Identity not found. azimds: no identity is called \"x\""}`, ""},
		{"signed out", &token.Error{Kind: token.ErrSignInRequired, Message: "nobody is signed in", Command: "az login"}, 403,
			`{"error":"service_unavailable","error_description":"Authentication unavailable: the managed identity is unreachable. azimds: nobody is signed in; run: az login"}`, ""},
		{"out of reach for good", &token.Error{Kind: token.ErrUnreachable, Message: "no network"}, 403,
			`{"error":"service_unavailable","error_description":"Authentication unavailable: the managed identity is unreachable. azimds: no network"}`, ""},
		{"unsupported", fmt.Errorf("x: %w", token.ErrUnsupportedResource), 400,
			`{"error":"invalid_resource","error_description":"azimds: this resource cannot be asked for"}`, ""},
		{"away, with a command", &token.Error{Kind: token.ErrUnavailable, Message: "az does not answer", Command: "az account show", Err: errors.New("detail")}, 503,
			`{"error":"service_unavailable","error_description":"azimds: az does not answer; run: az account show"}`, ""},
		{"anything else", errors.New("detail"), 500, `{"error":"server_error","error_description":"azimds: internal error, its log says more"}`, ""},
	}
	for _, tt := range tests {
		h := http.Header{}
		p := problemOf(tt.err)
		status, body := p.appendReply(h, nil)
		if status != tt.status || h.Get("Retry-After") != tt.retryAfter {
			t.Errorf("%s: status %d, Retry-After %q", tt.name, status, h.Get("Retry-After"))
		}
		if diff := cmp.Diff(tt.body, string(body)); diff != "" {
			t.Errorf("%s (-want +got)\n%s", tt.name, diff)
		}
		if !errors.Is(p, tt.err) || p.level() < slog.LevelWarn {
			t.Errorf("%s: the log is told %v at %s", tt.name, p, p.level())
		}
	}
}
