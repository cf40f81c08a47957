package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"

	"azimds/config"
	"azimds/imds/control"
	"azimds/imds/token"
	"azimds/imds/token/azure"
	"azimds/imds/token/emulated"
)

// credential is the developer's credential, opened as the configuration says.
type credential struct {
	source   token.Source
	describe func() string // in a few words; of one that chooses, what was chosen
	emulated bool
	tool     bool         // starts programs
	lasting  bool         // holds what would be lost with it: a sign-in, or the key that tokens are checked with
	issuer   http.Handler // of emulated tokens; nil for others
	start    func()       // begins what may take a while
	close    func()       // waits for it
	account  func(context.Context) control.Account
	files    []string      // whose contents say who is signed in; none for a credential that does not change
	changed  chan struct{} // holds one: somebody has signed in; nil where nobody can

	// reach says whether Entra can be reached; nil where a tool asks it.
	reach func(context.Context) error
}

// openCredential makes the source of tokens that c names. It looks for programs and for files, and asks nobody. What a person
// has to be told meanwhile goes to stderr.
func openCredential(c config.Config, stderr io.Writer) (*credential, error) {
	at, err := authorityOf(c)
	if err != nil {
		return nil, err
	}
	opened, err := openAt(c, at, stderr)
	if err != nil {
		return nil, err
	}
	switch c.Credential {
	case config.CredentialDeviceCode, config.CredentialClientSecret, config.CredentialClientCertificate,
		config.CredentialUsernamePassword:
		opened.reach = func(ctx context.Context) error { return azure.Reach(ctx, at.host, at.roots) }
	case config.CredentialWorkloadIdentity, config.CredentialEnvironment, config.CredentialGitHubActions,
		config.CredentialAzurePipelines:
		opened.reach = func(ctx context.Context) error { return azure.Reach(ctx, at.getenv(envAuthority), at.roots) }
	}
	return opened, nil
}

func openAt(c config.Config, at authority, stderr io.Writer) (*credential, error) {
	switch c.Credential {
	case config.CredentialAzureCLI:
		return openCLI(c)
	case config.CredentialDeveloperCLI:
		return openDeveloperCLI(c)
	case config.CredentialPowerShell:
		return openPowerShell(c)
	case config.CredentialDeviceCode:
		return openDeviceCode(c, at, stderr)
	case config.CredentialClientSecret:
		return openClientSecret(c, at)
	case config.CredentialClientCertificate:
		return openChecked(newClientCertificate(c, at))
	case config.CredentialWorkloadIdentity:
		return openChecked(newWorkloadIdentity(c, at))
	case config.CredentialGitHubActions:
		return openChecked(newGitHubActions(c, at))
	case config.CredentialAzurePipelines:
		return openChecked(newAzurePipelines(c, at))
	case config.CredentialUsernamePassword:
		return openLender(newUsernamePassword(c, at))
	case config.CredentialEnvironment:
		return openChecked(newEnvironment(at), nil)
	case config.CredentialAuto:
		return openAuto(c, at)
	case config.CredentialEmulated:
		return openEmulated(c), nil
	default:
		return nil, &configError{err: fmt.Errorf("credential is %q: not one that is known", c.Credential)}
	}
}

func openEmulated(c config.Config) *credential {
	source := emulated.New(emulated.Options{
		TenantID: c.Emulated.Tenant, ClientID: c.Emulated.ClientID, ObjectID: c.Emulated.ObjectID,
		ResourceID: c.Emulated.ResourceID, Lifetime: c.Emulated.Lifetime,
	})
	account := control.Account{
		Name:   cmp.Or(c.Emulated.ClientID, emulated.DefaultClientID),
		Tenant: cmp.Or(c.Emulated.Tenant, emulated.DefaultTenantID),
		Type:   accountType(true),
	}
	return &credential{
		source: source, describe: func() string { return "emulated" }, emulated: true, lasting: true, issuer: source.Issuer(),
		start: source.Start, close: source.Close,
		account: func(context.Context) control.Account { return account },
	}
}

// lender is a source and as whom it asks, as far as files and variables tell.
type lender struct {
	azure.Candidate
	account func() (azure.Account, error)
}

func openLender(l lender, err error) (*credential, error) {
	if err != nil {
		return nil, err
	}
	return l.credential(), nil
}

// openChecked opens a credential that nothing but a start with other settings mends.
func openChecked(l lender, err error) (*credential, error) {
	if err == nil {
		_, err = l.account()
	}
	return openLender(l, err)
}

func (l lender) credential() *credential {
	return &credential{
		source: l.Candidate, describe: l.Describe, start: nothing, close: nothing,
		account: func(context.Context) control.Account { return told(l.account()) },
	}
}

// told is an account as status has it.
func told(a azure.Account, err error) control.Account {
	if err != nil {
		message, hint := control.Explain(err)
		return control.Account{Error: message, Hint: hint}
	}
	return control.Account{Name: a.Name, Tenant: a.Tenant, Type: accountType(a.App), SignedIn: a.SignedIn}
}

// accountType says whether an account is a person's: such tokens differ from a managed identity's.
func accountType(app bool) string {
	if app {
		return "app"
	}
	return "user"
}

func nothing() {}
