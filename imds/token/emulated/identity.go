package emulated

import (
	"crypto/sha256"
	"fmt"
	"strings"

	"azimds/imds/token"
)

// identity is whom a token speaks for.
type identity struct{ clientID, objectID, resourceID string }

// selected is the identity that a client names by one of its ids: id itself if it is one of its own, else one that has the
// id named and others that follow from it.
func (id identity) selected(by token.Selector) (identity, error) {
	if by == (token.Selector{}) {
		return id, nil
	}
	value := strings.ToLower(by.Value)
	other := identity{
		clientID:   derived("appid", value),
		objectID:   derived("oid", value),
		resourceID: identities + derived("mirid", value),
	}
	var (
		own   string
		valid bool
	)
	switch by.Kind {
	case token.ClientID:
		own, other.clientID, valid = id.clientID, value, isGUID(value)
	case token.ObjectID:
		own, other.objectID, valid = id.objectID, value, isGUID(value)
	case token.ResourceID:
		own, other.resourceID, valid = id.resourceID, canonical(by.Value), strings.HasPrefix(value, "/subscriptions/")
	}
	switch {
	case !valid:
		return identity{}, notFound(by)
	case strings.EqualFold(own, value):
		return id, nil
	}
	return other, nil
}

// notFound says that an identity was selected by what is no id of one, which the real service does not find either.
func notFound(by token.Selector) error {
	return &token.Error{
		Kind:    token.ErrSignInRequired,
		Message: fmt.Sprintf("%q cannot be the %s of an emulated identity", by.Value, by.Kind),
	}
}

// derived is a GUID that follows from an id: RFC 9562 version 8, made of a hash.
func derived(claim, id string) string {
	h := sha256.Sum256([]byte("azimds emulated " + claim + " " + id))
	h[6] = h[6]&0x0f | 0x80
	h[8] = h[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", h[0:4], h[4:6], h[6:8], h[8:10], h[10:16])
}

// isGUID accepts the form that Entra prints, in either case.
func isGUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return false
			}
		case '0' <= c && c <= '9', 'a' <= c && c <= 'f', 'A' <= c && c <= 'F':
		default:
			return false
		}
	}
	return true
}

// spelling is how xms_mirid writes the words of an Azure resource id whose case clients and caches change.
var spelling = map[string]string{
	"subscriptions":             "subscriptions",
	"resourcegroups":            "resourcegroups", // small letters, unlike in the portal
	"providers":                 "providers",
	"microsoft.managedidentity": "Microsoft.ManagedIdentity",
	"userassignedidentities":    "userAssignedIdentities",
	"microsoft.compute":         "Microsoft.Compute",
	"virtualmachines":           "virtualMachines",
	"virtualmachinescalesets":   "virtualMachineScaleSets",
}

// canonical spells a resource id as xms_mirid does: /subscriptions/…/resourcegroups/…/providers/Microsoft.…/…. Services
// that read the claim, such as HashiCorp Vault, compare parts of it. Names stay as they are: every second part but the
// provider's.
func canonical(resourceID string) string {
	parts := strings.Split(resourceID, "/")
	for i, part := range parts {
		const provider = 6
		if word := spelling[strings.ToLower(part)]; word != "" && (i%2 == 1 || i == provider) {
			parts[i] = word
		}
	}
	return strings.Join(parts, "/")
}
