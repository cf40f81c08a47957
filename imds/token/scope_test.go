package token

import (
	"errors"
	"strings"
	"testing"
)

func TestScope(t *testing.T) {
	for _, test := range []struct{ resource, want string }{
		{"https://vault.azure.net", "https://vault.azure.net/.default"},
		{"https://management.azure.com/", "https://management.azure.com//.default"},
		{"https://management.azure.com//", "https://management.azure.com///.default"},
		{"00000003-0000-0000-c000-000000000000", "00000003-0000-0000-c000-000000000000/.default"},
		{"api://my_app.v2", "api://my_app.v2/.default"},
		{"urn:ms-drs:enterpriseregistration.windows.net", "urn:ms-drs:enterpriseregistration.windows.net/.default"},
	} {
		got, err := Scope(test.resource)
		if err != nil || got != test.want {
			t.Errorf("Scope(%q) = %q, %v, want %q", test.resource, got, err, test.want)
		}
	}
}

func TestScopeRefuses(t *testing.T) {
	for _, test := range []struct{ resource, names string }{
		{"", "empty"},
		{"https://x y", "' '"},
		{"https://x;rm", "';'"},
		{"https://x$(id)", "'$'"},
		{"https://x?a=b", "'?'"},
		{"https://exämple", "'ä'"},
		{"https://x\x00", `'\x00'`},
		{"https://x\xff", `'�'`},
	} {
		got, err := Scope(test.resource)
		if got != "" || !errors.Is(err, ErrUnsupportedResource) || !strings.Contains(err.Error(), test.names) {
			t.Errorf("Scope(%q) = %q, %v, want ErrUnsupportedResource that names %s", test.resource, got, err, test.names)
		}
	}
}
