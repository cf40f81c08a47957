package azure

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
)

// clouds are Microsoft's clouds by the names that configuration has for them, with the hosts of azcore's cloud package.
var clouds = map[string]string{
	"public": cloud.AzurePublic.ActiveDirectoryAuthorityHost,
	"usgov":  cloud.AzureGovernment.ActiveDirectoryAuthorityHost,
	"china":  cloud.AzureChina.ActiveDirectoryAuthorityHost,
}

// Clouds are the names that [AuthorityHost] knows, in alphabetical order.
func Clouds() []string {
	names := make([]string, 0, len(clouds))
	for name := range clouds {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// exchangeAudience is whom a federated token has to be for in the public cloud.
const exchangeAudience = "api://AzureADTokenExchange"

// audiences are whom a federated token has to be for in the other clouds, by the hosts of their authorities (learn.microsoft.com,
// "Configure an application to trust a managed identity", audience).
var audiences = map[string]string{
	"login.microsoftonline.us": exchangeAudience + "USGov", "login.usgovcloudapi.net": exchangeAudience + "USGov",
	"login.chinacloudapi.cn": exchangeAudience + "China", "login.partner.microsoftonline.cn": exchangeAudience + "China",
}

// audienceAt is whom a federated token has to be for that is presented to the authority at host. One that is in no list, such as a
// company's own gateway, is taken for the public cloud.
func audienceAt(host string) string {
	return cmp.Or(audiences[strings.ToLower(host)], exchangeAudience)
}

// AuthorityHost is where Entra of a cloud answers, for the AuthorityHost options of this package, for example
// "https://login.microsoftonline.us/". az, azd and PowerShell have a cloud of their own and are not told of this one.
func AuthorityHost(cloud string) (string, error) {
	host, ok := clouds[cloud]
	if !ok {
		return "", fmt.Errorf("cloud %q is none of %s", cloud, strings.Join(Clouds(), ", "))
	}
	return host, nil
}
