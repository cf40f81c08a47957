package main

import (
	"fmt"
	"strings"

	"azimds/config"
	"azimds/imds/control"
)

// drift says in which way a tool's sign-in is not the one that is pinned; empty where it is, and where it is not known.
func drift(pin config.Pin, now control.Account) string {
	var found []string
	if pin.Account != "" && now.Name != "" && !strings.EqualFold(pin.Account, now.Name) {
		found = append(found, fmt.Sprintf("signed in as %s, and azimds was installed for %s", now.Name, pin.Account))
	}
	if pin.Tenant != "" && now.SignedIn != "" && !strings.EqualFold(pin.Tenant, now.SignedIn) {
		found = append(found, fmt.Sprintf("signed in to tenant %s, and azimds was installed for %s", now.SignedIn, pin.Tenant))
	}
	return strings.Join(found, "; ")
}
