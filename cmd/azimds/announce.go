package main

import (
	"context"
	"fmt"
	"strings"

	"azimds/config"
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
	fmt.Fprintf(&b, "azimds answers at %s\n", a.offer().Plan.Endpoint)
	if a.env != nil {
		field("endpoint", "%s: %s", a.env.Kind(), a.offer().Reason)
	} else {
		field("mode", "%s: %s", a.offer().Plan.Mode, a.offer().Reason)
	}
	field("credential", "%s", credential.describe())
	field("account", "%s", accountText(account))
	if account.Tenant != "" {
		field("tenant", "%s", account.Tenant)
	}
	field("for", "%s", servedText(a.offer().Owner.Name, a.offer().Owner.UID, a.offer().Tree, othersServed(a.config)))
	if a.env != nil {
		field("select", `eval "$(azimds env)"`)
	} else {
		field("try", `curl -sGH Metadata:true -d api-version=2018-02-01 \`)
		field("", `  -d resource=https://vault.azure.net \`)
		field("", "  http://169.254.169.254/metadata/identity/oauth2/token")
	}
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

// servedText says in a line who may ask. others is what [othersServed] lists.
func servedText(name string, uid uint32, tree int, others []string) string {
	text := fmt.Sprintf("programs of user %s (uid %d)", name, uid)
	if tree != 0 {
		text = fmt.Sprintf("process %d of user %s (uid %d) and what it starts", tree, name, uid)
	}
	if len(others) == 0 {
		return text + "; nobody else"
	}
	return text + "; also " + strings.Join(others, ", ")
}

// othersServed lists who may ask besides the owner, as it is configured.
func othersServed(c config.Config) []string {
	others := []string{}
	add := func(what string, names []string) {
		if len(names) > 0 {
			others = append(others, what+" "+strings.Join(names, " "))
		}
	}
	if c.Callers.AnyLocal {
		others = append(others, "every local user")
	}
	add("users", c.Callers.Users)
	add("groups", c.Callers.Groups)
	add("containers", c.Callers.Containers)
	add("relays", c.Callers.Relays)
	var bridges []string
	for _, z := range c.Zones {
		bridges = append(bridges, z.Bridge)
	}
	add("bridges", bridges)
	return others
}
