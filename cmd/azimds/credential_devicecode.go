package main

import (
	"fmt"
	"io"
	"strings"
	"unicode"

	"azimds/config"
	"azimds/imds/token/azure"
)

// openDeviceCode asks a person to sign in, on stderr, when the first token is wanted. What is said there is said in each error
// and in status too.
func openDeviceCode(c config.Config, at authority, stderr io.Writer) (*credential, error) {
	changed := make(chan struct{}, 1)
	source, err := azure.NewDeviceCode(azure.DeviceCodeOptions{
		Tenant: c.Tenant, ClientID: c.DeviceCode.ClientID, AuthorityHost: at.host, CA: at.roots,
		Prompt: func(p azure.SignInPrompt) { fmt.Fprintln(stderr, signInLine(p)) },
		SignedIn: func() {
			select {
			case changed <- struct{}{}:
			default: // it will be looked at already
			}
		},
	})
	if err != nil {
		return nil, &configError{err: err}
	}
	opened := lender{source, source.Account}.credential()
	opened.close, opened.changed, opened.lasting = source.Close, changed, true
	return opened, nil
}

// signInLine asks a person to sign in, on one line whatever the authority sent.
func signInLine(p azure.SignInPrompt) string {
	line := fmt.Sprintf("azimds: to sign in, open %s in a browser and enter the code %s", p.URL, p.Code)
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, line)
}
