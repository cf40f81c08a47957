package imds_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"azimds/imds"
	"azimds/imds/token"
)

// relatives of CVE-2022-23551, in which a filter and the metadata service behind it read one path in two ways: everything here
// is another path than the token endpoint's to somebody, and so to us.
var relatives = []string{
	`/metadata/identity\oauth2\token`, `/metadata\identity\oauth2\token`, `\metadata\identity\oauth2\token`,
	`/metadata/identity\oauth2/token`, `/metadata/identity/oauth2\token`, `/metadata/identity/oauth2/token\`,
	`/metadata/identity%5coauth2%5ctoken`, `/metadata/identity%5Coauth2/token`, `/metadata%5cidentity/oauth2/token`,
	`/metadata/identity%2foauth2%2ftoken`, `/metadata/identity%2Foauth2/token`, `/metadata%2fidentity%2foauth2%2ftoken`,
	`/%6detadata/identity/oauth2/token`, `/metadata/identity/oauth2/%74oken`, `/metadata/identity/oauth2/toke%6e`,
	`/metadata/identity/oauth2%2e/token`, `/metadata/identity/%6fauth2/token`, `/metadata/identity/oauth2/token%00`,
	`/metadata/identity/oauth2/token%20`, `/metadata/identity/oauth2/token%2f`, `/metadata/identity/oauth2/token%3f`,
	`/metadata/identity/oauth2/token%23`, `/metadata/identity/oauth2/token%3b`, `/metadata/identity/oauth2/token;a=b`,
	`/metadata/identity;a/oauth2/token`, `/metadata/identity/oauth2;/token`, `/metadata/identity/oauth2/token;`,
	`//metadata/identity/oauth2/token`, `/metadata//identity/oauth2/token`, `/metadata/identity//oauth2/token`,
	`/metadata/identity/oauth2//token`, `/metadata/identity/oauth2/token//`, `///metadata/identity/oauth2/token`,
	`/./metadata/identity/oauth2/token`, `/metadata/./identity/oauth2/token`, `/metadata/identity/oauth2/./token`,
	`/metadata/identity/oauth2/token/.`, `/metadata/identity/oauth2/token/..`, `/metadata/identity/oauth2/x/../token`,
	`/x/../metadata/identity/oauth2/token`, `/../metadata/identity/oauth2/token`, `/metadata/identity/../identity/oauth2/token`,
	`/metadata/identity/oauth2/%2e/token`, `/metadata/identity/oauth2/x/%2e%2e/token`, `/metadata/identity/.%2e/identity/oauth2/token`,
	`/metadata/identity/oauth2/token/x`, `/metadata/identity/oauth2/tokens`, `/metadata/identity/oauth2/toke`,
	`/metadata/identity/oauth2/token.`, `/metadata/identity/oauth2/token..`, `/metadata/identity/oauth2/token~`,
	`/metadata/identity/oauth2/token,`, `/metadata/identity/oauth2/token&`, `/metadata/identity/oauth2/token$`,
	"/metadata/identity/oauth2/to\u212aen", "/metadata/identity/oauth2/\u017foken", "/metadata/identity\uff0foauth2\uff0ftoken",
	"/metadata/identity\u2215oauth2\u2215token", "/metadata/identity/oauth2/token\u200b", "/metadata/identity/oauth2/tok\x80en",
	`/metadata/identity/oauth2/%u0074oken`, `/metadata/identity/oauth2/%c1%b4oken`, `/metadata/identity%c0%afoauth2%c0%aftoken`,
	`/metadata/identity%252foauth2%252ftoken`, `/metadata/identity/oauth2/%2574oken`, `metadata/identity/oauth2/token`,
	`http://a@169.254.169.254/metadata/identity/oauth2/token`, `https://169.254.169.254/metadata/identity/oauth2/token`,
}

// TestRelativesReachNoHandler sends them as raw bytes, with all that a client of the token endpoint sends: no source is asked.
// The endpoint's own path, in the same words, is served.
func TestRelativesReachNoHandler(t *testing.T) {
	if len(relatives) < 51 {
		t.Fatalf("only %d paths", len(relatives))
	}
	var asked atomic.Int64
	a := start(t, func(o *imds.Options) {
		w := o.Source
		o.Source = sourceFunc(func(ctx context.Context, r token.Request) (token.Token, error) {
			asked.Add(1)
			return w.Token(ctx, r)
		})
	})
	send := func(path string) string {
		t.Helper()
		reply, err := a.send(t, request("GET "+path+"?api-version=2018-02-01&resource=https://vault.azure.net HTTP/1.1",
			"Host: 169.254.169.254", "Metadata: true", "Connection: close"))
		if err != nil {
			t.Errorf("%q: %v", path, err)
		}
		return reply
	}
	for _, path := range relatives {
		reply := send(path)
		if status := statusOf(reply); status != "404" && status != "400" || strings.Contains(reply, "access_token") {
			t.Errorf("%q: %.200s", path, reply)
		}
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("a source was asked %d times", n)
	}
	for _, path := range []string{"/metadata/identity/oauth2/token", "/Metadata/Identity/OAuth2/Token/"} {
		if reply := send(path); statusOf(reply) != "200" {
			t.Errorf("%q: %.200s", path, reply)
		}
	}
	if n := asked.Load(); n == 0 {
		t.Error("no source was asked for the endpoint's own path")
	}
}
