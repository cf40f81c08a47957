package imds

import "net/http"

// Address is where clients find the service: plain HTTP, this address and port alone, in every Azure cloud.
const Address = "169.254.169.254:80"

const addressHost = "169.254.169.254" // as most clients write it, port 80 being understood

// foreignHeaders are what a proxy adds to a request that it relays, and a browser to one that a page makes: neither may
// reach a metadata service, as either would lend its own position to somebody else. No client of the service sends one.
// Sec-Fetch-Mode is not among them: Node's fetch sends it.
var foreignHeaders = [...]string{"X-Forwarded-For", "Forwarded", "Origin", "Referer", "Sec-Fetch-Site"}

var (
	// missingMetadata is the answer to every SDK's probe, byte for byte the real service's. It must not change: .NET's
	// credential chain goes on only after a 400 that does not say "Identity not found".
	missingMetadata = invalid("Required metadata header not specified")

	foreignHost = &Problem{
		Status: http.StatusBadRequest, Code: codeInvalidRequest,
		Description: "Host is not " + addressHost, suspicious: true,
	}
	foreignOrigin = &Problem{
		Status: http.StatusBadRequest, Code: codeInvalidRequest,
		Description: "Requests of web pages and through proxies are not answered", suspicious: true,
	}
	notGet = &Problem{
		Status: http.StatusMethodNotAllowed, Code: "method_not_allowed",
		Description: "Only GET is allowed", allow: http.MethodGet,
	}
	bodyTooLarge = &Problem{
		Status: http.StatusRequestEntityTooLarge, Code: codeInvalidRequest,
		Description: "Request body is too large",
	}
)

// guardPublic holds for every route: GET, no body to speak of, and the address that the client must have dialled. A web
// page that resolves a name of its own to our address (DNS rebinding) still sends that name as Host.
func (s *Server) guardPublic(r *http.Request) *Problem {
	switch {
	case r.Method != http.MethodGet:
		return notGet
	case r.Host != addressHost && r.Host != Address && !without("host"):
		return foreignHost
	case s.tooLarge(r):
		return bodyTooLarge
	}
	return nil
}

// guardIdentity holds for what yields tokens: also exactly one "Metadata: true", and nothing that a proxy or browser adds.
func (s *Server) guardIdentity(r *http.Request) *Problem {
	if p := s.guardPublic(r); p != nil {
		return p
	}
	if v := r.Header["Metadata"]; len(v) != 1 || !equalFold(v[0], "true") { // WALinuxAgent and others send "True"
		return missingMetadata
	}
	for _, name := range foreignHeaders {
		if _, present := r.Header[name]; present && !without("headers") {
			return foreignOrigin
		}
	}
	return nil
}

// tooLarge reports whether a request announces a body beyond the limit, or one of unknown length.
func (s *Server) tooLarge(r *http.Request) bool {
	return r.ContentLength < 0 || r.ContentLength > s.limits.BodyBytes
}
