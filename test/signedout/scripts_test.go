//go:build signedouttable

package signedout

const (
	noHeader    = `{"error":"invalid_request","error_description":"Required metadata header not specified"}`
	notFound    = `{"error":"invalid_request","error_description":"Identity not found. ` + hint + `"}`
	consent     = `{"error":"invalid_grant","error_description":"AADSTS65001: The user or administrator has not consented to use the application with ID '04b07795-8ddb-461a-bbee-02f9e1bf7b46' named 'Microsoft Azure CLI'. Send an interactive authorization request for this user and resource. Trace ID: 0 Correlation ID: 0 Timestamp: 2026-11-21 04:00:00Z. ` + hint + `","error_codes":[65001],"timestamp":"2026-11-21 04:00:00Z","trace_id":"5e1fc9d2-0000-0000-0000-000000000000","correlation_id":"7b7d1a44-0000-0000-0000-000000000000","suberror":"consent_required"}`
	down        = `{"error":"temporarily_unavailable","error_description":"Entra cannot be reached. ` + hint + `"}`
	tooMany     = `{"error":"too_many_requests","error_description":"Too many requests. ` + hint + `"}`
	docker      = `{"error":"forbidden","error_description":"connecting to 169.254.169.254:80: network is unreachable. ` + hint + `"}`
	unavailable = `{"error":"forbidden","error_description":"Authentication unavailable: the managed identity is unreachable. ` + hint + `"}`
	refusal     = `{"error":"forbidden","error_description":"` + hint + `"}`
)

var (
	rst      = reply{}
	probe400 = reply{status: 400, body: noHeader}
	token400 = reply{status: 400, body: notFound}
)

// scripts are the candidates, and what else there is to compare them with.
var scripts = []script{
	{name: "no agent", patient: true, last: true, meaning: "nothing has the address, the network is unreachable", absent: true},
	{name: "port shut", patient: true, last: true, meaning: "the listening socket is shut down; connections are refused", shut: true},
	{name: "reset at accept", patient: true, meaning: "each connection is reset before a byte is read", drop: true},
	{name: "400/400", last: true, meaning: "probe: 400 as ever; token: 400 with the hint", probe: probe400, token: []reply{token400}},
	{name: "RST/400", last: true, meaning: "probe: reset once it is read; token: 400 with the hint", probe: rst, token: []reply{token400}},
	{name: "RST or 400/400", last: true, meaning: "probe: reset if it names no resource, otherwise 400; token: 400 with the hint",
		bare: &rst, probe: probe400, token: []reply{token400}},
	{name: "FIN/400", meaning: "probe: closed without an answer; token: 400 with the hint", probe: reply{close: true}, token: []reply{token400}},
	{name: "RST/RST", patient: true, meaning: "probe and token: reset once read", probe: rst, token: []reply{rst}},
	{name: "403/403", meaning: "probe and token: 403 with the word unreachable, as Docker Desktop's proxy",
		probe: reply{status: 403, body: docker}, token: []reply{{status: 403, body: docker}}},
	{name: "400/403u", meaning: "probe: 400; token: 403 with the word unreachable", probe: probe400, token: []reply{{status: 403, body: docker}}},
	{name: "400/403ua", meaning: "probe: 400; token: 403 with the words unreachable and Authentication unavailable", probe: probe400,
		token: []reply{{status: 403, body: unavailable}}},
	{name: "RST or 400/403ua", last: true, meaning: "probe: reset if it names no resource, otherwise 400; token: 403 as before",
		bare: &rst, probe: probe400, token: []reply{{status: 403, body: unavailable}}},
	{name: "RST/403", meaning: "probe: reset; token: 403 with the hint", probe: rst, token: []reply{{status: 403, body: refusal}}},
	{name: "RST/401", meaning: "probe: reset; token: 401 with the hint", probe: rst, token: []reply{{status: 401, body: refusal}}},
	{name: "400/text", meaning: "probe: 400; token: 200 with plain text", probe: probe400, token: []reply{{status: 200, text: true, body: hint}}},
	{name: "consent", meaning: "probe: 400; token: 400 with Entra's refusal", probe: probe400, token: []reply{{status: 400, body: consent}}},
	{name: "503, 200", meaning: "probe: 400; token: 503, then a token", probe: probe400, token: []reply{{status: 503, body: down}, {status: 200}}},
	{name: "503ra, 200", meaning: "probe: 400; token: 503 with Retry-After: 1, then a token", probe: probe400,
		token: []reply{{status: 503, body: down, retryAfter: 1}, {status: 200}}},
	{name: "503, 400", meaning: "probe: 400; token: 503 once, then 400 with the hint", probe: probe400, token: []reply{{status: 503, body: down}, token400}},
	{name: "503", patient: true, meaning: "probe: 400; token: 503 for good", probe: probe400, token: []reply{{status: 503, body: down}}},
	{name: "RST/503", patient: true, meaning: "probe: reset; token: 503 for good", probe: rst, token: []reply{{status: 503, body: down}}},
	{name: "429ra, 200", meaning: "probe: 400; token: 429 with Retry-After: 2, then a token", probe: probe400,
		token: []reply{{status: 429, body: tooMany, retryAfter: 2}, {status: 200}}},
	{name: "429", patient: true, meaning: "probe: 400; token: 429 for good", probe: probe400, token: []reply{{status: 429, body: tooMany}}},
}
