package azure

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"azimds/imds/token"
)

// turn lets one run of a program go on at a time.
type turn chan struct{}

// take waits for the turn until ctx ends; pass gives it back.
func (t turn) take(ctx context.Context, title string) error {
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return &token.Error{
			Kind: token.ErrUnavailable, Message: title + " was still busy with an earlier request", Err: context.Cause(ctx),
		}
	}
}

func (t turn) pass() { <-t }

// ToolOptions say as whom to ask a tool of the developer's. The zero value is its current account.
type ToolOptions struct {
	Tenant  string           // an id or a domain; "" is the account's own
	Timeout time.Duration    // of one run; 0 means DefaultCLITimeout
	Now     func() time.Time // nil means time.Now
}

// tool runs a program for each token.
type tool struct {
	program
	kind, sdkName string
	tenant        string
	timeout       time.Duration
	now           func() time.Time
	turn          turn
	credential    azcore.TokenCredential
	profile       func() error // answers what the program would take long to say
	account       func() (Account, error)
	login         func(tenant, resource string) string
	check         func(resource string) string // the command by which the trouble shows
	client        string                       // the application that people sign in to
}

func (t *tool) describe() string { return described(t.kind, "tenant", t.tenant) }

// ask runs the program once. A wait for another run ends with ctx; the run itself ends with ctx or after the time-out.
func (t *tool) ask(ctx context.Context, r token.Request) (token.Token, error) {
	if strings.HasPrefix(r.Resource, "-") { // the program would read it as an option
		return token.Token{}, fmt.Errorf("resource %q begins with a dash: %w", r.Resource, token.ErrUnsupportedResource)
	}
	scope, err := token.Scope(r.Resource)
	if err != nil {
		return token.Token{}, err
	}
	if err := checkTenant(r.Tenant); err != nil {
		return token.Token{}, err
	}
	if err := t.profile(); err != nil {
		return token.Token{}, err
	}
	if err := t.turn.take(ctx, t.title); err != nil {
		return token.Token{}, err
	}
	defer t.turn.pass()
	run, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	at, err := t.credential.GetToken(run, policy.TokenRequestOptions{Scopes: []string{scope}, TenantID: r.Tenant})
	tenant := t.tenant
	if r.Tenant != "" {
		tenant = r.Tenant
	}
	if err != nil {
		return token.Token{}, t.explain(run, tenant, r.Resource, err)
	}
	given, err := relay(at, "", tenant, t.now())
	if err != nil {
		return token.Token{}, t.unavailable(r.Resource, t.title+" gave an answer of no use: "+err.Error(), nil)
	}
	return repeated(given), nil
}

// explain turns azidentity's error into one that a person can act on. No error of azidentity's is wrapped: its text is the
// program's standard error, which is judged and quoted in part.
func (t *tool) explain(run context.Context, tenant, resource string, err error) error {
	switch {
	case errors.Is(run.Err(), context.DeadlineExceeded):
		return t.unavailable(resource, fmt.Sprintf("%s did not answer within %s", t.title, t.timeout), context.Cause(run))
	case run.Err() != nil:
		return t.unavailable(resource, "asking "+t.title+" was called off", context.Cause(run))
	}
	text := plain(toolText(err, t.sdkName))
	if strings.Contains(text, "executable not found on path") { // azidentity's words for exit code 127
		return t.notStarted(os.Getenv)
	}
	_, syntax := errors.AsType[*json.SyntaxError](err)
	_, kind := errors.AsType[*json.UnmarshalTypeError](err)
	if syntax || kind || strings.Contains(text, "error parsing token expiration time") {
		return t.unavailable(resource, t.title+" answered with something that is not a token; does it print more than it should?", nil)
	}
	if askedUs(text) {
		return t.managedIdentity()
	}
	if refusal, ok := parseRefusalText(text); ok {
		refusal.Description = scrub(refusal.Description)
		q := Question{Login: t.login(tenant, resource), Tenant: tenant, Resource: resource, Client: t.client}
		if a, err := t.account(); err == nil && a.App {
			q.App, q.Client = true, a.Name
		}
		return hinted(refusal, q)
	}
	return t.local(tenant, resource, text)
}

// askedUs tells from what a program said that it asked the metadata service, that is, this program: by the address, by the
// words with which this program refuses its own children, or, where the connection broke, by the function of MSAL for Python
// 1.39 (managed_identity.py) in az's traceback, which names no address then.
func askedUs(text string) bool {
	return strings.Contains(text, metadataHost) || strings.Contains(text, "asked of azimds itself") ||
		strings.Contains(text, "_obtain_token_on_azure_vm")
}

// signInWords are by what the programs say that somebody has to sign in: azd in several versions, and azidentity in PowerShell's
// name.
var signInWords = regexp.MustCompile("not logged in|reauthentication required|login expired|run `?azd auth login|Connect-AzAccount")

// The two forms in which Go and .NET tell of a host that they cannot reach.
var (
	goUnreachable     = regexp.MustCompile(`(?:Get|Post) "https://([0-9A-Za-z.-]{1,253})[^"]*": ([^\n]{1,300})`)
	dotnetUnreachable = regexp.MustCompile(`([A-Z][A-Za-z ]{1,80}) \(([0-9A-Za-z.-]{1,253}):443\)`)
)

// local is what a program says without Entra having said it.
func (t *tool) local(tenant, resource, text string) error {
	host, why := "", ""
	if m := goUnreachable.FindStringSubmatch(text); m != nil {
		host, why = m[1], m[2][strings.LastIndex(m[2], ": ")+1:]
	} else if m := dotnetUnreachable.FindStringSubmatch(text); m != nil {
		host, why = m[2], m[1]
	}
	line, _, _ := strings.Cut(strings.TrimPrefix(text, "ERROR: "), "\n")
	switch {
	case host != "":
		return &token.Error{
			Kind: token.ErrUnavailable, Message: fmt.Sprintf("%s cannot reach %s: %s", t.title, host, strings.TrimSpace(why)),
			Command: "curl -sSI https://" + host,
		}
	case strings.Contains(text, "Az.Accounts module not found"): // azidentity's words
		return &token.Error{
			Kind: token.ErrSignInRequired, Message: "PowerShell has no module Az.Accounts",
			Command: "pwsh -NoProfile -Command 'Install-Module Az.Accounts -Scope CurrentUser'",
		}
	case signInWords.MatchString(text):
		return &token.Error{
			Kind: token.ErrSignInRequired, Message: "nobody is signed in to " + t.title + ", or has to sign in again",
			Command: t.login(tenant, resource),
		}
	case line == "Killed", line == "Terminated", strings.HasPrefix(line, "signal: "):
		return t.unavailable(resource, t.title+" was ended by a signal", nil)
	case line == "", strings.HasPrefix(line, "exit status "):
		return t.unavailable(resource, strings.TrimSuffix(t.title+" ended without a word: "+line, ": "), nil)
	}
	return t.unavailable(resource, t.title+" gave up: "+shorten(scrub(line)), nil)
}

// signedOut is what the program's files tell when there is nobody in them.
func (t *tool) signedOut() error {
	if _, err := t.find(os.Getenv); err != nil {
		return err
	}
	return &token.Error{
		Kind: token.ErrSignInRequired, Message: "nobody is signed in to " + t.title, Command: t.login(t.tenant, ""),
	}
}

// managedIdentity refuses an account that would be asked of the metadata service, that is, of this program.
func (t *tool) managedIdentity() error {
	return &token.Error{
		Kind:    token.ErrSignInRequired,
		Message: t.title + " is signed in as a managed identity, which would be asked of azimds itself; sign in as a person or a service principal",
		Command: t.login(t.tenant, ""),
	}
}

func (t *tool) unavailable(resource, message string, cause error) error {
	return &token.Error{Kind: token.ErrUnavailable, Message: message, Command: t.check(resource), Err: cause}
}

var (
	ansi   = regexp.MustCompile("\x1b\\[[0-9;]*[A-Za-z]")
	margin = regexp.MustCompile(`\r?\n *\| ?`)
)

// plain takes colours out of a text, and the margin in which PowerShell's errors are set:
//
//	Get-AzAccessToken:
//	Line |
//	  24 |  $token = Get-AzAccessToken @params
//	     |           ~~~~~~~~~~~~~~~~~~~~~~~~~
//	     | AADSTS500011: The resource principal named x was not found in
//	     | the tenant named y.
func plain(text string) string {
	text = ansi.ReplaceAllString(text, "")
	if at := strings.LastIndex(text, "~\n"); at >= 0 && strings.Contains(text, "\nLine |") {
		text = margin.ReplaceAllString(text[at+1:], " ")
	}
	return strings.TrimSpace(text)
}

// newTool completes a tool.
func newTool(t tool, o ToolOptions) *tool {
	t.tenant, t.timeout, t.now = o.Tenant, o.Timeout, o.Now
	if t.timeout == 0 {
		t.timeout = DefaultCLITimeout
	}
	if t.now == nil {
		t.now = time.Now
	}
	return &t
}
