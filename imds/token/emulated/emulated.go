package emulated

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"azimds/imds/token"
)

// The identity that speaks where nothing else is asked for. Nobody can take its ids for real ones, and they have the form
// of random GUIDs (RFC 9562 version 4), which some services insist on.
const (
	DefaultTenantID   = "00000000-e000-4000-8000-000000000001"
	DefaultClientID   = "00000000-e000-4000-8000-000000000002"
	DefaultObjectID   = "00000000-e000-4000-8000-000000000003"
	DefaultResourceID = identities + "emulated"

	// identities is what the Azure resource ids of identities made up here begin with.
	identities = "/subscriptions/00000000-e000-4000-8000-000000000004/resourcegroups/azimds" +
		"/providers/Microsoft.ManagedIdentity/userAssignedIdentities/"
)

const (
	// defaultLifetime is a managed identity's.
	defaultLifetime = 24 * time.Hour

	// backdated is how long before its making a token of Entra's begins, for clocks that are slow.
	backdated = 5 * time.Minute
)

// Options are the settings of [New]; each zero value is the default named.
type Options struct {
	TenantID   string           // GUID; default [DefaultTenantID]
	ClientID   string           // GUID; default [DefaultClientID]
	ObjectID   string           // GUID; default [DefaultObjectID]
	ResourceID string           // Azure resource id; default [DefaultResourceID]
	Lifetime   time.Duration    // how long a token is valid from its making, in whole seconds; default 24 h
	Now        func() time.Time // default time.Now
}

// Source is a [token.Source]. It is safe for concurrent use.
type Source struct {
	tenant   string
	identity identity
	lifetime time.Duration
	now      func() time.Time

	starting sync.Once
	making   sync.WaitGroup
	made     chan struct{} // closed once key and err are set
	key      *signingKey
	err      error
}

// New is a source for the identity that o describes. The ids are not checked.
func New(o Options) *Source {
	s := &Source{
		tenant: strings.ToLower(cmp.Or(o.TenantID, DefaultTenantID)),
		identity: identity{
			clientID:   strings.ToLower(cmp.Or(o.ClientID, DefaultClientID)),
			objectID:   strings.ToLower(cmp.Or(o.ObjectID, DefaultObjectID)),
			resourceID: canonical(cmp.Or(o.ResourceID, DefaultResourceID)),
		},
		lifetime: cmp.Or(max(o.Lifetime, 0), defaultLifetime),
		now:      o.Now,
		made:     make(chan struct{}),
	}
	if s.now == nil {
		s.now = time.Now
	}
	return s
}

// Start begins to make the signing key, which takes a good part of a second, and does not wait for it. The first token and
// the first look at the key begin it otherwise. Who starts or uses a source calls [Source.Close] in the end.
func (s *Source) Start() {
	s.starting.Do(func() {
		s.making.Go(func() {
			defer close(s.made)
			s.key, s.err = newSigningKey()
		})
	})
}

// Close waits for a key in the making.
func (s *Source) Close() { s.making.Wait() }

// Token implements [token.Source]. [token.Request].Tenant counts if it is a GUID; a domain means the source's own tenant.
// The error is a [*token.Error] for a selector that selects nothing, [token.ErrUnsupportedResource] for no resource at
// all, and that of ctx.
func (s *Source) Token(ctx context.Context, r token.Request) (token.Token, error) {
	if r.Resource == "" {
		return token.Token{}, fmt.Errorf("emulating a token for resource %q: %w: it is empty", r.Resource, token.ErrUnsupportedResource)
	}
	id, err := s.identity.selected(r.Identity)
	if err != nil {
		return token.Token{}, err
	}
	tenant := s.tenant
	if isGUID(r.Tenant) {
		tenant = strings.ToLower(r.Tenant)
	}
	key, err := s.signingKey(ctx)
	if err != nil {
		return token.Token{}, err
	}
	now := s.now().Truncate(time.Second) // claims are whole seconds
	begin, end := now.Add(-backdated), now.Add(s.lifetime.Truncate(time.Second))
	unsigned := jwt.NewWithClaims(jwt.SigningMethodRS256, claimsOf(tenant, id, r.Resource, begin, end))
	unsigned.Header["kid"], unsigned.Header["x5t"] = key.id, key.id
	signed, err := unsigned.SignedString(key.private)
	if err != nil {
		return token.Token{}, fmt.Errorf("emulating a token for resource %q: %w", r.Resource, err)
	}
	return token.Token{
		Value:    token.NewSecret(signed),
		ClientID: id.clientID, ObjectID: id.objectID, TenantID: tenant,
		NotBefore: begin, ExpiresOn: end,
	}, nil
}

// claimsOf are the claims of a managed identity's token.
func claimsOf(tenant string, id identity, resource string, begin, end time.Time) jwt.MapClaims {
	issuer := issuerOf(tenant)
	return jwt.MapClaims{
		"aud":       resource,
		"iss":       issuer,
		"iat":       begin.Unix(),
		"nbf":       begin.Unix(),
		"exp":       end.Unix(),
		"aio":       opaque(24), // Entra's own, as are rh and uti: without meaning to others, and different each time
		"appid":     id.clientID,
		"appidacr":  "2", // the application proved itself with a certificate
		"idp":       issuer,
		"idtyp":     "app",
		"oid":       id.objectID,
		"rh":        "1." + opaque(48) + ".",
		"sub":       id.objectID,
		"tid":       tenant,
		"uti":       opaque(16),
		"ver":       "1.0",
		"xms_mirid": id.resourceID,
	}
}

// opaque is n random bytes as base64url.
func opaque(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails, by its documentation
	return base64.RawURLEncoding.EncodeToString(b)
}

// signingKey waits for the key.
func (s *Source) signingKey(ctx context.Context) (*signingKey, error) {
	s.Start()
	select {
	case <-s.made:
		return s.key, s.err
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for the key of emulated tokens: %w", ctx.Err())
	}
}
