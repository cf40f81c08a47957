package entra

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// armVersions are the api-versions of tenants and subscriptions; the last is the one that Azure CLI 2.91 asks for.
var armVersions = []string{
	"2016-06-01", "2018-06-01", "2019-06-01", "2019-11-01", "2020-01-01", "2021-01-01", "2022-12-01",
}

type armTenant struct {
	ID            string `json:"id"`
	TenantID      string `json:"tenantId"`
	DisplayName   string `json:"displayName"`
	DefaultDomain string `json:"defaultDomain"`
	Category      string `json:"tenantCategory"`
}

type armSubscription struct {
	ID                  string   `json:"id"`
	SubscriptionID      string   `json:"subscriptionId"`
	TenantID            string   `json:"tenantId"`
	DisplayName         string   `json:"displayName"`
	State               string   `json:"state"`
	AuthorizationSource string   `json:"authorizationSource"`
	ManagedByTenants    []string `json:"managedByTenants"`
}

func (s *Server) armTenants(r *http.Request) answer {
	if refused, ok := s.armRefuse(r); ok {
		return refused
	}
	var tenants []armTenant
	for i, id := range append([]string{s.opts.Tenant}, s.opts.OtherTenants...) {
		domain := fmt.Sprintf("test%d.onmicrosoft.com", i)
		tenants = append(tenants, armTenant{"/tenants/" + id, id, fmt.Sprintf("Test %d", i), domain, "Home"})
	}
	return answer{status: http.StatusOK, body: map[string]any{"value": tenants}}
}

func (s *Server) armSubscriptions(r *http.Request) answer {
	if refused, ok := s.armRefuse(r); ok {
		return refused
	}
	list := []armSubscription{}
	tenant := armTenantOf(r)
	for _, sub := range s.opts.Subscriptions {
		if form := s.armForm(sub); strings.EqualFold(form.TenantID, tenant) {
			list = append(list, form)
		}
	}
	count := map[string]any{"type": "Total", "value": len(list)}
	return answer{status: http.StatusOK, body: map[string]any{"value": list, "count": count}}
}

func (s *Server) armSubscription(r *http.Request) answer {
	if refused, ok := s.armRefuse(r); ok {
		return refused
	}
	id := r.PathValue("id")
	for _, sub := range s.opts.Subscriptions {
		if strings.EqualFold(sub.ID, id) {
			return answer{status: http.StatusOK, body: s.armForm(sub)}
		}
	}
	return armError(http.StatusNotFound, "SubscriptionNotFound", "The subscription '%s' could not be found.", id)
}

func (s *Server) armForm(sub Subscription) armSubscription {
	return armSubscription{
		ID: "/subscriptions/" + sub.ID, SubscriptionID: sub.ID, TenantID: cmp.Or(sub.Tenant, s.opts.Tenant), DisplayName: sub.Name,
		State: "Enabled", AuthorizationSource: "RoleBased", ManagedByTenants: []string{},
	}
}

// armRefuse refuses a request without a token of ours for Azure Resource Manager, or with a version that it does not have.
func (s *Server) armRefuse(r *http.Request) (answer, bool) {
	if code, message := s.bearer(r, armAudiences); code != "" {
		a := armError(http.StatusUnauthorized, code, "%s", message)
		a.challenge = fmt.Sprintf(`Bearer authorization_uri="%s/%s", error="invalid_token"`, base(r), s.opts.Tenant)
		return a, true
	}
	switch version := r.URL.Query().Get("api-version"); {
	case version == "":
		return armError(http.StatusBadRequest, "MissingApiVersionParameter",
			"The api-version query parameter (?api-version=) is required for all requests."), true
	case !slices.Contains(armVersions, version):
		return armError(http.StatusBadRequest, "InvalidApiVersionParameter", "The api-version '%s' is invalid. The supported "+
			"versions are '%s'.", version, strings.Join(armVersions, ",")), true
	}
	return answer{}, false
}

func armError(status int, code, format string, args ...any) answer {
	return answer{status: status, body: map[string]any{
		"error": map[string]string{"code": code, "message": fmt.Sprintf(format, args...)},
	}}
}

// bearer wants a token of ours for one of the audiences with a request, and says what is wrong with the one there is.
func (s *Server) bearer(r *http.Request, audiences []string) (code, message string) {
	text, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing."
	}
	var claims jwt.RegisteredClaims
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"RS256"}), jwt.WithExpirationRequired(),
		jwt.WithTimeFunc(s.opts.Now))
	if _, err := parser.ParseWithClaims(text, &claims, func(*jwt.Token) (any, error) {
		return &s.signing.PublicKey, nil
	}); err != nil {
		return "InvalidAuthenticationToken", fmt.Sprintf("The access token is invalid: %v.", err)
	}
	if !slices.ContainsFunc(claims.Audience, func(a string) bool { return anyResource(audiences, a) }) {
		return "InvalidAuthenticationTokenAudience", fmt.Sprintf("The access token has been obtained for wrong audience or "+
			"resource '%s'. It should exactly match with one of the allowed audiences '%s'.",
			strings.Join(claims.Audience, "','"), strings.Join(audiences, "','"))
	}
	return "", ""
}
