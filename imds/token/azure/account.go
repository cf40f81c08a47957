package azure

import (
	"cmp"
	"errors"
	"io/fs"
	"os"

	"azimds/imds/token"
)

// Account is whom a credential signs in as.
type Account struct {
	Name     string // a user principal name, or an application's client id
	Tenant   string // the tenant whose tokens are asked for
	SignedIn string // the id of the tenant that a tool is signed in to, which may be another; empty where there is no tool
	App      bool   // an application, whose tokens are as a managed identity's; else a person
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
	in := selected[0]
	return Account{
		Name: in.User.Name, Tenant: cmp.Or(c.tenant, in.Tenant), SignedIn: in.Tenant, App: in.User.Type == "servicePrincipal",
	}, nil
}

// errSignedOut says that az has nobody to ask as.
var errSignedOut = &token.Error{Kind: token.ErrSignInRequired, Message: "nobody is signed in to the Azure CLI", Command: "az login"}
