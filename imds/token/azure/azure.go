package azure

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"azimds/imds/token"
)

// The names under which configuration selects a source.
const (
	KindAuto              = "auto"
	KindAzurePipelines    = "azure-pipelines"
	KindCLI               = "azure-cli"
	KindClientCertificate = "client-certificate"
	KindClientSecret      = "client-secret"
	KindDeveloperCLI      = "azure-developer-cli"
	KindDeviceCode        = "device-code"
	KindEnvironment       = "environment"
	KindGitHubActions     = "github-actions"
	KindPowerShell        = "azure-powershell"
	KindUsernamePassword  = "username-password"
	KindWorkloadIdentity  = "workload-identity"
)

// msalMargin is what MSAL leaves of a cached token before it asks for another: az, and the tools that are built alike, give
// the same token again until less than five minutes of it remain.
const msalMargin = 5*time.Minute - time.Second

// repeated says of a tool's token from when on the tool would give another.
func repeated(t token.Token) token.Token {
	t.RefreshOn = t.ExpiresOn.Add(-msalMargin)
	return t
}

// relay makes a token of what a credential yielded. clientID and tenant are what the credential knows of itself; the claims
// of the token go before them, where it is a JWT (tokens for personal accounts are opaque).
func relay(at azcore.AccessToken, clientID, tenant string, now time.Time) (token.Token, error) {
	switch {
	case at.Token == "":
		return token.Token{}, errors.New("the answer held no token")
	case !at.ExpiresOn.After(now):
		return token.Token{}, errors.New("the token given had already expired; is the clock right?")
	}
	t := token.Token{Value: token.NewSecret(at.Token), ClientID: clientID, TenantID: tenant, ExpiresOn: at.ExpiresOn, RefreshOn: at.RefreshOn}
	claims, err := token.ParseClaims(at.Token)
	if err != nil {
		return t, nil //nolint:nilerr // opaque: only its resource can read it
	}
	if claims.AppID != "" {
		t.ClientID = claims.AppID
	}
	if claims.TenantID != "" {
		t.TenantID = claims.TenantID
	}
	t.ObjectID, t.NotBefore = claims.ObjectID, claims.NotBefore
	return t, nil
}

// checkTenant refuses what azidentity and az would not take as a tenant: "" is the credential's own, else an id or a domain.
func checkTenant(tenant string) error {
	for _, r := range tenant {
		if !alphanumeric(r) && r != '.' && r != '-' {
			return fmt.Errorf("tenant %q is neither an id nor a domain: character %q", tenant, r)
		}
	}
	if strings.HasPrefix(tenant, "-") {
		return fmt.Errorf("tenant %q is neither an id nor a domain: it begins with a dash", tenant)
	}
	return nil
}

func alphanumeric(r rune) bool {
	return '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
}

// described renders a source's kind and its settings, for example "client-secret (tenant contoso.com, client 1234)".
// Settings come in pairs of name and value; empty values are left out.
func described(kind string, settings ...string) string {
	var parts []string
	for i := 0; i+1 < len(settings); i += 2 {
		if settings[i+1] != "" {
			parts = append(parts, settings[i]+" "+settings[i+1])
		}
	}
	if len(parts) == 0 {
		return kind
	}
	return kind + " (" + strings.Join(parts, ", ") + ")"
}

// jwtText matches anything that looks like a token of Entra's: base64url of `{"`, to the end of its segments.
var jwtText = regexp.MustCompile(`eyJ[0-9A-Za-z_-]{8,}(\.[0-9A-Za-z_-]*)*`)

// scrub takes tokens, and the secrets given, out of a text that others wrote.
func scrub(text string, secrets ...token.Secret) string {
	for _, s := range secrets {
		if !s.Empty() {
			text = strings.ReplaceAll(text, s.Reveal(), "[redacted]")
		}
	}
	return jwtText.ReplaceAllString(text, "[redacted]")
}
