package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"azimds/imds/control"
	"azimds/netsetup"
)

// answerLimit is how long an agent may take to describe itself. Where a holder waits for a server, nobody answers.
const answerLimit = 15 * time.Second

func newStatus() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what is intercepted, who is signed in, what is cached and who asked",
		Long: `Status asks the running agent. It exits with 0 when all is well and with 3 when no agent runs or
something is wrong. With --quiet it says only what is wrong, for a health check.`,
		Args: cobra.NoArgs,
	}
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	quiet := cmd.Flags().Bool("quiet", false, "print only what is wrong, a line each")
	cmd.MarkFlagsMutuallyExclusive("json", "quiet")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		client, err := agentClient()
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), answerLimit)
		defer cancel()
		status, err := client.Status(ctx)
		if errors.Is(err, control.ErrNoAgent) {
			return noAgent(cmd, *asJSON)
		}
		if err != nil {
			return err
		}
		switch {
		case *asJSON:
			err = printJSON(cmd.OutOrStdout(), status)
		case *quiet:
			err = printWrong(cmd.OutOrStdout(), status, time.Now())
		default:
			err = printStatus(cmd.OutOrStdout(), status, time.Now())
		}
		if err == nil && !healthy(status) {
			return exitError(exitFound)
		}
		return err
	}
	return cmd
}

// noAgent says that nothing runs, and what a dead agent left.
func noAgent(cmd *cobra.Command, asJSON bool) error {
	report, err := netsetup.NewHost(netsetup.Options{}).Check(cmd.Context(), netsetup.Plan{})
	if err != nil && os.Geteuid() == 0 {
		return err
	}
	if asJSON {
		left := struct {
			Running bool     `json:"running"`
			Residue []string `json:"residue"`
		}{Residue: report.Residue}
		if err := printJSON(cmd.OutOrStdout(), left); err != nil {
			return err
		}
		return exitError(exitFound)
	}
	fmt.Fprintln(cmd.OutOrStdout(), "no azimds runs in this network namespace")
	for _, what := range report.Residue {
		fmt.Fprintf(cmd.OutOrStdout(), "  left behind: %s\n", what)
	}
	hint := startHint()
	if len(report.Residue) > 0 {
		hint = "sudo azimds cleanup"
	}
	fmt.Fprintf(cmd.OutOrStdout(), "  %s\n", hint)
	return exitError(exitFound)
}

func printJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// printStatus writes a status for a terminal of 80 columns. Clients have a hand in it, by the resources that they ask for, and it is
// the agent of another user where root asks.
func printStatus(w io.Writer, s control.Status, now time.Time) error {
	var b strings.Builder
	field := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-11s %s\n", name, printable(fmt.Sprintf(format, args...)))
	}
	field("azimds", "%s, up %s, server %d, holder %d", s.Version, round(now.Sub(s.Since)), s.Server, s.Holder)
	if s.Kind != "" {
		field("endpoint", "%s at %s: %s", s.Kind, s.Endpoint, s.Reason)
	} else {
		field("mode", "%s: %s", s.Mode, s.Reason)
	}
	field("for", "%s", servedText(s.Owner.Name, s.Owner.UID, s.Tree, s.Others))
	if s.Host != 0 {
		field("guest", "clients come through the azimds of process %d", s.Host)
	}
	if s.Guests > 0 {
		field("guests", "%s with an azimds exec of its own", commandsText(s.Guests))
	}
	for i, z := range s.Zones {
		field(first(i, "zones"), "%s", zoneText(z))
	}
	for i, note := range s.Notes {
		field(first(i, "notes"), "%s", note)
	}
	field("credential", "%s", s.Source)
	field("account", "%s", accountText(s.Account))
	if s.Account.Type == accountType(false) {
		field("", "a user's tokens lack idtyp=app, roles and xms_mirid")
	}
	if s.Account.Tenant != "" {
		field("tenant", "%s", s.Account.Tenant)
	}
	if s.Account.Drift != "" {
		field("drift", "%s; where that is meant, run: %s", s.Account.Drift, shellWords([]string{"sudo", "azimds", "install", "--user", s.Owner.Name, "--commit"}))
	}
	if s.Down != nil && s.Account.Error == "" {
		field("no tokens", "for %s: %s", round(now.Sub(s.Down.Since)), withHint(s.Down.Reason, s.Down.Hint))
	}
	if s.Emulated {
		field("", "EMULATED: these tokens open nothing in Azure")
	}
	if !s.Paused.IsZero() {
		field("paused", "until %s, no tokens are given; run: azimds pause off", clock(s.Paused, now))
	}
	for _, what := range s.Residue {
		field("residue", "%s", what)
	}
	for _, what := range s.Delta {
		field("missing", "%s", what)
	}
	if s.Repairs != nil {
		printRepairs(field, *s.Repairs, now)
	}
	field("requests", "%d, tokens %d, failures %d, callers refused %d", s.Counts.Requests, s.Counts.Tokens, s.Counts.Failures, s.Counts.Refused)
	for i, c := range s.Cached {
		field(first(i, "cached"), "%s%s for %s", c.Resource, parenthesised(c.Identity), round(c.Expires.Sub(now)))
		if c.Error != "" {
			field("", "  not renewed: %s", c.Error)
		}
	}
	for i, a := range s.Callers {
		field(first(i, "callers"), "%s", statusText(a))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// printRepairs says what had to be put back, and what cannot be.
func printRepairs(field func(name, format string, args ...any), r control.Repairs, now time.Time) {
	if r.Count > 0 {
		field("repaired", "%d times, last %s ago: %s", r.Count, round(now.Sub(r.Last)), strings.Join(r.Missing, "; "))
	}
	again := ""
	if !r.Next.IsZero() {
		again = "; tried again at " + clock(r.Next, now)
	}
	for _, what := range r.Fought {
		field("contested", "something removes it again and again: %s%s", what, again)
	}
	if r.Error != "" {
		field("not mended", "%s%s", r.Error, again)
	}
}

// first is the name of a field, for the first of its lines.
func first(i int, name string) string {
	if i == 0 {
		return name
	}
	return ""
}

// zoneText is a zone in a line: its addresses, or why it is not served.
func zoneText(z control.Zone) string {
	name := z.Name
	if z.Network != "" {
		name += " (network " + z.Network + ")"
	}
	switch {
	case z.Problem != "":
		return name + ": NOT SERVED: " + z.Problem
	case len(z.Subnets) == 0:
		return name
	default:
		return name + ": " + strings.Join(z.Subnets, ", ")
	}
}

// withHint is a reason and the command that helps, if one does.
func withHint(reason, hint string) string {
	if hint == "" {
		return reason
	}
	return reason + "; run: " + hint
}

func parenthesised(s string) string {
	if s == "" {
		return ""
	}
	return " (" + s + ")"
}

func round(d time.Duration) time.Duration { return d.Round(time.Second) }
