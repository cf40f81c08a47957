package imds

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"azimds/imds/token"
)

// armResource is what every tenant has, and so what the tenant is learnt from.
const armResource = "https://management.azure.com/"

// backdating is how much of a token's validity lies outside what the real service calls its whole lifetime: Entra lets a
// token begin five minutes before it is issued, and the service counts one second less than what remains. A managed
// identity's 86700 s thus become "86399".
const backdating = 301 * time.Second

// jsonContent is shared by all replies and must not be changed.
var jsonContent = []string{"application/json; charset=utf-8"}

// grant is the reply that carries a token: its eight members in the real service's order, every value a string. Clients
// hold to the order (MSAL.NET takes the last of expires_in and expires_on) and to the strings (the Rust SDK rejects a
// number).
type grant struct {
	value     token.Secret
	clientID  string
	resource  string
	expiresIn int64        // seconds
	expiresOn int64        // Unix seconds
	extended  int64        // seconds
	notBefore int64        // Unix seconds
	kind      EndpointKind // "" is the metadata service
}

// newGrant is the reply to r with t at the time now. It refuses a token that is empty or past: some versions of MSAL.NET
// would keep a token with a past expires_on for decades.
func newGrant(r token.Request, t token.Token, now time.Time) (grant, error) {
	g := grant{
		value:     t.Value,
		clientID:  t.ClientID,
		resource:  r.Resource,
		expiresOn: t.ExpiresOn.Unix(),
	}
	if t.Value.Empty() {
		return grant{}, errors.New("granting a token: the source gave an empty one")
	}
	if g.expiresIn = g.expiresOn - now.Unix(); g.expiresIn <= 0 {
		return grant{}, fmt.Errorf("granting a token that expired at %s: %w", t.ExpiresOn.UTC().Format(time.RFC3339), token.ErrUnavailable)
	}
	if r.Identity.Kind == token.ClientID {
		g.clientID = r.Identity.Value
	}
	g.notBefore, g.extended = now.Unix(), g.expiresIn
	if !t.NotBefore.IsZero() {
		g.notBefore = t.NotBefore.Unix()
		g.extended = max(g.expiresIn, g.expiresOn-g.notBefore-int64(backdating/time.Second))
	}
	return g, nil
}

// appendReply implements [reply]. Here and in appendEnv alone a token's text is revealed.
func (g *grant) appendReply(h http.Header, dst []byte) (int, []byte) {
	h["Content-Type"] = jsonContent
	if g.kind != "" {
		return http.StatusOK, g.appendEnv(dst)
	}
	dst = append(dst, '{')
	dst = appendMember(dst, "access_token", g.value.Reveal())
	dst = appendMember(dst, "client_id", g.clientID)
	dst = appendDigits(dst, "expires_in", g.expiresIn)
	dst = appendDigits(dst, "expires_on", g.expiresOn)
	dst = appendDigits(dst, "ext_expires_in", g.extended)
	dst = appendDigits(dst, "not_before", g.notBefore)
	dst = appendMember(dst, "resource", g.resource)
	dst = appendMember(dst, "token_type", "Bearer")
	return http.StatusOK, append(dst, '}')
}

// appendDigits appends a member whose value is a number written as a JSON string.
func appendDigits(dst []byte, name string, n int64) []byte {
	dst = strconv.AppendInt(append(appendName(dst, name), '"'), n, 10)
	return append(dst, '"')
}

// token answers /metadata/identity/oauth2/token.
func (s *Server) token(x *exchange, r *http.Request, rawQuery string) (reply, *Problem) {
	q, p := parseQuery(rawQuery)
	if p != nil {
		return nil, p
	}
	return s.give(x, r, q)
}

// give answers a request for a token that has been read.
func (s *Server) give(x *exchange, r *http.Request, q query) (reply, *Problem) {
	if q.resource == "" {
		return nil, invalid("Required audience parameter not specified")
	}
	x.request = token.Request{Resource: q.resource, Identity: q.identity, Tenant: q.tenant, Fresh: q.fresh}
	if p := s.allowed(x); p != nil {
		return nil, p
	}
	t, p := s.ask(x, r)
	if p != nil {
		return nil, p
	}
	x.stored = t.Stored
	g, err := newGrant(x.request, t, x.answered)
	if err != nil {
		return nil, problemOf(err)
	}
	x.grant, x.grant.kind = g, x.conn.env.name()
	return &x.grant, nil
}

// tenant is the reply of /metadata/identity/info.
type tenant string

// appendReply implements [reply].
func (t tenant) appendReply(h http.Header, dst []byte) (int, []byte) {
	h["Content-Type"] = jsonContent
	dst = appendMember(append(dst, '{'), "tenantId", string(t))
	return http.StatusOK, append(dst, '}')
}

// info answers /metadata/identity/info, for which it needs a token that it does not show.
func (s *Server) info(x *exchange, r *http.Request, rawQuery string) (reply, *Problem) {
	q, p := parseQuery(rawQuery)
	if p != nil {
		return nil, p
	}
	x.request = token.Request{Resource: armResource, Identity: q.identity}
	if p := s.allowed(x); p != nil {
		return nil, p
	}
	t, p := s.ask(x, r)
	if p != nil {
		return nil, p
	}
	if t.TenantID != "" {
		return tenant(t.TenantID), nil
	}
	return nil, invalid("Identity not found. azimds: the credential does not say its tenant")
}

// allowed asks policy, which may choose the identity.
func (s *Server) allowed(x *exchange) *Problem {
	request, err := s.allow(x.conn.caller, x.conn.detail, x.request)
	x.request = request
	if err != nil {
		x.answered = s.now()
		return problemOf(err)
	}
	return nil
}

// ask asks the source, for as long as the limit allows and the client waits.
func (s *Server) ask(x *exchange, r *http.Request) (token.Token, *Problem) {
	t, inTime, err := s.bounded(x, r)
	x.answered = s.now()
	switch {
	case err == nil:
		return t, nil
	case errors.Is(err, errChain):
		return token.Token{}, elsewhere("azimds: no token can be had at the moment", err)
	case !inTime:
		return token.Token{}, unavailable("azimds: no token within "+s.limits.Answer.String(), err)
	case errors.Is(err, context.Canceled) && r.Context().Err() != nil:
		return token.Token{}, unavailable("azimds: the client left", nil)
	}
	return token.Token{}, problemOf(err)
}

// bounded asks the source under the connection's limit; inTime is false when that cut it short.
func (s *Server) bounded(x *exchange, r *http.Request) (t token.Token, inTime bool, err error) {
	x.conn.begin()
	defer func() { inTime = x.conn.end() }()
	ctx := r.Context()
	if s.chained(x) && !s.can() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, chainWait, errChain)
		defer cancel()
	}
	t, err = s.source.Token(ctx, x.request)
	if err != nil && errors.Is(context.Cause(ctx), errChain) {
		err = fmt.Errorf("%w: %w", errChain, err)
	}
	return t, inTime, err
}
