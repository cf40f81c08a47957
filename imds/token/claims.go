package token

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// Claims is what a JWT says of itself (RFC 7519), in the names that Entra uses in its v1.0 and v2.0 tokens. Nothing of it
// has been verified. What a token does not say is empty or zero.
type Claims struct {
	Audience  string // aud; the first of several
	Issuer    string // iss
	TenantID  string // tid
	ObjectID  string // oid
	AppID     string // appid, or azp in a v2.0 token
	IDType    string // idtyp: "app", "user" or, in older tokens, nothing
	UPN       string // upn, preferred_username or unique_name: who signed in
	Scope     string // scp: what a person let the application do, separated by blanks
	Roles     []string
	NotBefore time.Time // nbf
	IssuedAt  time.Time // iat
	ExpiresOn time.Time // exp

	Raw map[string]any // all claims; numbers are [json.Number]
}

// ParseClaims reads the claims of a signed JWT without verifying it, which is for whom the token is meant for. A claim of
// another type than it should have counts as absent. The error says what is wrong and holds nothing of the token.
func ParseClaims(jwt string) (Claims, error) {
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		return Claims{}, errors.New("parsing token: not a JWT of three parts")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return Claims{}, fmt.Errorf("parsing token: decoding claims: %w", err)
	}
	raw, err := object(payload)
	if err != nil {
		return Claims{}, fmt.Errorf("parsing token: decoding claims: %w", err)
	}
	return Claims{
		Audience:  cmp.Or(texts(raw["aud"])...),
		Issuer:    text(raw["iss"]),
		TenantID:  text(raw["tid"]),
		ObjectID:  text(raw["oid"]),
		AppID:     cmp.Or(text(raw["appid"]), text(raw["azp"])),
		IDType:    text(raw["idtyp"]),
		UPN:       cmp.Or(text(raw["upn"]), text(raw["preferred_username"]), text(raw["unique_name"])),
		Scope:     text(raw["scp"]),
		Roles:     texts(raw["roles"]),
		NotBefore: date(raw["nbf"]),
		IssuedAt:  date(raw["iat"]),
		ExpiresOn: date(raw["exp"]),
		Raw:       raw,
	}, nil
}

// IsApp reports whether the token speaks for an application or managed identity by itself, not for a person. Older tokens
// do not say; one without a scope and without a name then is an application's (learn.microsoft.com, "Access token claims
// reference", idtyp and scp).
func (c Claims) IsApp() bool {
	if c.IDType != "" {
		return c.IDType == "app"
	}
	return c.Scope == "" && c.UPN == ""
}

// Lacking lists the claims, by name, that a managed identity's token has and this one has not. A managed identity has roles
// where some are assigned to it, and xms_mirid in tokens for Microsoft's own services.
func (c Claims) Lacking() []string {
	var names []string
	if c.IDType != "app" {
		names = append(names, "idtyp=app")
	}
	if len(c.Roles) == 0 && !c.IsApp() {
		names = append(names, "roles")
	}
	if text(c.Raw["xms_mirid"]) == "" {
		names = append(names, "xms_mirid")
	}
	return names
}

// object decodes one JSON object and nothing after it.
func object(data []byte) (map[string]any, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var o map[string]any
	if err := d.Decode(&o); err != nil {
		return nil, err
	}
	if o == nil {
		return nil, errors.New("no object")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one object")
	}
	return o, nil
}

func text(claim any) string {
	s, _ := claim.(string) // of another type: as if absent
	return s
}

// texts reads a claim that is a string or a list of them.
func texts(claim any) []string {
	list, ok := claim.([]any)
	if !ok {
		list = []any{claim}
	}
	var all []string
	for _, item := range list {
		if s := text(item); s != "" {
			all = append(all, s)
		}
	}
	return all
}

// maxDate is the last second of the year 9999, beyond which a time.Time cannot be written as JSON or RFC 3339.
const maxDate = 253402300799

// date reads a NumericDate (RFC 7519 section 2): seconds since 1970, a fraction allowed and cut off.
func date(claim any) time.Time {
	n, ok := claim.(json.Number)
	if !ok {
		return time.Time{}
	}
	seconds, err := n.Float64()
	if err != nil || seconds < 0 || seconds > maxDate {
		return time.Time{}
	}
	return time.Unix(int64(seconds), 0).UTC()
}
