package azure

import (
	"errors"
	"io/fs"
	"os"

	"azimds/imds/token"
)

// Account is whom a credential signs in as.
type Account struct {
	Name   string // a user principal name, or an application's client id
	Tenant string // a tenant id
	App    bool   // an application, whose tokens are as a managed identity's; else a person
}

// Account reads from az's profile as whom [CLI.Token] will ask; it starts no az. The error is a [token.Error] of kind
// [token.ErrSignInRequired] where nobody is signed in, or a managed identity is. The zero Account means that the profile
// does not tell: it cannot be read, or has a default account in several clouds.
func (c *CLI) Account() (Account, error) {
	if err := c.checkProfile(); err != nil {
		return Account{}, err
	}
	p, err := readProfile(os.Getenv)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return Account{}, errSignedOut
		}
		return Account{}, nil // az itself says what is wrong with its profile
	}
	selected := p.selected(c.subscription)
	if len(selected) != 1 {
		return Account{}, nil
	}
	a := Account{Name: selected[0].User.Name, Tenant: selected[0].Tenant, App: selected[0].User.Type == "servicePrincipal"}
	if c.tenant != "" {
		a.Tenant = c.tenant
	}
	return a, nil
}

// errSignedOut says that az has nobody to ask as.
var errSignedOut = &token.Error{Kind: token.ErrSignInRequired, Message: "nobody is signed in to the Azure CLI", Command: "az login"}
