package imds

import (
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"azimds/imds/token"
)

var (
	// unauthorised says no more: not what was wrong, nor what would have been right.
	unauthorised = &Problem{Status: http.StatusUnauthorized, Code: "Unauthorized", Description: "Unauthorized", suspicious: true}

	noIdentityPath = &Problem{Status: http.StatusNotFound, Code: "NotFound", Description: "Not Found"}

	cloudShellWithoutMetadata = &Problem{Status: http.StatusBadRequest, Code: "BadRequest", Description: missingMetadata.Description}

	foreignEndpointHost = &Problem{
		Status: http.StatusBadRequest, Code: codeInvalidRequest,
		Description: "Host is not this endpoint's", suspicious: true,
	}
)

// envToken answers a request at an endpoint that environment variables select. There is nothing but tokens there.
func (s *Server) envToken(x *exchange, r *http.Request, e *EnvEndpoint) (reply, *Problem) {
	path, rawQuery := splitTarget(r.RequestURI)
	id, known := e.find(path)
	if !known {
		x.route = routeNone
		return nil, noIdentityPath
	}
	x.route = routeToken
	if p := s.guardEnv(r, e, x.conn); p != nil {
		return nil, p
	}
	q, p := s.parseEnv(r, e, rawQuery)
	if p != nil {
		return nil, p
	}
	if q.identity == (token.Selector{}) {
		q.identity, q.tenant = id.Identity, id.Tenant
	}
	return s.give(x, r, q)
}

// guardEnv holds for every endpoint but the metadata service's: its methods, its secret, an address that is its own, and nothing
// that a proxy or a browser adds.
func (s *Server) guardEnv(r *http.Request, e *EnvEndpoint, c *conn) *Problem {
	post := e.kind == CloudShell && r.Method == http.MethodPost
	switch {
	case r.Method != http.MethodGet && !post:
		return e.otherMethod()
	case !e.authorised(r):
		return unauthorised
	case !ownHost(r.Host, c):
		return foreignEndpointHost
	case r.ContentLength > s.limits.BodyBytes, r.ContentLength < 0 && !post: // Go's SDK sends a form of unknown length
		return bodyTooLarge
	}
	if e.kind == CloudShell {
		if v := r.Header["Metadata"]; len(v) != 1 || !equalFold(v[0], "true") {
			return cloudShellWithoutMetadata
		}
	}
	for _, name := range foreignHeaders {
		if _, present := r.Header[name]; present {
			return foreignOrigin
		}
	}
	return nil
}

func (e *EnvEndpoint) otherMethod() *Problem {
	if e.kind != CloudShell {
		return notGet
	}
	return &Problem{
		Status: http.StatusMethodNotAllowed, Code: notGet.Code,
		Description: "Only GET and POST are allowed", allow: http.MethodGet + ", " + http.MethodPost,
	}
}

// authorised reports whether a request knows the secret. Where the path is that, it has been compared already.
func (e *EnvEndpoint) authorised(r *http.Request) bool {
	header := e.header()
	if header == "" {
		return true
	}
	v := r.Header[header]
	return len(v) == 1 && same(v[0], e.secret)
}

// hostNames are what clients call an endpoint of this machine: containers know it by the names that engines give it.
var hostNames = []string{"localhost", "host.docker.internal", "host.containers.internal"}

// ownHost reports whether a Host header means this endpoint. A web page that resolves a name of its own to us sends that name.
func ownHost(text string, c *conn) bool {
	local, ok := c.LocalAddr().(*net.TCPAddr)
	if !ok {
		return false
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil || port != strconv.Itoa(local.Port) {
		return false
	}
	return host == local.IP.String() || slices.Contains(hostNames, strings.ToLower(host))
}

// parseEnv reads what is asked for: from the query, for Cloud Shell from a form as well, whatever it says its type is: .NET's SDK
// says so in a header of another name.
func (s *Server) parseEnv(r *http.Request, e *EnvEndpoint, raw string) (query, *Problem) {
	if r.Method == http.MethodPost {
		form, err := io.ReadAll(io.LimitReader(r.Body, s.limits.BodyBytes+1))
		switch {
		case err != nil:
			p := invalid("Malformed body")
			p.cause = errors.New("reading the form: it ended early")
			return query{}, p
		case int64(len(form)) > s.limits.BodyBytes:
			return query{}, bodyTooLarge
		}
		raw += "&" + string(form)
	}
	q, p := readQuery(query{older: e.kind == AppService2017}, raw)
	if p == nil && e.version() != "" && q.version != e.version() {
		p = invalid("api-version is not supported or was not specified in the request, must be " + e.version())
	}
	return q, p
}

// version is the one that the endpoint's clients ask for; "" where they name none.
func (e *EnvEndpoint) version() string {
	switch e.kind {
	case AppService:
		return "2019-08-01"
	case AppService2017:
		return "2017-09-01"
	default:
		return ""
	}
}

// envProblem is a [Problem] in the words of an endpoint.
type envProblem struct {
	*Problem
	kind EndpointKind
}

// unknownIdentity is how the metadata service begins to say that there is no identity here, and others are what the endpoints
// say instead. App Service's is that of api-version 2019-08-01, and the older one's is in MicrosoftDocs/azure-docs#43543.
const (
	unknownIdentity         = "Identity not found"
	unknownToAppService     = "No Managed Identity found for specified ClientId/ResourceId/PrincipalId."
	unknownToAppService2017 = "No MSI found for specified ClientId/ResourceId."
)

// appendReply implements [reply].
func (p envProblem) appendReply(h http.Header, dst []byte) (int, []byte) {
	p.appendHeaders(h)
	h["Content-Type"] = jsonContent
	switch p.kind {
	case AppService:
		dst = p.appendAppService(dst, unknownToAppService, "statusCode", "message", "correlationId")
	case AppService2017:
		dst = p.appendAppService(dst, unknownToAppService2017, "StatusCode", "Message", "CorrelationId")
	default:
		dst = append(dst, `{"error":{`...)
		dst = appendMember(dst, "code", p.Code)
		dst = append(appendMember(dst, "message", p.Description), "}}"...)
	}
	return p.Status, dst
}

// appendAppService appends App Service's error, whose members have other names in its older version.
func (p envProblem) appendAppService(dst []byte, unknown, status, message, correlation string) []byte {
	dst = strconv.AppendInt(appendName(append(dst, '{'), status), int64(p.Status), 10)
	said := p.Description
	if rest, is := strings.CutPrefix(said, unknownIdentity); is {
		said = unknown + strings.TrimPrefix(rest, ".")
	}
	dst = appendMember(dst, message, said)
	if p.entra != nil && p.entra.CorrelationID != "" {
		dst = appendMember(dst, correlation, p.entra.CorrelationID)
	}
	return append(dst, '}')
}

// appendEnv appends what carries a token at an endpoint. Members and their order are those that the services document; expires_on
// of App Service's older version is a date there, and the number here that Azure Machine Learning says: newer SDKs read no other.
func (g *grant) appendEnv(dst []byte) []byte {
	dst = append(dst, '{')
	dst = appendMember(dst, "access_token", g.value.Reveal())
	if g.kind == CloudShell {
		dst = appendMember(dst, "refresh_token", "")
		dst = appendDigits(dst, "expires_in", g.expiresIn)
	}
	dst = appendDigits(dst, "expires_on", g.expiresOn)
	if g.kind == CloudShell {
		dst = appendDigits(dst, "not_before", g.notBefore)
	}
	dst = appendMember(dst, "resource", g.resource)
	dst = appendMember(dst, "token_type", "Bearer")
	if g.kind != CloudShell {
		dst = appendMember(dst, "client_id", g.clientID)
	}
	return append(dst, '}')
}
