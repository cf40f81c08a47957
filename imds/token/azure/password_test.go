package azure

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"azimds/imds/token"
	"azimds/test/entra"
)

const (
	userName = "dev@contoso.example"
	password = "correct horse"
)

func newUsernamePassword(t *testing.T, o UsernamePasswordOptions) *UsernamePassword {
	t.Helper()
	o.Tenant = tenantID
	u, err := NewUsernamePassword(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(u.authority.transport.client.CloseIdleConnections)
	return u
}

// peopleEntra knows one person and the application that az signs people in to.
func peopleEntra() entra.Options {
	return entra.Options{
		Clients: []entra.Client{{ID: azClientID, Public: true}, {ID: clientID, Secret: clientSecret}},
		Users:   []entra.User{{Name: userName, Password: password, ObjectID: objectID}},
	}
}

func TestUsernamePassword(t *testing.T) {
	var told messages
	server, pool := startEntraWith(t, peopleEntra())
	for _, test := range []struct {
		name     string
		username string
		password string
		client   string
		refuse   *entra.Refusal
	}{
		{name: "good", username: userName, password: password},
		{name: "wrong password", username: userName, password: "wrong horse"},
		{name: "unknown user", username: "o'neil@contoso.example", password: password},
		{name: "application without people", username: userName, password: password, client: clientID},
		{name: "multi-factor", username: userName, password: password, refuse: &entra.Refusal{
			Status: 400, Error: "interaction_required", Code: 50076, Text: "You must use multi-factor authentication.",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			source := newUsernamePassword(t, UsernamePasswordOptions{
				Username: test.username, Password: token.NewSecret(test.password), ClientID: test.client,
				AuthorityHost: server.URL(), CA: pool,
			})
			server.Behave(entra.Behaviour{Refuse: test.refuse})
			defer server.Behave(entra.Behaviour{})
			got, err := source.Token(t.Context(), token.Request{Resource: arm})
			if test.name == "good" {
				issued := server.Issued()
				if err != nil || got.Value.Reveal() != issued[len(issued)-1].Token || issued[len(issued)-1].User != userName {
					t.Errorf("got %+v, %v", got, err)
				}
				return
			}
			checkError(t, err, test.password)
			if refusal, ok := errors.AsType[*token.EntraError](err); ok {
				refusal.Description, _, _ = strings.Cut(refusal.Description, " Trace ID: ")
			}
			told.add(test.name, err)
		})
	}
	told.compare(t, "password.golden")
}

func TestNewUsernamePasswordRefuses(t *testing.T) {
	good := UsernamePasswordOptions{Tenant: tenantID, Username: userName, Password: token.NewSecret(password)}
	for name, change := range map[string]func(*UsernamePasswordOptions){
		"no tenant":      func(o *UsernamePasswordOptions) { o.Tenant = "" },
		"broken tenant":  func(o *UsernamePasswordOptions) { o.Tenant = "a/b" },
		"no user name":   func(o *UsernamePasswordOptions) { o.Username = "" },
		"no password":    func(o *UsernamePasswordOptions) { o.Password = token.Secret{} },
		"http authority": func(o *UsernamePasswordOptions) { o.AuthorityHost = "http://login.example" },
	} {
		o := good
		change(&o)
		if _, err := NewUsernamePassword(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	u := newUsernamePassword(t, good)
	if want := "username-password (tenant " + tenantID + ", user " + userName + ")"; u.Describe() != want {
		t.Errorf("got %q, want %q", u.Describe(), want)
	}
	if text := fmt.Sprintf("%+v %#v", u, u); strings.Contains(text, password) {
		t.Error("the password is printed")
	}
}
