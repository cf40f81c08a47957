package browser

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"azimds/test/agent"
	"azimds/test/netns"
)

// attack is one page.
type attack struct {
	name    string   // of the file
	rebinds bool     // the page's own name has the agent's address as well
	status  string   // with which the agent answers
	reason  string   // in the agent's log
	sees    string   // what the page reports, as a regular expression
	without []string // the checks without which it gets a token; none: there is no single one
}

// site is the page's own host.
func (a attack) site() string { return a.name + ".test" }

const unread = `^TypeError: Failed to fetch$` // an answer of another origin that does not give it away

var attacks = []attack{
	{
		name: "rebind", rebinds: true, status: "400", reason: "Host is not 169.254.169.254", without: []string{"host"},
		sees: `^basic 400 IMDS/[0-9.]+ \{"error":"invalid_request","error_description":"Host is not 169\.254\.169\.254"\}$`,
	},
	{
		name: "rebind-referer", rebinds: true, status: "400", reason: "Host is not 169.254.169.254", without: []string{"host", "headers"},
		sees: `^basic 400 IMDS/[0-9.]+ \{"error":"invalid_request","error_description":"Host is not 169\.254\.169\.254"\}$`,
	},
	{name: "preflight", status: "405", reason: "Only GET is allowed", sees: unread},
	{name: "redirect", status: "405", reason: "Only GET is allowed", sees: unread},
	{name: "simple", status: "400", reason: "Required metadata header not specified", sees: unread},
	{name: "no-cors", status: "400", reason: "Required metadata header not specified", sees: `^opaque 0 +$`},
	{name: "image", status: "400", reason: "Required metadata header not specified", sees: `^error$`},
	{name: "script", status: "400", reason: "Required metadata header not specified", sees: `^error$`},
	{name: "frame", status: "400", reason: "Required metadata header not specified", sees: `^loaded undefined$`},
	{name: "websocket", status: "400", reason: "Required metadata header not specified", sees: `^error$`},
	{name: "form", status: "405", reason: "Only GET is allowed", sees: `^loaded$`},
	{name: "beacon", status: "405", reason: "Only GET is allowed", sees: `^true$`},
}

// Lines of the agent's log: about a request that it answered, and about a token that it gave.
var (
	answered = regexp.MustCompile(`(?m)^.*\bstatus=\d+ .*$`)
	given    = regexp.MustCompile(`(?m)^.*"token given".*$`)
)

// await waits until the agent has said lines of a form after the first n bytes of its log, and returns them.
func await(t *testing.T, a *agent.Agent, n int, form *regexp.Regexp) []string {
	t.Helper()
	for deadline := time.Now().Add(agent.Patience); ; time.Sleep(10 * time.Millisecond) {
		if lines := form.FindAllString(a.Said.String()[n:], -1); len(lines) > 0 {
			return lines
		}
		if time.Now().After(deadline) {
			t.Fatalf("the agent does not say %s\n%s", form, a.Said)
		}
	}
}

// serve starts an agent for the owner, with checks taken out.
func serve(t *testing.T, ns *netns.NS, mode string, without ...string) *agent.Agent {
	t.Helper()
	program := "azimds"
	if len(without) > 0 {
		program = "azimds-without"
	}
	cmd := exec.Command(filepath.Join(bin, program), "run", "--user", fmt.Sprint(ownerUID), "--credential", "emulated",
		"--mode", mode, "--log-level", "debug", "--log-format", "text")
	cmd.Env = append(agent.CleanEnv(), "AZIMDSTEST_WITHOUT="+strings.Join(without, ","))
	a := agent.Start(t, ns, cmd)
	a.AwaitReady()
	return a
}

// curl gets a token as a program of the owner's.
func curl(t *testing.T, ns *netns.NS, a *agent.Agent) {
	t.Helper()
	before := len(a.Said.String())
	const url = "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net"
	out, code := agent.Output(t, ns, agent.As(t, ownerUID, exec.Command("curl", "-sS", "-H", "Metadata: true", url)))
	if code != 0 || !strings.Contains(out, `"access_token"`) {
		t.Errorf("curl ended with %d: %s", code, out)
	}
	await(t, a, before, given)
}

// TestPages: whatever a page does, its request arrives at the agent as the owner's and is refused, and no token gets out. A program
// of the same owner is served before and after.
func TestPages(t *testing.T) {
	netns.Root(t)
	for _, mode := range []string{"loopback", "iptables"} {
		t.Run(mode, func(t *testing.T) {
			ns := netns.New(t)
			attacker := settle(t, ns)
			a := serve(t, ns, mode)
			curl(t, ns, a)
			b := browse(t, ns)
			for _, attack := range attacks {
				t.Run(attack.name, func(t *testing.T) {
					before := len(a.Said.String())
					found := attacker.strike(t, b, attack)
					if !regexp.MustCompile(attack.sees).MatchString(found) {
						t.Errorf("the page found %q, want %s", found, attack.sees)
					}
					if strings.Contains(found, "access_token") {
						t.Error("the page has a token")
					}
					lines := await(t, a, before, answered)
					if said := lines[0]; len(lines) != 1 || !strings.Contains(said, "status="+attack.status+" ") ||
						!strings.Contains(said, attack.reason) || !strings.Contains(said, fmt.Sprint("uid=", ownerUID)) {
						t.Errorf("the agent said %q", lines)
					}
				})
			}
			curl(t, ns, a)
			if n := len(given.FindAllString(a.Said.String(), -1)); n != 2 {
				t.Errorf("%d tokens were given", n)
			}
			a.Stop()
		})
	}
}

// TestPagesWithoutChecks: with the check taken out that holds it off, a page does get a token; with one of two, it does not.
func TestPagesWithoutChecks(t *testing.T) {
	netns.Root(t)
	for _, mode := range []string{"loopback", "iptables"} {
		for _, without := range [][]string{{"host"}, {"headers"}, {"host", "headers"}} {
			t.Run(mode+" without "+strings.Join(without, ","), func(t *testing.T) {
				ns := netns.New(t)
				attacker := settle(t, ns)
				a := serve(t, ns, mode, without...)
				b := browse(t, ns)
				for _, attack := range attacks {
					if len(attack.without) == 0 {
						continue
					}
					found := attacker.strike(t, b, attack)
					want := !slices.ContainsFunc(attack.without, func(check string) bool { return !slices.Contains(without, check) })
					if got := strings.Contains(found, `"access_token":"`); got != want {
						t.Errorf("%s has a token: %t, want %t: %s", attack.name, got, want, found)
					}
				}
				a.Stop()
			})
		}
	}
}
