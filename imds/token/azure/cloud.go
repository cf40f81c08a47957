package azure

import (
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

// AuthorityHost is where Entra of a cloud answers, for the AuthorityHost options of this package, for example
// "https://login.microsoftonline.us/". az, azd and PowerShell have a cloud of their own and are not told of this one.
func AuthorityHost(cloud string) (string, error) {
	host, ok := clouds[cloud]
	if !ok {
		return "", fmt.Errorf("cloud %q is none of %s", cloud, strings.Join(Clouds(), ", "))
	}
	return host, nil
}
