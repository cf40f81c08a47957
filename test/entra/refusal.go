package entra

import (
	"fmt"
	"net/http"
)

// Refusal is an error of Entra's, as its token endpoint answers it.
type Refusal struct {
	Status int    `json:"status"` // HTTP
	Error  string `json:"error"`  // of RFC 6749, 5.2: "invalid_client"
	Code   int    `json:"code"`   // the number after AADSTS
	Text   string `json:"text"`   // what follows it, without the ids that Entra appends
}

// errorBody is the error document in the order in which Entra writes it.
type errorBody struct {
	Error         string `json:"error"`
	Description   string `json:"error_description"`
	Codes         []int  `json:"error_codes"`
	Timestamp     string `json:"timestamp"`
	TraceID       string `json:"trace_id"`
	CorrelationID string `json:"correlation_id"`
	URI           string `json:"error_uri"`
}

// refuse makes the answer to a refused request: a trace id of its own, and the correlation id that the client sent.
func (s *Server) refuse(r *http.Request, refusal Refusal) answer {
	trace, correlation := randomID(), r.Header.Get("client-request-id")
	if correlation == "" {
		correlation = randomID()
	}
	timestamp := s.opts.Now().UTC().Format("2006-01-02 15:04:05Z")
	return answer{status: refusal.Status, code: refusal.Code, body: errorBody{
		Error: refusal.Error,
		Description: fmt.Sprintf("AADSTS%d: %s Trace ID: %s Correlation ID: %s Timestamp: %s",
			refusal.Code, refusal.Text, trace, correlation, timestamp),
		Codes:         []int{refusal.Code},
		Timestamp:     timestamp,
		TraceID:       trace,
		CorrelationID: correlation,
		URI:           fmt.Sprintf("%s/error?code=%d", base(r), refusal.Code),
	}}
}

// The texts below are Entra's own.

const consent = "This can happen if the application has not been installed by the administrator of the tenant or " +
	"consented to by any user in the tenant."

func badRequest(code int, format string, args ...any) Refusal {
	return Refusal{http.StatusBadRequest, "invalid_request", code, fmt.Sprintf(format, args...)}
}

func badClient(code int, format string, args ...any) Refusal {
	return Refusal{http.StatusUnauthorized, "invalid_client", code, fmt.Sprintf(format, args...)}
}

func notPOST(method string) Refusal {
	return badRequest(900561, "The endpoint only accepts POST requests. Received a %s request.", method)
}

func missingParameter(name string) Refusal {
	return badRequest(900144, "The request body must contain the following parameter: '%s'.", name)
}

func unknownTenant(tenant string) Refusal {
	return badRequest(90002, "Tenant '%s' not found. Check to make sure you have the correct tenant ID and are signing "+
		"into the correct cloud. Check with your subscription administrator, this may happen if there are no active "+
		"subscriptions for the tenant.", tenant)
}

func noTenant() Refusal {
	return badRequest(50059, "No tenant-identifying information found in either the request or implied by any provided "+
		"credentials.")
}

func unsupportedGrant(grant string) Refusal {
	return Refusal{http.StatusBadRequest, "unsupported_grant_type", 70003,
		fmt.Sprintf("The app requested an unsupported grant type '%s'.", grant)}
}

func unknownClient(client, tenant string) Refusal {
	return Refusal{http.StatusBadRequest, "unauthorized_client", 700016, fmt.Sprintf("Application with identifier '%s' "+
		"was not found in the directory '%s'. %s You may have sent your authentication request to the wrong tenant.",
		client, tenant, consent)}
}

func disabledClient(client, name string) Refusal {
	return Refusal{http.StatusBadRequest, "unauthorized_client", 7000112, fmt.Sprintf("Application '%s'(%s) is disabled.", client, name)}
}

func unconsented(client, name string) Refusal {
	return invalidGrant(65001, "The user or administrator has not consented to use the application with ID '%s' named '%s'. "+
		"Send an interactive authorization request for this user and resource.", client, name)
}

func disabledResource(resource string) Refusal {
	return invalidGrant(500014, "The service principal for resource '%s' is disabled. This indicates that a subscription within "+
		"the tenant has lapsed, or that the administrator for this tenant has disabled the application, preventing tokens from "+
		"being issued for it.", resource)
}

func noCredential() Refusal {
	return badClient(7000218, "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.")
}

func wrongSecret(client string) Refusal {
	return badClient(7000215, "Invalid client secret provided. Ensure the secret being sent in the request is the client "+
		"secret value, not the client secret ID, for a secret added to app '%s'.", client)
}

func malformedScope(scope string) Refusal {
	return Refusal{http.StatusBadRequest, "invalid_scope", 70011, fmt.Sprintf("The provided request must include a 'scope' "+
		"input parameter. The provided value for the input parameter 'scope' is not valid. The scope %s is not valid.", scope)}
}

func notDefaultScope(scope string) Refusal {
	return Refusal{http.StatusBadRequest, "invalid_scope", 1002012, fmt.Sprintf("The provided value for scope %s is not "+
		"valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier "+
		"(application ID URI).", scope)}
}

func unknownResource(resource, tenant string) Refusal {
	return Refusal{http.StatusBadRequest, "invalid_resource", 500011, fmt.Sprintf("The resource principal named %s was not "+
		"found in the tenant named %s. %s You might have sent your authentication request to the wrong tenant.",
		resource, tenant, consent)}
}

func throttled() Refusal {
	return Refusal{http.StatusTooManyRequests, "temporarily_unavailable", 90055,
		"There are too many incoming requests. This exception is thrown for blocked tenants."}
}
