package azure

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"azimds/imds/token"
)

func TestParseRefusalText(t *testing.T) {
	const ids = " Trace ID: a-1 Correlation ID: b-2 Timestamp: 2025-07-01 08:16:05Z"
	refusal := func(code string, status, number int, rest string) *token.EntraError {
		return &token.EntraError{
			Status: status, Code: code, ErrorCodes: []int{number}, Description: rest + ids,
			Timestamp: "2025-07-01 08:16:05Z", TraceID: "a-1", CorrelationID: "b-2",
		}
	}
	for _, test := range []struct {
		name, text string
		want       *token.EntraError
	}{
		{"one line", "ERROR: AADSTS70043: Too old." + ids + "\nRun the command below", refusal("invalid_grant", 400, 70043, "AADSTS70043: Too old.")},
		{"several lines", strings.ReplaceAll("AADSTS70043: Too old."+ids, " Trace", "\r\nTrace"), refusal("invalid_grant", 400, 70043, "AADSTS70043: Too old.")},
		{"broker", "ERROR: SubError: basic_action V2Error: interaction_required AADSTS50076: More." + ids + ". Status: x", refusal("interaction_required", 400, 50076, "AADSTS50076: More.")},
		{"client", "AADSTS7000215: Wrong." + ids, refusal("invalid_client", 401, 7000215, "AADSTS7000215: Wrong.")},
		{"resource", "AADSTS500011: Unknown." + ids, refusal("invalid_resource", 400, 500011, "AADSTS500011: Unknown.")},
		{"overload", "AADSTS90033: Later." + ids, refusal("temporarily_unavailable", 503, 90033, "AADSTS90033: Later.")},
		{"no ids", "AADSTS50076: More.\nRun this", &token.EntraError{Status: 400, Code: "invalid_grant", ErrorCodes: []int{50076}, Description: "AADSTS50076: More."}},
		{"JSON", `response: {"error":"invalid_grant","error_description":"D","error_codes":[1,2],"trace_id":"t","error_uri":"u"} and more`,
			&token.EntraError{Status: 400, Code: "invalid_grant", Description: "D", ErrorCodes: []int{1, 2}, TraceID: "t", URI: "u"}},
		{"broken JSON", `{"error": and more`, nil},
		{"a mention", "see AADSTS50076 for more", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, ok := parseRefusalText(test.text)
			if ok != (test.want != nil) {
				t.Fatalf("got %v", ok)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("refusal (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "5": 5 * time.Second, "-1": 0, "soon": 0, "1.5": 0, "99999999999": 0,
		now.Add(time.Minute).Format(http.TimeFormat):  time.Minute,
		now.Add(-time.Minute).Format(http.TimeFormat): 0,
	} {
		if got := retryAfter(value, now); got != want {
			t.Errorf("%q: got %v, want %v", value, got, want)
		}
	}
}

// pasteable is a sign-in command in which nothing means anything to a shell.
var pasteable = regexp.MustCompile(`^az login( [0-9A-Za-z._:/=+-]+| "[0-9A-Za-z._:/=+-]+")*$`)

func FuzzParseRefusalText(f *testing.F) {
	recorded, err := filepath.Glob("testdata/az/*.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range recorded {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		failure := cliFailure{resource: arm, scope: arm + "/.default"}
		if got := failure.login(text); !pasteable.MatchString(got) {
			t.Errorf("command %q", got)
		}
		e, ok := parseRefusalText(text)
		if !ok {
			return
		}
		if e.Code == "" || e.Status < 400 || e.Status > 599 {
			t.Errorf("refusal %+v", e)
		}
		if e.URI == "" && !strings.Contains(text, `"error"`) {
			if len(e.ErrorCodes) != 1 || !strings.HasPrefix(e.Description, "AADSTS") || strings.ContainsAny(e.Description, "\r\n") {
				t.Errorf("refusal %+v", e)
			}
		}
	})
}

func FuzzParseRefusal(f *testing.F) {
	f.Add([]byte(`{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret provided.","error_codes":[7000215],"timestamp":"2025-07-01 08:16:05Z","trace_id":"a","correlation_id":"b","error_uri":"https://login.microsoftonline.com/error?code=7000215"}`))
	f.Add([]byte(`{"error":{"code":"x"}}`))
	f.Add([]byte(`<html>`))
	f.Fuzz(func(t *testing.T, body []byte) {
		e, ok := parseRefusal(http.StatusBadRequest, body)
		if ok != (e != nil) || ok && e.Code == "" {
			t.Errorf("got %+v, %v", e, ok)
		}
	})
}
