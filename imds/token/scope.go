package token

import (
	"fmt"
	"strings"
)

// Scope is the scope under which Entra knows a resource: the resource, "/.default". A trailing slash is part of a
// resource's name and stays, for the token's audience must have it: "https://x/" becomes "https://x//.default".
//
// The error is [ErrUnsupportedResource], with the character that makes it so: azidentity 1.15 hands its scopes to az
// through a shell and takes letters, digits and ._:/- only (validScope in developer_credential_util.go).
func Scope(resource string) (string, error) {
	if resource == "" {
		return "", fmt.Errorf("converting resource %q: %w: it is empty", resource, ErrUnsupportedResource)
	}
	for _, r := range resource {
		if !scopeCharacter(r) {
			return "", fmt.Errorf("converting resource %q: %w: character %q", resource, ErrUnsupportedResource, r)
		}
	}
	return resource + "/.default", nil
}

func scopeCharacter(r rune) bool {
	return '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || strings.ContainsRune("._:/-", r)
}
