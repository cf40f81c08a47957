package main

import (
	"context"
	"fmt"
	"strings"

	"azimds/imds/control"
)

// announce prints what a person needs to know at the start: how requests are intercepted and why, whose credential is
// lent and who may ask, a line to try, and how to stop.
func (a *agent) announce() error {
	if a.quiet {
		if a.supply.Load().credential.emulated {
			a.log.Warn("tokens are emulated: they open nothing in Azure")
		}
		return nil
	}
	var b strings.Builder
	field := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %-11s %s\n", name, fmt.Sprintf(format, args...))
	}
	credential := a.supply.Load().credential
	account := credential.account(context.Background())
	fmt.Fprintf(&b, "azimds answers at %s\n", a.offer.Plan.Endpoint)
	field("mode", "%s: %s", a.offer.Plan.Mode, a.offer.Reason)
	field("credential", "%s", credential.describe())
	field("account", "%s", accountText(account))
	if account.Tenant != "" {
		field("tenant", "%s", account.Tenant)
	}
	field("for", "%s", servedText(a.offer.Owner.Name, a.offer.Owner.UID, a.offer.Tree))
	field("try", `curl -sGH Metadata:true -d api-version=2018-02-01 \`)
	field("", `  -d resource=https://vault.azure.net \`)
	field("", "  http://169.254.169.254/metadata/identity/oauth2/token")
	if a.tether != nil {
		field("stop", "Ctrl-C here, or: azimds stop")
	}
	if credential.emulated {
		b.WriteString("\n  EMULATED: these tokens are signed by azimds itself and open nothing in Azure.\n")
	}
	_, err := fmt.Fprint(a.out, b.String())
	return err
}

// accountText says in a line who is signed in.
func accountText(account control.Account) string {
	switch {
	case account.Error != "":
		return withHint(account.Error, account.Hint)
	case account.Name == "":
		return "not known yet"
	default:
		return fmt.Sprintf("%s (%s)", account.Name, account.Type)
	}
}

// servedText says in a line who may ask.
func servedText(name string, uid uint32, tree int) string {
	if tree != 0 {
		return fmt.Sprintf("process %d of user %s (uid %d) and what it starts; nobody else", tree, name, uid)
	}
	return fmt.Sprintf("programs of user %s (uid %d); nobody else", name, uid)
}
