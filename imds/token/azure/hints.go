package azure

import (
	"cmp"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"azimds/imds/token"
)

// Hint is what a person can do about one of Entra's refusals.
type Hint struct {
	Code    int    // the number after AADSTS
	Message string // one sentence, lower case, no full stop
	// Command and AppCommand mend it, or find out what would, for a credential that is a person's and for one that is an
	// application's. An empty AppCommand is the same as Command, but for a {login}, which an application does not have: there
	// it is {lookup}. What stands in braces is filled in, see [Hint.For]:
	//
	//	{login}     the command that signs in again with this credential; for documentation that of az
	//	{lookup}    the command that shows what Microsoft says about the code
	//	{resource}  the resource that was asked for
	//	{client}    the client id that Entra was asked with
	//	{consent}   the address at which an administrator consents to that client
	//	{authority} the address of Entra
	Command, AppCommand string
	// SignIn says that signing in again mends it, or at least that nothing else in the developer's hands does.
	SignIn bool
	// Ended says that the sign-in as a whole has ended, not only for this resource.
	Ended bool
}

// The commands that several refusals share. None fails because of what it is there to find out: az exits with 3 when it is to
// show what does not exist, and with 0 when it is to list it.
const (
	consentPage    = "xdg-open {consent}"
	lookup         = "xdg-open {lookup}"
	adminConsent   = "az ad app permission admin-consent --id {client}"
	listTenants    = `az account list --all --query "[].tenantId" --output tsv`
	listClouds     = `az cloud list --query "[].name" --output tsv`
	listApp        = `az ad app list --app-id {client} --query "[].displayName"`
	resetSecret    = "az ad app credential reset --id {client} --append" //nolint:gosec // a command
	newCertificate = `az ad app credential reset --id {client} --cert "@certificate.pem" --append`
	listResource   = `az ad sp list --spn {resource} --query "[].displayName"`
	enableResource = "az ad sp update --id {resource} --set accountEnabled=true"
	enableApp      = "az ad sp update --id {client} --set accountEnabled=true"
	permissions    = "az ad app permission list --id {client}"
	federations    = "az ad app federated-credential list --id {client}"
	publicClient   = "az ad app update --id {client} --is-fallback-public-client true"
	confidential   = "az ad app update --id {client} --is-fallback-public-client false"
	newApp         = "az ad sp create-for-rbac --name azimds"
	compareClocks  = "date -u; curl -sSI {authority} | grep -i ^date:"
)

// readClock is compareClocks where it is not known which Entra would be asked.
const readClock = "date -u; curl -sSI https://login.microsoftonline.com | grep -i ^date:"

// hints is the one table; the descriptions of the codes are Microsoft's ("Microsoft Entra authentication and authorization
// error codes", learn.microsoft.com).
var hints = []Hint{
	// The sign-in as a whole is over.
	{Code: 50078, Message: "the multi-factor sign-in has expired", Command: "{login}", SignIn: true, Ended: true},
	{Code: 50089, Message: "the sign-in has expired", Command: "{login}", SignIn: true, Ended: true},
	{Code: 50132, Message: "the sign-in was revoked, by a new password or an administrator", Command: "{login}", SignIn: true, Ended: true},
	{Code: 50133, Message: "the sign-in ended when the password expired or was changed", Command: "{login}", SignIn: true, Ended: true},
	{Code: 50173, Message: "the sign-in was revoked, by a new password or an administrator", Command: "{login}", SignIn: true, Ended: true},
	{Code: 70000, Message: "the sign-in is no longer valid", Command: "{login}", SignIn: true, Ended: true},
	{Code: 70008, Message: "the sign-in has expired", Command: "{login}", SignIn: true, Ended: true},
	{Code: 70043, Message: "the sign-in has expired: it is older than the tenant's sign-in frequency allows", Command: "{login}", SignIn: true, Ended: true},
	{Code: 700081, Message: "the sign-in has expired: it has reached its longest life", Command: "{login}", SignIn: true, Ended: true},
	{Code: 700082, Message: "the sign-in has expired: it was not used for too long", Command: "{login}", SignIn: true, Ended: true},
	{Code: 700084, Message: "the sign-in has expired: it has reached its longest life", Command: "{login}", SignIn: true, Ended: true},

	// Another sign-in is wanted for this resource.
	{Code: 50072, Message: "Entra wants multi-factor authentication for this resource, and none is set up yet", Command: "{login}", SignIn: true},
	{Code: 50074, Message: "Entra wants multi-factor authentication for this resource", Command: "{login}", SignIn: true},
	{Code: 50076, Message: "Entra wants multi-factor authentication for this resource", Command: "{login}", SignIn: true},
	{Code: 50079, Message: "Entra wants multi-factor authentication for this resource, and none is set up yet", Command: "{login}", SignIn: true},
	{Code: 50097, Message: "Entra wants proof of the device for this resource", Command: "{login}", SignIn: true},
	{Code: 50129, Message: "Entra wants a device that is registered with the tenant for this resource", Command: "{login}", SignIn: true},
	{Code: 50155, Message: "Entra could not prove which device this is", Command: "{login}", SignIn: true},
	{Code: 50158, Message: "Entra wants one more proof, from another provider, for this resource", Command: "{login}", SignIn: true},
	{Code: 50187, Message: "Entra wants proof of the device for this resource", Command: "{login}", SignIn: true},
	{Code: 50005, Message: "a conditional access policy does not let this kind of device sign in", Command: "{login}", SignIn: true},
	{Code: 50131, Message: "a conditional access policy wants another sign-in for this resource", Command: "{login}", SignIn: true},
	{Code: 53000, Message: "a conditional access policy wants a compliant device for this resource", Command: "{login}", SignIn: true},
	{Code: 53001, Message: "a conditional access policy wants a domain-joined device for this resource", Command: "{login}", SignIn: true},
	{Code: 53002, Message: "a conditional access policy wants an approved application for this resource", Command: "{login}", SignIn: true},
	{Code: 53003, Message: "a conditional access policy blocks this sign-in for this resource", Command: "{login}", SignIn: true},
	{Code: 53004, Message: "a conditional access policy wants multi-factor authentication to be set up first", Command: "{login}", SignIn: true},
	{Code: 530003, Message: "a conditional access policy wants a managed device for this resource", Command: "{login}", SignIn: true},
	{Code: 530032, Message: "a security policy of the tenant blocks this sign-in for this resource", Command: "{login}", SignIn: true},
	{Code: 530035, Message: "the tenant's security defaults block this sign-in", Command: "{login}", SignIn: true},
	{Code: 53011, Message: "the account is blocked in its own tenant because it is at risk", Command: "{login}", SignIn: true},

	// The account.
	{Code: 16000, Message: "the account does not exist in this tenant", Command: "{login}", SignIn: true},
	{Code: 50014, Message: "the account does not exist in this tenant", Command: "{login}", SignIn: true},
	{Code: 50020, Message: "the account does not exist in this tenant", Command: "{login}", SignIn: true},
	{Code: 50034, Message: "the account does not exist in this tenant", Command: "{login}", SignIn: true},
	{Code: 50053, Message: "the account is locked after too many wrong passwords, or its address is blocked", Command: "{login}", SignIn: true},
	{Code: 50055, Message: "the account's password has expired", Command: "{login}", SignIn: true},
	{Code: 50057, Message: "the account is disabled", Command: "{login}", SignIn: true},
	{Code: 50126, Message: "the user name or the password is wrong", Command: "{login}", SignIn: true},
	{Code: 50144, Message: "the account's password has expired", Command: "{login}", SignIn: true},
	{Code: 51004, Message: "the account does not exist in this tenant", Command: "{login}", SignIn: true},
	{Code: 90072, Message: "the account does not exist in this tenant", Command: "{login}", SignIn: true},
	{Code: 50105, Message: "nobody has assigned this account to the resource's application, which asks for that", Command: listResource},
	{Code: 501051, Message: "nobody has given the application a role of the resource's application, which asks for that", Command: listResource},

	// Consent.
	{Code: 65001, Message: "nobody has consented to this application's use of the resource", Command: "{login}", AppCommand: adminConsent, SignIn: true},
	{Code: 65002, Message: "Microsoft gives this client no token for this resource; an application of your own can have one", Command: newApp},
	{Code: 65004, Message: "the consent was declined at the sign-in", Command: "{login}", SignIn: true},
	{Code: 90094, Message: "an administrator has to consent to this application's use of the resource", Command: consentPage},
	{Code: 650057, Message: "the application has no permission to the resource on its list", Command: permissions},
	{Code: 65005, Message: "the application has no permission to the resource on its list", Command: permissions},
	{Code: 650056, Message: "the application has no permission to the resource on its list, or nobody has consented", Command: permissions},

	// The resource and the tenant.
	{Code: 50001, Message: "the resource does not exist in this tenant, or is switched off", Command: listResource},
	{Code: 500011, Message: "no application in this tenant has this resource as its name; is it the wrong tenant, or misspelt?", Command: listResource},
	{Code: 500014, Message: "the resource is switched off in this tenant", Command: enableResource},
	{Code: 650052, Message: "this tenant has no subscription to the resource's service", Command: listResource},
	{Code: 90002, Message: "there is no such tenant in this cloud", Command: listTenants},
	{Code: 900023, Message: "the tenant is neither an id nor a domain of one", Command: listTenants},
	{Code: 90038, Message: "the tenant is another cloud's", Command: listClouds},
	{Code: 50059, Message: "no tenant was named, and none can be told from the account", Command: listTenants},
	{Code: 50128, Message: "no tenant was named, or its domain is no tenant's", Command: listTenants},

	// The application and its credential.
	{Code: 700016, Message: "the application is not in this tenant", Command: listApp},
	{Code: 7000112, Message: "the application is disabled", Command: enableApp},
	{Code: 7000215, Message: "the client secret is wrong; is it the secret's id?", Command: resetSecret},
	{Code: 7000218, Message: "the application is not registered as one that people may sign in to without a secret", Command: publicClient},
	{Code: 700025, Message: "the application is registered as one that people sign in to, and takes no secret", Command: confidential},
	{Code: 7000222, Message: "the client secret has expired", Command: resetSecret},
	{Code: 700024, Message: "the assertion is not valid at this time; is the clock right?", Command: compareClocks},
	{Code: 700027, Message: "the certificate is not registered for the application", Command: newCertificate},
	{Code: 50013, Message: "the token's signature does not match its issuer's keys", Command: federations},
	{Code: 50166, Message: "Entra cannot read the keys of the token's issuer", Command: federations},
	{Code: 70021, Message: "the application trusts no federated token like this one", Command: federations},
	{Code: 700211, Message: "the application trusts no federated token of this issuer", Command: federations},
	{Code: 700212, Message: "the application trusts no federated token for this audience", Command: federations},
	{Code: 700213, Message: "the application trusts no federated token about this subject", Command: federations},
}

// Hints is the table of what can be done about Entra's refusals, in the order of the codes.
func Hints() []Hint {
	sorted := slices.Clone(hints)
	slices.SortFunc(sorted, func(a, b Hint) int { return a.Code - b.Code })
	return sorted
}

// hintFor finds the hint for a refusal: that of the first of its codes that has one.
func hintFor(e *token.EntraError) (Hint, bool) {
	for _, number := range e.ErrorCodes {
		if at := slices.IndexFunc(hints, func(h Hint) bool { return h.Code == number }); at >= 0 {
			return hints[at], true
		}
	}
	return Hint{}, false
}

// Question is what Entra was asked and by whom, as far as the command of a [Hint] needs it.
type Question struct {
	App       bool   // the credential is an application's
	Login     string // the command that signs in again; "" is that of az for Tenant and Resource
	Tenant    string // "" is the account's own
	Resource  string
	Client    string // client id
	Authority string // host; "" is the public cloud's
}

// For is the command that mends a refusal of q, or finds out what would, ready to be pasted: values that mean something to a
// shell are quoted.
//
// A page of documentation gets its examples from Question{Tenant: "TENANT", Resource: "RESOURCE", Client: "CLIENT"}.
func (h Hint) For(q Question) string {
	command := h.Command
	if q.App {
		command = cmp.Or(h.AppCommand, strings.ReplaceAll(command, "{login}", lookup))
	}
	authority := url.URL{Scheme: "https", Host: cmp.Or(q.Authority, "login.microsoftonline.com")}
	consent, code := authority, authority
	consent.Path = "/" + cmp.Or(q.Tenant, "organizations") + "/adminconsent"
	consent.RawQuery = "client_id=" + url.QueryEscape(q.Client)
	code.Path, code.RawQuery = "/error", "code="+strconv.Itoa(h.Code)
	return strings.NewReplacer(
		"{login}", cmp.Or(q.Login, azLoginCommand(q.Tenant, q.Resource)),
		"{resource}", word(q.Resource), "{client}", word(q.Client),
		"{consent}", shellQuote(consent.String()), "{lookup}", shellQuote(code.String()), "{authority}", word(authority.String()),
	).Replace(command)
}

// azLoginCommand has az's own form.
func azLoginCommand(tenant, resource string) string {
	command := "az login"
	if tenant != "" {
		command += ` --tenant "` + tenant + `"`
	}
	if resource != "" {
		command += ` --scope "` + resource + `/.default"`
	}
	return command
}

// word makes one word of a POSIX shell out of a value, quoted if need be.
func word(value string) string {
	for _, r := range value {
		if !alphanumeric(r) && !strings.ContainsRune("._:/@-", r) {
			return shellQuote(value)
		}
	}
	return value
}

// hinted adds to a refusal what can be done about it: what the table says, else where Microsoft says more about the code. The
// error is of kind [token.ErrSignInRequired] where signing in mends it, and of no kind otherwise.
func hinted(e *token.EntraError, q Question) error {
	h, ok := hintFor(e)
	switch {
	case ok:
		h.Message += " (" + code(e) + ")"
	case len(e.ErrorCodes) > 0:
		description, _, _ := strings.Cut(e.Error(), " Trace ID:")
		h = Hint{Code: e.ErrorCodes[0], Message: strings.TrimSuffix(shorten(description), "."), Command: lookup}
	default:
		return e
	}
	told := &token.Error{Message: h.Message, Command: h.For(q), Err: e}
	if h.SignIn && !q.App {
		told.Kind = token.ErrSignInRequired
	}
	return told
}

// ended reports whether a refusal says that the sign-in as a whole is over.
func ended(e *token.EntraError) bool {
	h, ok := hintFor(e)
	return ok && h.Ended
}
