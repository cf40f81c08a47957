package token

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// unsigned is a JWT with the claims given, whose signature is noise.
func unsigned(claims string) string {
	return "eyJhbGciOiJSUzI1NiJ9." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2lnbmF0dXJl"
}

func TestParseClaims(t *testing.T) {
	at := time.Unix(1709809297, 0)
	for _, test := range []struct {
		name, claims string
		want         Claims
		app          bool
	}{
		{
			"managed identity", `{"aud":"https://vault.azure.net","iss":"https://sts.windows.net/t/","iat":1709809297,"nbf":1709809297,
			 "exp":1709895997,"appid":"a","appidacr":"2","idtyp":"app","oid":"o","sub":"o","tid":"t","ver":"1.0"}`,
			Claims{
				Audience: "https://vault.azure.net", Issuer: "https://sts.windows.net/t/", TenantID: "t", ObjectID: "o", AppID: "a",
				IDType: "app", NotBefore: at, IssuedAt: at, ExpiresOn: at.Add(86700 * time.Second),
			},
			true,
		},
		{
			"person, v1.0", `{"aud":"x","appid":"04b07795","oid":"o","scp":"user_impersonation","unique_name":"live.com#a@b","upn":"a@b"}`,
			Claims{Audience: "x", AppID: "04b07795", ObjectID: "o", Scope: "user_impersonation", UPN: "a@b"},
			false,
		},
		{
			"person, v2.0", `{"aud":"x","azp":"04b07795","idtyp":"user","preferred_username":"a@b","scp":"User.Read Mail.Read"}`,
			Claims{Audience: "x", AppID: "04b07795", IDType: "user", Scope: "User.Read Mail.Read", UPN: "a@b"},
			false,
		},
		{
			"application of old", `{"aud":["x","y"],"roles":["R.All","S"],"exp":1709809297.9}`,
			Claims{Audience: "x", Roles: []string{"R.All", "S"}, ExpiresOn: at},
			true,
		},
		{"single role", `{"roles":"R"}`, Claims{Roles: []string{"R"}}, true},
		{"nothing", `{}`, Claims{}, true},
		{
			"other types", `{"aud":1,"iss":null,"tid":{},"oid":[],"appid":true,"azp":"z","roles":[1,"R",""],"nbf":"1","iat":-1,"exp":1e300}`,
			Claims{AppID: "z", Roles: []string{"R"}},
			true,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := ParseClaims(unsigned(test.claims))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got, cmpopts.IgnoreFields(Claims{}, "Raw")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if got.IsApp() != test.app {
				t.Errorf("IsApp() = %t, want %t", got.IsApp(), test.app)
			}
		})
	}
}

func TestParseClaimsKeepsAllAsTheyCame(t *testing.T) {
	got, err := ParseClaims(unsigned(`{"exp":1709895997,"xms_mirid":"/subscriptions/s","n":12345678901234567890}`))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"exp": json.Number("1709895997"), "xms_mirid": "/subscriptions/s", "n": json.Number("12345678901234567890"),
	}
	if diff := cmp.Diff(want, got.Raw); diff != "" {
		t.Errorf("Raw (-want +got):\n%s", diff)
	}
}

func TestParseClaimsRefuses(t *testing.T) {
	for name, jwt := range map[string]string{
		"empty":           "",
		"opaque":          "EwB4A8l6BAAUO9chh8cJscQLmU+LSWpbnr0vmwwAAQ",
		"two parts":       "eyJhbGciOiJub25lIn0.e30",
		"encrypted":       "a.b.c.d.e",
		"not base64url":   "h.e30+.s",
		"padded":          "h.e30=.s",
		"not JSON":        unsigned("secret"),
		"cut short":       unsigned(`{"aud":"secret`),
		"null":            unsigned("null"),
		"list":            unsigned(`["secret"]`),
		"two objects":     unsigned(`{}{"aud":"secret"}`),
		"something after": unsigned(`{} secret`),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseClaims(jwt)
			if err == nil {
				t.Fatalf("got %+v, want an error", got)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("the error repeats the token: %v", err)
			}
		})
	}
}

func FuzzParseClaims(f *testing.F) {
	for _, seed := range []string{
		unsigned(`{"aud":["a"],"exp":1709895997,"roles":["R"],"appid":"a"}`), unsigned(`{"exp":1e999}`), unsigned(`null`),
		unsigned(`{"exp":253402300799.5,"nbf":-0}`), "a.b.c", "..", "",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, jwt string) {
		c, err := ParseClaims(jwt)
		if err != nil {
			if c.Raw != nil {
				t.Error("claims beside an error")
			}
			return
		}
		if c.Raw == nil {
			t.Error("neither claims nor an error")
		}
		for _, at := range []time.Time{c.NotBefore, c.IssuedAt, c.ExpiresOn} {
			if _, err := at.MarshalJSON(); err != nil { // claims are shown as JSON
				t.Errorf("a date that cannot be written: %v", err)
			}
		}
	})
}

func FuzzScope(f *testing.F) {
	for _, seed := range []string{"https://vault.azure.net", "https://x/", "", "a b", "api://ä", "--debug", "\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, resource string) {
		scope, err := Scope(resource)
		if err == nil && strings.TrimSuffix(scope, "/.default") != resource {
			t.Errorf("Scope(%q) = %q: the resource cannot be had back", resource, scope)
		}
	})
}

func TestClaimsLacking(t *testing.T) {
	for _, tt := range []struct {
		name, payload string
		want          []string
	}{
		{"managed identity", `{"idtyp":"app","roles":["r"],"xms_mirid":"/subscriptions/s"}`, nil},
		{"managed identity without roles", `{"idtyp":"app","xms_mirid":"/subscriptions/s"}`, nil},
		{"application", `{"idtyp":"app","appid":"a"}`, []string{"xms_mirid"}},
		{"application in an old token", `{"appid":"a"}`, []string{"idtyp=app", "xms_mirid"}},
		{"user", `{"idtyp":"user","scp":"user_impersonation","upn":"a@b.c"}`, []string{"idtyp=app", "roles", "xms_mirid"}},
		{"user with a role", `{"scp":"x","roles":["r"]}`, []string{"idtyp=app", "xms_mirid"}},
	} {
		c, err := ParseClaims("e30." + base64.RawURLEncoding.EncodeToString([]byte(tt.payload)) + ".c2ln")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, c.Lacking()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}
