package azure

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"azimds/imds/token"
)

// maxBody bounds what is read of an answer that is not a token; Entra's refusals are about 1 KB.
const maxBody = 64 << 10

// refusalBody is an OAuth error of RFC 6749 section 5.2 with Entra's additions, as login.microsoftonline.com sends it.
type refusalBody struct {
	Code          string `json:"error"`
	Description   string `json:"error_description"`
	ErrorCodes    []int  `json:"error_codes"`
	Timestamp     string `json:"timestamp"`
	TraceID       string `json:"trace_id"`
	CorrelationID string `json:"correlation_id"`
	URI           string `json:"error_uri"`
}

func (b refusalBody) entraError(status int) *token.EntraError {
	return &token.EntraError{
		Status: status, Code: b.Code, Description: b.Description, ErrorCodes: b.ErrorCodes,
		Timestamp: b.Timestamp, TraceID: b.TraceID, CorrelationID: b.CorrelationID, URI: b.URI,
	}
}

// parseRefusal reads Entra's refusal out of an HTTP answer's body. It reports false when the body is none, as from a proxy
// or a captive portal.
func parseRefusal(status int, body []byte) (*token.EntraError, bool) {
	var b refusalBody
	if err := json.Unmarshal(body, &b); err != nil || b.Code == "" {
		return nil, false //nolint:nilerr // it is no refusal of Entra's
	}
	return b.entraError(status), true
}

// readRefusal is parseRefusal on an answer, with its Retry-After. A 429 is a refusal whatever its body.
func readRefusal(answer *refusedAnswer, now time.Time) (*token.EntraError, bool) {
	e, ok := parseRefusal(answer.status, answer.body)
	if !ok {
		if answer.status != http.StatusTooManyRequests {
			return nil, false
		}
		e = &token.EntraError{Status: answer.status, Code: "temporarily_unavailable", Description: "too many requests"}
	}
	e.RetryAfter = retryAfter(answer.retryAfter, now)
	return e, true
}

// retryAfter reads a Retry-After header (RFC 9110 section 10.2.3): seconds or a date. Anything else, and the past, is 0.
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return max(0, at.Sub(now))
}

var (
	aadsts        = regexp.MustCompile(`AADSTS([0-9]{4,9}): `)
	oauthCode     = regexp.MustCompile(`(?:\bV2Error: |\()([a-z_]{1,40})\)? $`)
	traceID       = regexp.MustCompile(`\bTrace ID: ([0-9A-Za-z-]{1,64})`)
	correlationID = regexp.MustCompile(`\bCorrelation ID: ([0-9A-Za-z-]{1,64})`)
	timestamp     = regexp.MustCompile(`\bTimestamp: ([0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}Z)`)
)

// parseRefusalText finds Entra's refusal in what az, azd or PowerShell wrote to standard error, in the forms seen there:
//
//	ERROR: AADSTS50076: … Trace ID: … Correlation ID: … Timestamp: 2025-07-01 08:16:05Z          az since 2.30 (MSAL), since 2023
//	ERROR: AADSTS70043: …⏎Trace ID: …⏎Correlation ID: …⏎Timestamp: …                            the same, Entra's older form
//	ERROR: V2Error: invalid_grant AADSTS700082: … Timestamp: …Z. Status: Response_Status.…      through the account broker
//	ERROR: Get Token request returned http error: 400 and server response: {"error":…}          az before 2.30 (ADAL)
//	failed to authenticate:⏎(invalid_resource) AADSTS500011: … Timestamp: …Z⏎                   azd
//
// Only the one of JSON has a status, and some name no OAuth error; these follow from the AADSTS number.
func parseRefusalText(text string) (*token.EntraError, bool) {
	if at := strings.Index(text, `{"error":`); at >= 0 {
		var b refusalBody
		if json.NewDecoder(strings.NewReader(text[at:])).Decode(&b) == nil && b.Code != "" {
			return b.entraError(statusOf(b.Code)), true
		}
	}
	at := aadsts.FindStringSubmatchIndex(text)
	if at == nil {
		return nil, false
	}
	number, err := strconv.Atoi(text[at[2]:at[3]])
	if err != nil {
		return nil, false //nolint:nilerr // no code that Entra has
	}
	description := text[at[0]:]
	if end := timestamp.FindStringIndex(description); end != nil {
		description = description[:end[1]]
	} else {
		description, _, _ = strings.Cut(description, "\n")
	}
	e := &token.EntraError{
		Code:          oauthCodeOf(number),
		Description:   strings.Join(strings.Fields(description), " "),
		ErrorCodes:    []int{number},
		Timestamp:     submatch(timestamp, description),
		TraceID:       submatch(traceID, description),
		CorrelationID: submatch(correlationID, description),
	}
	if code := submatch(oauthCode, text[:at[0]]); code != "" {
		e.Code = code
	}
	e.Status = statusOf(e.Code)
	return e, true
}

func submatch(re *regexp.Regexp, text string) string {
	if m := re.FindStringSubmatch(text); m != nil {
		return m[1]
	}
	return ""
}

// oauthCodeOf is the OAuth error that Entra's v2 endpoint sends with an AADSTS number (learn.microsoft.com, "Microsoft Entra
// authentication and authorization error codes"). A refused refresh token or session is invalid_grant, and so is most
// of what a signed-in person can meet.
func oauthCodeOf(number int) string {
	switch number {
	case 500011, 50001:
		return "invalid_resource"
	case 70011, 28002, 28003, 1002012:
		return "invalid_scope"
	case 7000215, 7000222, 700027, 7000229, 50012, 700030:
		return "invalid_client"
	case 700016, 7000112, 70001:
		return "unauthorized_client"
	case 90002, 900023, 900144, 90013, 90014, 50059:
		return "invalid_request"
	case 90033, 90038, 50196, 1000031:
		return "temporarily_unavailable"
	default:
		return "invalid_grant"
	}
}

// statusOf is the HTTP status that Entra sends with an OAuth error: 401 where it did not accept who asks, otherwise 400.
func statusOf(code string) int {
	switch code {
	case "invalid_client":
		return http.StatusUnauthorized
	case "temporarily_unavailable", "server_error":
		return http.StatusServiceUnavailable
	default:
		return http.StatusBadRequest
	}
}

// code names a refusal as people search for it: AADSTS50076, else the OAuth error.
func code(e *token.EntraError) string {
	if len(e.ErrorCodes) > 0 {
		return fmt.Sprintf("AADSTS%d", e.ErrorCodes[0])
	}
	return e.Code
}
