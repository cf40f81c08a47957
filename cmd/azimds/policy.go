package main

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"azimds/config"
	"azimds/imds/caller"
	"azimds/imds/policy"
	"azimds/imds/token"
	"azimds/netsetup/holder"
)

func newPolicy() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Explain who may ask for tokens, and which they get",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newPolicyExplain())
	return cmd
}

// question is who is supposed to ask, and for what.
type question struct {
	uid        string
	cgroup     string
	zone       string
	address    string
	executable string
	resource   string
	identity   string
}

func newPolicyExplain() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain",
		Short: "Say what a caller would get, and by which line of the configuration",
		Long: `Explain reads the configuration as azimds run would, and says what would become of a request: whether
the caller is admitted, which rule decides, and which identity is chosen. No agent is asked. It exits
with 0 when there would be a token and with 3 when there would be none.`,
		Example: `  azimds policy explain --resource https://vault.azure.net
  azimds policy explain --uid bob --cgroup system.slice/backup.service --resource https://storage.azure.com
  azimds policy explain --zone docker0 --address 172.17.0.2 --resource https://vault.azure.net`,
		Args: cobra.NoArgs,
	}
	addSettings(cmd)
	var q question
	flags := cmd.Flags()
	flags.StringVar(&q.uid, "uid", "", "user who asks, a name or a number (default: the owner)")
	flags.StringVar(&q.cgroup, "cgroup", "", "control group that asks, such as system.slice/backup.service")
	flags.StringVar(&q.zone, "zone", policy.Local, "where the caller is: local, or a bridge")
	flags.StringVar(&q.address, "address", "", "address that asks, behind a bridge")
	flags.StringVar(&q.executable, "executable", "", "program that asks, its path")
	flags.StringVar(&q.resource, "resource", armScope, "what the token is for")
	flags.StringVar(&q.identity, "identity", "", "client id of the identity that is asked for (default: none)")
	asJSON := flags.Bool("json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		e, err := explainPolicy(cmd, q)
		if err != nil {
			return err
		}
		if *asJSON {
			err = printJSON(cmd.OutOrStdout(), e)
		} else {
			err = e.print(cmd.OutOrStdout())
		}
		if err == nil && !e.Token {
			return exitError(exitFound)
		}
		return err
	}
	return cmd
}

// armScope is a resource that everybody knows.
const armScope = "https://management.azure.com/"

// explanation is what would become of a request.
type explanation struct {
	Caller   string `json:"caller"`
	Admitted bool   `json:"admitted"`
	Refused  string `json:"refused,omitempty"` // why the caller is not admitted
	Allow    string `json:"allow,omitempty"`   // the line of configuration that would admit it
	Rule     string `json:"rule"`              // what decides: "policy[0] (name)", "zones[0]" or "no rule"
	File     string `json:"file,omitempty"`    // where that stands
	Resource string `json:"resource"`
	Identity string `json:"identity,omitempty"`
	Tenant   string `json:"tenant,omitempty"`
	Chosen   bool   `json:"chosen,omitempty"` // the rule chose identity or tenant
	Denied   string `json:"denied,omitempty"` // why there is no token
	Rate     int    `json:"rate,omitempty"`   // token requests a minute
	Token    bool   `json:"token"`
}

// explainPolicy decides as the server would.
func explainPolicy(cmd *cobra.Command, q question) (explanation, error) {
	loaded, err := load(cmd, false)
	if err != nil {
		return explanation{}, err
	}
	c := loaded.Config
	owner, err := ownerFor(c.User)
	if err != nil {
		return explanation{}, err
	}
	who, name, err := q.caller(owner.UID)
	if err != nil {
		return explanation{}, usage(cmd, err)
	}
	a, err := admission(c, owner.UID)
	if err != nil {
		return explanation{}, err
	}
	p, err := policyOf(c)
	if err != nil {
		return explanation{}, err
	}
	e := explanation{Caller: subjectText(who, name), Admitted: true, Resource: q.resource}
	if who.Zone == policy.Local {
		refusal, refused := errors.AsType[*policy.Refusal](a.Admit(who, name))
		if relay := (caller.Process{Executable: q.executable}).Relay(); !refused && relay != "" {
			refusal, refused = errors.AsType[*policy.Refusal](a.AdmitRelay(relay))
		}
		if refused {
			e.Admitted, e.Refused, e.Allow, e.Rule = false, refusal.Reason, refusal.Allow, "callers"
			e.File = loaded.Origins["callers.users"]
			return e, nil
		}
	}
	r := token.Request{Resource: q.resource}
	if q.identity != "" {
		r.Identity = token.Selector{Kind: token.ClientID, Value: q.identity}
	}
	d := p.Decide(who, r)
	if who.Zone != policy.Local && d.Zone < 0 {
		e.Admitted, e.Refused, e.Allow, e.Rule = false, d.Denied, fmt.Sprintf("zones: [%s]", who.Zone), "zones"
		e.File = loaded.Origins["zones"]
		return e, nil
	}
	e.Rule, e.Denied, e.Rate, e.Token = p.Source(d), d.Denied, d.Rate, d.Denied == ""
	e.Identity, e.Tenant, e.Chosen = selectorText(d.Request.Identity), d.Request.Tenant, d.Request != r
	switch {
	case d.ByZone || d.Denied != "" && d.Rule < 0:
		e.File = loaded.Origins["zones"]
	case d.Rule >= 0:
		e.File = loaded.Origins["policy"]
	}
	if e.Rate == 0 {
		e.Rate = c.Limits.Rate
	}
	return e, nil
}

// caller is who asks, as the server would see it.
func (q question) caller(owner uint32) (policy.Caller, string, error) {
	c := policy.Caller{Zone: q.zone, UID: owner, Cgroup: strings.Trim(q.cgroup, "/"), Executable: q.executable}
	if c.Zone != policy.Local {
		c = policy.Caller{Zone: q.zone}
		if q.uid != "" || q.cgroup != "" || q.executable != "" {
			return c, "", errors.New("behind a bridge a caller is an address: --uid, --cgroup and --executable are for --zone local")
		}
		if q.address == "" {
			return c, "", nil
		}
		address, err := netip.ParseAddr(q.address)
		if err != nil {
			return c, "", fmt.Errorf("reading --address: %w", err)
		}
		c.Address = address
		return c, "", nil
	}
	if q.address != "" {
		return c, "", errors.New("on this machine a caller is a user: --address is for --zone with a bridge's name")
	}
	if q.uid != "" {
		found, err := holder.LookupOwner(q.uid)
		if err != nil {
			return c, "", fmt.Errorf("reading --uid: %w", err)
		}
		c.UID = found.UID
	}
	var users caller.Users
	c.Groups = users.Groups(c.UID)
	c.Container, _ = caller.Container(c.Cgroup)
	return c, users.Name(c.UID), nil
}

func subjectText(c policy.Caller, name string) string {
	if c.Zone != policy.Local {
		if c.Address.IsValid() {
			return fmt.Sprintf("%s behind bridge %s", c.Address, c.Zone)
		}
		return "somebody behind bridge " + c.Zone
	}
	text := fmt.Sprintf("uid %d (%s)", c.UID, name)
	if c.Container != "" {
		text += ", container " + c.Container
	}
	if c.Cgroup != "" {
		text += ", control group " + c.Cgroup
	}
	if c.Executable != "" {
		text += ", program " + c.Executable
	}
	return text
}

// print writes an explanation for a terminal.
func (e explanation) print(w io.Writer) error {
	var b strings.Builder
	field := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-10s %s\n", name, fmt.Sprintf(format, args...))
	}
	field("caller", "%s", e.Caller)
	if !e.Admitted {
		field("admitted", "no: %s", e.Refused)
		field("allow by", "%s   # in %s", e.Allow, config.SystemFile)
	} else {
		field("admitted", "yes")
		field("decided by", "%s%s", e.Rule, in(e.File))
		field("resource", "%s", e.Resource)
		if e.Identity != "" || e.Tenant != "" {
			words := strings.TrimSpace(e.Identity)
			if e.Tenant != "" {
				words = strings.TrimSpace(words + " tenant=" + e.Tenant)
			}
			if e.Chosen {
				words += ", chosen by the rule"
			}
			field("identity", "%s", words)
		}
		if e.Rate > 0 {
			field("rate", "%d requests a minute", e.Rate)
		}
	}
	switch {
	case e.Token:
		field("token", "yes")
	case e.Denied != "":
		field("token", "no: %s", e.Denied)
	default:
		field("token", "no")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// in says where something stands.
func in(origin string) string {
	switch {
	case origin == "" || origin == config.OriginDefault:
		return ""
	case strings.ContainsRune(origin, os.PathSeparator):
		return " of " + origin
	}
	return ", set by " + origin
}
