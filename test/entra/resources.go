package entra

import (
	"net/url"
	"strings"
)

// azureResources are the resources of Azure's own that every tenant knows, without the slash at the end under which some
// of them are also known.
var azureResources = []string{
	"https://management.azure.com",
	"https://management.core.windows.net",
	"https://vault.azure.net",
	"https://managedhsm.azure.net",
	"https://storage.azure.com",
	"https://database.windows.net",
	"https://ossrdbms-aad.database.windows.net",
	graphResource,
	"https://servicebus.azure.net",
	"https://eventhubs.azure.net",
	"https://cosmos.azure.com",
	"https://cognitiveservices.azure.com",
	"https://containerregistry.azure.net",
	"https://azconfig.io",
	"https://monitor.azure.com",
	"https://api.loganalytics.io",
	"https://search.azure.com",
	"https://redis.azure.com",
	consentService,
}

// consentService is what the administrators' consent of "az ad app permission admin-consent" is asked of (admin_consent in
// azure-cli 2.91.0, role/custom.py).
const consentService = "74658136-14ec-4630-ad9b-26e160ff0fc6"

// graphResource is Microsoft Graph.
const graphResource = "https://graph.microsoft.com"

// armAudiences are the audiences of a token that Azure Resource Manager takes.
var armAudiences = azureResources[:2]

// sameResource compares as Entra does: letters' case and a slash at the end do not matter.
func sameResource(a, b string) bool {
	return strings.EqualFold(strings.TrimSuffix(a, "/"), strings.TrimSuffix(b, "/"))
}

func anyResource(of []string, resource string) bool {
	for _, known := range of {
		if sameResource(known, resource) {
			return true
		}
	}
	return false
}

// resource says whether somebody in the tenant registered this resource.
func (s *Server) resource(resource string) bool {
	if anyResource(azureResources, resource) || anyResource(s.opts.Resources, resource) {
		return true
	}
	id, ok := strings.CutPrefix(strings.TrimSuffix(resource, "/"), "api://")
	if !ok {
		id = resource // an application may also be named by its bare id
	}
	_, known := s.client(id)
	return known
}

// scopeResource takes the resource from a scope of version 2, "https://vault.azure.net/.default". OpenID's scopes that MSAL
// may add mean nothing to an application's token.
func scopeResource(form url.Values) (string, *Refusal) {
	scope := form.Get("scope")
	if scope == "" {
		return "", new(missingParameter("scope"))
	}
	var wanted []string
	for one := range strings.FieldsSeq(scope) {
		switch one {
		case "openid", "profile", "email", "offline_access":
		default:
			wanted = append(wanted, one)
		}
	}
	if len(wanted) != 1 {
		return "", new(malformedScope(scope))
	}
	resource, ok := strings.CutSuffix(wanted[0], "/.default")
	switch {
	case !ok:
		return "", new(notDefaultScope(scope))
	case resource == "":
		return "", new(malformedScope(scope))
	}
	return resource, nil
}

func formResource(form url.Values) (string, *Refusal) {
	resource := form.Get("resource")
	if resource == "" {
		return "", new(missingParameter("resource"))
	}
	return resource, nil
}
