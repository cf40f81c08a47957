package azure

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"azimds/imds/token"
)

// cliFailure explains why one run of az gave no token.
type cliFailure struct {
	resource, scope, tenant, subscription string
	application                           string // client id of the one that is signed in; "" for a person
	timeout                               time.Duration
}

// explain turns azidentity's error into one that a person can act on. run is the context of the run. No error of
// azidentity's is wrapped: its text is az's standard error, which is judged and quoted in part.
func (f cliFailure) explain(run context.Context, err error) error {
	if run.Err() != nil {
		return f.unavailable(f.ended(run), context.Cause(run))
	}
	text := toolText(err, "AzureCLICredential")
	if strings.Contains(text, "executable not found on path") { // azidentity's words for exit code 127
		return azProgram.notStarted(os.Getenv)
	}
	var (
		syntax *json.SyntaxError
		kind   *json.UnmarshalTypeError
	)
	if errors.As(err, &syntax) || errors.As(err, &kind) || strings.Contains(text, "error parsing token expiration time") {
		return f.unavailable("the Azure CLI answered with something that is not a token; does az print more than it should?", nil)
	}
	if askedUs(text) {
		return ErrManagedIdentity
	}
	if refusal, ok := parseRefusalText(errorLine(text)); ok {
		refusal.Description = scrub(refusal.Description)
		return f.refused(refusal, text)
	}
	if e := f.unreachable(text); e != nil {
		return e
	}
	return f.local(text)
}

func (f cliFailure) ended(run context.Context) string {
	if errors.Is(run.Err(), context.DeadlineExceeded) {
		return fmt.Sprintf("the Azure CLI did not answer within %s", f.timeout)
	}
	return "asking the Azure CLI was called off"
}

// refused is a refusal of Entra's that az passed on. One that a sign-in mends says so, with az's own command for it.
func (f cliFailure) refused(e *token.EntraError, text string) error {
	return hinted(e, Question{
		App: f.application != "", Client: cmp.Or(f.application, azClientID),
		Login: f.login(text), Tenant: f.tenant, Resource: f.resource,
	})
}

// azClientID is the application that az, azd and azidentity's device code sign in to (developerSignOnClientID in azidentity's
// azidentity.go).
const azClientID = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"

var (
	// azLogin is a line of az's that says how to sign in, if it is safe to paste: no character in it means anything to a
	// shell but the double quotes around an argument.
	azLogin = regexp.MustCompile(`(?m)^az login(?: --[a-z-]+(?: [0-9A-Za-z._:/=+-]+| "[0-9A-Za-z._:/=+-]+")+)*\r?$`)

	unreachableHost = regexp.MustCompile(`host='([0-9A-Za-z.-]{1,253})'`)
	unreachableWhy  = regexp.MustCompile(`\[Errno -?[0-9]{1,3}\] ([A-Za-z ]{1,80})`)
	certificateWhy  = regexp.MustCompile(`certificate verify failed: ([A-Za-z0-9 ,'-]{1,80})`)
)

// login is the command that signs in for this request: az's own suggestion, less its `az logout`, which would end every other
// sign-in too; else one of the same form.
func (f cliFailure) login(text string) string {
	if line := strings.TrimSpace(azLogin.FindString(text)); line != "" && line != "az login" {
		return line
	}
	return azLoginCommand(f.tenant, f.resource)
}

// unreachable recognises what Python's requests says in az's name when there is no way to Entra; nil when it did not.
func (f cliFailure) unreachable(text string) error {
	host := submatch(unreachableHost, text)
	if host == "" {
		return nil
	}
	message := "the Azure CLI cannot reach " + host
	if why := strings.TrimSpace(submatch(unreachableWhy, text)); why != "" {
		message += ": " + why
	}
	if strings.Contains(text, "CERTIFICATE_VERIFY_FAILED") {
		message = fmt.Sprintf("the Azure CLI does not trust the certificate of %s (%s); a proxy's own goes into REQUESTS_CA_BUNDLE",
			host, strings.TrimSpace(submatch(certificateWhy, text)))
	}
	return &token.Error{Kind: token.ErrUnavailable, Message: message, Command: "curl -sSI https://" + host}
}

// local is what az says without having asked anybody.
func (f cliFailure) local(text string) error {
	line, rest, _ := strings.Cut(strings.TrimPrefix(errorLine(text), "ERROR: "), "\n")
	if strings.HasPrefix(line, "Traceback ") { // Python names the exception last
		line = rest[strings.LastIndex(rest, "\n")+1:]
	}
	e := &token.Error{Kind: token.ErrSignInRequired, Command: "az login"}
	switch {
	case strings.Contains(text, "az login"):
		e.Message = "nobody is signed in to the Azure CLI"
		if f.tenant != "" {
			e.Command = fmt.Sprintf("az login --tenant %q", f.tenant)
		}
	case strings.Contains(text, "az account set"):
		e.Message, e.Command = "the Azure CLI has no default subscription", "az account list --output table"
	case strings.HasPrefix(line, "Subscription '"), strings.HasPrefix(line, "Multiple subscriptions"):
		e.Message, e.Command = "the Azure CLI does not know the subscription configured, or knows several of that name", "az account list --output table"
	case line == "Killed", line == "Terminated", strings.HasPrefix(line, "signal: "):
		return f.unavailable("the Azure CLI was ended by a signal", nil)
	case line == "", strings.HasPrefix(line, "exit status "):
		return f.unavailable(strings.TrimSuffix("the Azure CLI ended without a word: "+line, ": "), nil)
	default:
		return f.unavailable("the Azure CLI gave up: "+shorten(scrub(line)), nil)
	}
	return e
}

// unavailable is a failure whose cause shows when the same command is run by hand. Its output is nothing but errors.
func (f cliFailure) unavailable(message string, cause error) error {
	command := "az account get-access-token --output none --resource " + f.resource
	if f.tenant != "" {
		command += " --tenant " + f.tenant
	}
	if f.subscription != "" {
		command += " --subscription " + shellQuote(f.subscription)
	}
	return &token.Error{Kind: token.ErrUnavailable, Message: message, Command: command, Err: cause}
}

// toolText is a tool's standard error as azidentity hands it on: less the credential's name before it and the link behind it.
func toolText(err error, credential string) string {
	text := strings.TrimPrefix(err.Error(), credential+": ")
	if at := strings.LastIndex(text, "To troubleshoot, visit https://aka.ms/azsdk/"); at >= 0 {
		text = strings.TrimSuffix(strings.TrimSuffix(text[:at], " "), ".")
	}
	return strings.TrimSpace(text)
}

// errorLine is what follows the last "ERROR: " at the start of a line, that prefix included; warnings stand before it. Without
// one, it is the whole text.
func errorLine(text string) string {
	const mark = "ERROR: "
	if at := strings.LastIndex(text, "\n"+mark); at >= 0 {
		return text[at+1:]
	}
	return text
}

// shorten keeps a quotation to a length that fits a line of a log.
func shorten(text string) string {
	const most = 200
	text = strings.ToValidUTF8(strings.TrimSpace(text), "?")
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

// shellQuote makes one word of a POSIX shell out of a path.
func shellQuote(path string) string {
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
