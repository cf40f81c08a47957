package entra

import "strings"

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
	"https://graph.microsoft.com",
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
}

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
func (o *Options) resource(resource string) bool {
	if anyResource(azureResources, resource) || anyResource(o.Resources, resource) {
		return true
	}
	id, ok := strings.CutPrefix(strings.TrimSuffix(resource, "/"), "api://")
	if !ok {
		id = resource // an application may also be named by its bare id
	}
	_, known := o.client(id)
	return known
}
