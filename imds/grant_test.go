package imds

import (
	"testing"
	"time"

	"azimds/imds/token"
)

func TestNewGrant(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	full := func(lifetime time.Duration) token.Token {
		return token.Token{Value: token.NewSecret("t"), ClientID: "own", NotBefore: start, ExpiresOn: start.Add(lifetime)}
	}
	const day = 86700 * time.Second // of a managed identity's token
	selected := token.Request{Resource: "r", Identity: token.Selector{Kind: token.ClientID, Value: "chosen"}}
	other := token.Request{Resource: "r", Identity: token.Selector{Kind: token.ObjectID, Value: "chosen"}}
	tests := []struct {
		name    string
		request token.Request
		token   token.Token
		age     time.Duration
		want    grant // without the token's text and the resource
		fail    bool
	}{
		{name: "fresh", token: full(day), age: 300 * time.Second,
			want: grant{clientID: "own", expiresIn: 86400, extended: 86400, expiresOn: 1_700_086_700, notBefore: 1_700_000_000}},
		{name: "cached", token: full(day), age: 400 * time.Second,
			want: grant{clientID: "own", expiresIn: 86300, extended: 86399, expiresOn: 1_700_086_700, notBefore: 1_700_000_000}},
		{name: "part of a second", token: full(day), age: 400*time.Second + 999*time.Millisecond,
			want: grant{clientID: "own", expiresIn: 86300, extended: 86399, expiresOn: 1_700_086_700, notBefore: 1_700_000_000}},
		{name: "a user's", token: full(4500 * time.Second), age: 3000 * time.Second,
			want: grant{clientID: "own", expiresIn: 1500, extended: 4199, expiresOn: 1_700_004_500, notBefore: 1_700_000_000}},
		{name: "short", token: full(200 * time.Second),
			want: grant{clientID: "own", expiresIn: 200, extended: 200, expiresOn: 1_700_000_200, notBefore: 1_700_000_000}},
		{name: "selected by client id", request: selected, token: full(day), age: 300 * time.Second,
			want: grant{clientID: "chosen", expiresIn: 86400, extended: 86400, expiresOn: 1_700_086_700, notBefore: 1_700_000_000}},
		{name: "selected otherwise", request: other, token: full(day), age: 300 * time.Second,
			want: grant{clientID: "own", expiresIn: 86400, extended: 86400, expiresOn: 1_700_086_700, notBefore: 1_700_000_000}},
		{name: "without beginning", token: token.Token{Value: token.NewSecret("t"), ExpiresOn: start.Add(time.Hour)},
			want: grant{expiresIn: 3600, extended: 3600, expiresOn: 1_700_003_600, notBefore: 1_700_000_000}},
		{name: "last second", token: full(day), age: day - time.Second,
			want: grant{clientID: "own", expiresIn: 1, extended: 86399, expiresOn: 1_700_086_700, notBefore: 1_700_000_000}},
		{name: "just expired", token: full(day), age: day, fail: true},
		{name: "long expired", token: full(day), age: 2 * day, fail: true},
		{name: "no expiry", token: token.Token{Value: token.NewSecret("t")}, fail: true},
		{name: "no token", token: token.Token{ExpiresOn: start.Add(day)}, fail: true},
	}
	for _, tt := range tests {
		got, err := newGrant(tt.request, tt.token, start.Add(tt.age))
		if (err != nil) != tt.fail {
			t.Errorf("%s: %v", tt.name, err)
		}
		if got.resource != tt.want.resource && got.resource != tt.request.Resource {
			t.Errorf("%s: resource %q", tt.name, got.resource)
		}
		got.value, got.resource = token.Secret{}, ""
		if got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}
