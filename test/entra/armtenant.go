package entra

import (
	"net/http"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// armTenantOf is the tenant of the token that a request carries, which is one of ours (see armRefuse): Azure Resource Manager
// lists the subscriptions of that tenant and of no other.
func armTenantOf(r *http.Request) string {
	text, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	claims := jwt.MapClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(text, claims); err != nil {
		return ""
	}
	tenant, _ := claims["tid"].(string)
	return tenant
}
