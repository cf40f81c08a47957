package token

import (
	"context"
	"time"
)

// SelectorKind says by what a client names the identity it wants. Its text is the query parameter of the token endpoint;
// [ResourceID]'s is msi_res_id or mi_res_id there.
type SelectorKind string

// The kinds of [Selector]; the empty kind is a request that names no identity.
const (
	ClientID   SelectorKind = "client_id"   // application id, a GUID
	ObjectID   SelectorKind = "object_id"   // principal id, a GUID
	ResourceID SelectorKind = "resource_id" // Azure resource id of a user-assigned identity; its case means nothing
)

// Selector names an identity; the zero Selector names none.
type Selector struct {
	Kind  SelectorKind
	Value string // as the client sent it
}

// Request is what a client asks for. It is comparable.
type Request struct {
	Resource string   // as the client sent it, decoded once: https://vault.azure.net, api://… or a GUID
	Tenant   string   // GUID or domain; "" is the credential's own
	Identity Selector // zero for whatever identity there is
	Fresh    bool     // a stored token will not do: bypass_cache=true
}

// Token is a token and what is known of it. What is not known is empty or zero.
type Token struct {
	Value     Secret
	ClientID  string // appid or azp claim where the token is a JWT, else what the credential knows
	ObjectID  string
	TenantID  string
	NotBefore time.Time
	ExpiresOn time.Time // always known
	Stored    bool      // it had been kept: the credential was not asked for it now
	RefreshOn time.Time // until then the source would give this token again; az does until five minutes before its end
}

// Source yields tokens: a credential, or something in front of one.
type Source interface {
	// Token gets a token for r. Errors are as the package's doc says.
	Token(ctx context.Context, r Request) (Token, error)
}
