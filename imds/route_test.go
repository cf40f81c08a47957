package imds

import (
	"net/url"
	"path"
	"strings"
	"testing"
)

func TestRouteOf(t *testing.T) {
	for path, want := range map[string]route{
		"/metadata/identity/oauth2/token":      routeToken,
		"/METADATA/Identity/oauth2/TOKEN/":     routeToken,
		"/metadata/identity/oauth2/token//":    routeNone,
		"/metadata/identity/oauth2/to\u212aen": routeNone, // the Kelvin sign folds to k
		"/metadata/identity/oauth2/token/.":    routeNone,
		"/metadata/identity/oauth2/tokens":     routeNone,
		"metadata/identity/oauth2/token":       routeNone,
		"/metadata/identity/oauth2%2ftoken":    routeNone,
		"/metadata/identity\\oauth2\\token":    routeNone,
		"//metadata/identity/oauth2/token":     routeNone,
		"/metadata/./identity/oauth2/token":    routeNone,
		"/metadata/identity/info":              routeInfo,
		"/metadata/identity/info/":             routeInfo,
		"/metadata/identity":                   routeNone,
		"/metadata/identity/":                  routeNone,
		"/metadata/instance":                   routeInstance,
		"/Metadata/Instance/compute/location":  routeInstance,
		"/metadata":                            routeNone,
		"/azimds/emulated/t/keys":              routeIssuer,
		"/azimds/emulated/":                    routeIssuer,
		"/azimds/emulated":                     routeNone,
		"/azimds/emulated//keys":               routeNone,
		"/azimds/emulated/keys//":              routeNone,
		"/azimds/emulated/../keys":             routeNone,
		"/azimds/emulated/%2e%2e/keys":         routeNone,
		"/azimds/Emulated/keys":                routeNone,
		"":                                     routeNone,
		"/":                                    routeNone,
		"*":                                    routeNone,
	} {
		if got := routeOf(path); got != want {
			t.Errorf("%q: %s, want %s", path, got, want)
		}
	}
}

func FuzzRouteOf(f *testing.F) {
	for _, target := range []string{
		tokenPath, tokenPath + "/?a=b", infoPath + "?", "http://169.254.169.254" + tokenPath, "http://a@b" + tokenPath, "*", "//x",
		issuerPrefix + "a/.well-known/b", issuerPrefix + "..", "/metadata/identity\\oauth2\\token", "http://h?" + tokenPath,
		"HTTP://h/metadata/instance", "/metadata/identity/oauth2/%74oken", "/metadata/identity/oauth2/to\u212aen", "169.254.169.254:80",
	} {
		f.Add(target)
	}
	f.Fuzz(func(t *testing.T, target string) {
		p, query := splitTarget(target)
		if !strings.HasSuffix(target, p) && !strings.HasSuffix(target, p+"?"+query) {
			t.Fatalf("%q was cut into %q and %q", target, p, query)
		}
		r := routeOf(p)
		if r == routeNone || r == routeInstance {
			return
		}
		bare := strings.TrimSuffix(p, "/")
		decoded, err := url.PathUnescape(p)
		if err != nil || decoded != p || path.Clean(p) != bare || strings.ContainsAny(p, "\\;?#") {
			t.Fatalf("%q is served as %s", p, r)
		}
		lower := strings.ToLower(bare)
		if lower != tokenPath && lower != infoPath && !strings.HasPrefix(p, issuerPrefix) {
			t.Fatalf("%q is served as %s", p, r)
		}
	})
}
