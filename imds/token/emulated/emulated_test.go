package emulated

import (
	"context"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"azimds/imds/token"
)

const (
	vault    = "https://vault.azure.net/"
	someGUID = "6277b885-20b1-43ba-81a2-ee4e94e7c0af"
)

// emulate is one token that must be had, and its claims.
func emulate(t *testing.T, s *Source, r token.Request) (token.Token, token.Claims) {
	t.Helper()
	got, err := s.Token(t.Context(), r)
	if err != nil {
		t.Fatalf("Token(%+v): %v", r, err)
	}
	claims, err := token.ParseClaims(got.Value.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	return got, claims
}

// newSource is a source that is closed at the test's end.
func newSource(t *testing.T, o Options) *Source {
	t.Helper()
	s := New(o)
	t.Cleanup(s.Close)
	return s
}

func TestTokenHasTheClaimsOfAManagedIdentity(t *testing.T) {
	now := time.Unix(1709809597, 999)
	s := newSource(t, Options{Now: func() time.Time { return now }})
	got, claims := emulate(t, s, token.Request{Resource: vault})

	want := token.Token{
		Value:    got.Value,
		ClientID: DefaultClientID, ObjectID: DefaultObjectID, TenantID: DefaultTenantID,
		NotBefore: time.Unix(1709809297, 0), ExpiresOn: time.Unix(1709895997, 0),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("token (-want +got):\n%s", diff)
	}
	if got.ExpiresOn.Sub(got.NotBefore) != 86700*time.Second {
		t.Errorf("valid for %v, want 86700s", got.ExpiresOn.Sub(got.NotBefore))
	}

	random := map[string]*regexp.Regexp{
		"aio": regexp.MustCompile(`^[\w-]{32}$`), "rh": regexp.MustCompile(`^1\.[\w-]{64}\.$`), "uti": regexp.MustCompile(`^[\w-]{22}$`),
	}
	_, again := emulate(t, s, token.Request{Resource: vault})
	for name, form := range random {
		value, _ := claims.Raw[name].(string)
		if !form.MatchString(value) || value == again.Raw[name] {
			t.Errorf("%s: %q, then %q, want %v and another each time", name, value, again.Raw[name], form)
		}
		delete(claims.Raw, name)
	}
	issuer := "https://sts.windows.net/" + DefaultTenantID + "/"
	if diff := cmp.Diff(map[string]string{
		"aud": vault, "iss": issuer, "idp": issuer, "tid": DefaultTenantID,
		"iat": "1709809297", "nbf": "1709809297", "exp": "1709895997",
		"appid": DefaultClientID, "appidacr": "2", "idtyp": "app", "oid": DefaultObjectID, "sub": DefaultObjectID, "ver": "1.0",
		"xms_mirid": DefaultResourceID,
	}, printed(claims.Raw)); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
}

// printed makes the values of claims comparable.
func printed(claims map[string]any) map[string]string {
	all := map[string]string{}
	for name, value := range claims {
		switch v := value.(type) {
		case string:
			all[name] = v
		case interface{ String() string }: // a number
			all[name] = v.String()
		}
	}
	return all
}

func TestTokenHasTheHeaderOfEntra(t *testing.T) {
	got, _ := emulate(t, newSource(t, Options{}), token.Request{Resource: vault})
	parsed, _, err := jwt.NewParser().ParseUnverified(got.Value.Reveal(), jwt.MapClaims{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"alg", "kid", "typ", "x5t"}, slices.Sorted(maps.Keys(parsed.Header))); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}
	if parsed.Header["typ"] != "JWT" || parsed.Header["alg"] != "RS256" || parsed.Header["kid"] != parsed.Header["x5t"] {
		t.Errorf("header %v", parsed.Header)
	}
}

func TestTokenOfASelectedIdentity(t *testing.T) {
	const lower = "/subscriptions/s/resourcegroups/userassignedidentities/providers/microsoft.managedidentity/userassignedidentities/web"
	const spelt = "/subscriptions/s/resourcegroups/userassignedidentities/providers/Microsoft.ManagedIdentity/userAssignedIdentities/web"
	s := newSource(t, Options{})
	own := identity{DefaultClientID, DefaultObjectID, DefaultResourceID}
	for _, test := range []struct {
		name string
		by   token.Selector
		want identity // "" where any other than the source's own will do
	}{
		{"none", token.Selector{}, own},
		{"own client id", token.Selector{Kind: token.ClientID, Value: strings.ToUpper(DefaultClientID)}, own},
		{"own object id", token.Selector{Kind: token.ObjectID, Value: DefaultObjectID}, own},
		{"own resource id", token.Selector{Kind: token.ResourceID, Value: strings.ToLower(DefaultResourceID)}, own},
		{"client id", token.Selector{Kind: token.ClientID, Value: strings.ToUpper(someGUID)}, identity{clientID: someGUID}},
		{"object id", token.Selector{Kind: token.ObjectID, Value: someGUID}, identity{objectID: someGUID}},
		{"resource id", token.Selector{Kind: token.ResourceID, Value: lower}, identity{resourceID: spelt}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := token.Request{Resource: vault, Identity: test.by}
			got, claims := emulate(t, s, r)
			mirid, _ := claims.Raw["xms_mirid"].(string)
			if got.ClientID != claims.AppID || got.ObjectID != claims.ObjectID || claims.Raw["sub"] != claims.ObjectID {
				t.Errorf("the token %+v is not what its claims say: %v", got, claims.Raw)
			}
			for _, id := range []struct{ claim, got, want, own string }{
				{"appid", claims.AppID, test.want.clientID, own.clientID},
				{"oid", claims.ObjectID, test.want.objectID, own.objectID},
				{"xms_mirid", mirid, test.want.resourceID, own.resourceID},
			} {
				if id.want != "" && id.got != id.want || id.want == "" && (id.got == id.own || id.got == "") {
					t.Errorf("%s is %q, want %q", id.claim, id.got, id.want)
				}
			}
			if !isGUID(got.ClientID) || !isGUID(got.ObjectID) || got.ClientID == got.ObjectID {
				t.Errorf("ids %q and %q, want two GUIDs", got.ClientID, got.ObjectID)
			}
			r.Identity.Value = strings.ToLower(r.Identity.Value)
			if again, _ := emulate(t, s, r); again.ClientID != got.ClientID || again.ObjectID != got.ObjectID {
				t.Errorf("the next time it was another identity: %+v, then %+v", got, again)
			}
		})
	}
}

func TestTokenRefusesWhatIsNoIdentity(t *testing.T) {
	s := newSource(t, Options{})
	for _, by := range []token.Selector{
		{Kind: token.ClientID, Value: "web"},
		{Kind: token.ClientID, Value: DefaultResourceID},
		{Kind: token.ObjectID, Value: someGUID + "0"},
		{Kind: token.ObjectID, Value: strings.ReplaceAll(someGUID, "-", "0")},
		{Kind: token.ObjectID, Value: "g" + someGUID[1:]},
		{Kind: token.ResourceID, Value: someGUID},
		{Kind: token.ClientID},
		{Kind: "name", Value: someGUID},
	} {
		got, err := s.Token(t.Context(), token.Request{Resource: vault, Identity: by})
		if _, ok := errors.AsType[*token.Error](err); !ok || !got.Value.Empty() {
			t.Errorf("%+v: %+v, %v, want a token.Error", by, got, err)
		}
	}
	if _, err := s.Token(t.Context(), token.Request{}); !errors.Is(err, token.ErrUnsupportedResource) {
		t.Errorf("no resource: error %v, want ErrUnsupportedResource", err)
	}
}

func TestTokenOfATenant(t *testing.T) {
	s := newSource(t, Options{})
	for tenant, want := range map[string]string{
		"": DefaultTenantID, "contoso.com": DefaultTenantID, strings.ToUpper(someGUID): someGUID,
	} {
		got, claims := emulate(t, s, token.Request{Resource: vault, Tenant: tenant})
		if got.TenantID != want || claims.TenantID != want || claims.Issuer != "https://sts.windows.net/"+want+"/" {
			t.Errorf("tenant %q: token of %q, tid %q, iss %q", tenant, got.TenantID, claims.TenantID, claims.Issuer)
		}
	}
}

func TestOptionsDescribeTheIdentity(t *testing.T) {
	now := time.Now()
	s := newSource(t, Options{
		TenantID: strings.ToUpper(someGUID), ClientID: derived("test", "c"), ObjectID: derived("test", "o"),
		ResourceID: "/subscriptions/s/resourceGroups/RG/providers/Microsoft.Compute/virtualMachines/VM", Lifetime: 90 * time.Minute,
		Now: func() time.Time { return now },
	})
	got, claims := emulate(t, s, token.Request{Resource: vault})
	if got.TenantID != someGUID || claims.AppID != derived("test", "c") || claims.ObjectID != derived("test", "o") {
		t.Errorf("token %+v", got)
	}
	if want := "/subscriptions/s/resourcegroups/RG/providers/Microsoft.Compute/virtualMachines/VM"; claims.Raw["xms_mirid"] != want {
		t.Errorf("xms_mirid %v, want %s", claims.Raw["xms_mirid"], want)
	}
	if left := got.ExpiresOn.Sub(now.Truncate(time.Second)); left != 90*time.Minute {
		t.Errorf("valid for %v, want 90m", left)
	}
}

func TestNewStartsNothingAndStartDoesNotWait(t *testing.T) {
	s := New(Options{})
	s.Close() // there is nothing to wait for yet
	if s.key != nil {
		t.Error("New made a key")
	}
	s.Start()
	s.Start()
	s.Close()
	if s.key == nil || s.err != nil {
		t.Errorf("key %v, error %v after Start and Close", s.key, s.err)
	}
}

func TestTokenLeavesWithItsContext(t *testing.T) {
	s := New(Options{})
	s.starting.Do(func() {}) // the key never comes
	ctx, leave := context.WithCancel(t.Context())
	leave()
	if _, err := s.Token(ctx, token.Request{Resource: vault}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want Canceled", err)
	}
}
