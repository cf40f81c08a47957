package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"azimds/imds/control"
	"azimds/imds/token"
	"azimds/netsetup"
	"azimds/netsetup/holder"
)

// Status describes the agent.
func (a *agent) Status(ctx context.Context) (control.Status, error) {
	v, _ := buildVersion()
	supply := a.supply.Load()
	s := control.Status{
		Version: v, Since: a.since, Cached: []control.Cached{}, Callers: []control.Activity{}, Zones: a.zoneStates(), Notes: a.notes(), Others: othersServed(a.config),
		Owner:  control.Owner{UID: a.offer().Owner.UID, Name: a.offer().Owner.Name},
		Server: os.Getpid(), Holder: a.offer().Holder,
		Endpoint: a.offer().Plan.Endpoint.String(), Kind: a.endpointKind(), Mode: string(a.offer().Plan.Mode), Reason: a.offer().Reason,
		Plan: planLines(a.offer().Plan), Tree: a.offer().Tree,
		Guests: a.guests.count(), Host: a.offer().Host,
		Credential: string(supply.config.Credential), Source: supply.credential.describe(), Emulated: supply.credential.emulated,
		Account: supply.credential.account(ctx),
		Counts: control.Counts{
			Requests: a.requests.Load(), Tokens: a.given.Load(), Failures: a.failures.Load(), Refused: a.refused.Load(),
		},
	}
	s.Account.Drift = drift(supply.config.Pin, s.Account)
	answer, err := a.ask(ctx, holder.Message{Kind: holder.KindAsk})
	if err != nil {
		return s, err
	}
	if answer.Report == nil {
		answer.Report = &netsetup.Report{}
	}
	s.Residue, s.Delta = append([]string{}, answer.Report.Residue...), append([]string{}, answer.Report.Delta...)
	s.Repairs = repairsOf(answer.Repairs)
	s.Paused = a.paused()
	if since, cause := supply.source.Down(); cause != nil {
		reason, hint := control.Explain(cause)
		s.Down = &control.Down{Since: since, Reason: reason, Hint: hint}
	}
	for _, e := range supply.tokens.Snapshot() {
		s.Cached = append(s.Cached, control.Cached{
			Identity: selectorText(e.Identity), Tenant: e.Tenant, Resource: e.Resource, Expires: e.ExpiresOn,
			Refresh: e.NextRefresh, Error: e.LastError,
		})
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range a.recent {
		s.Callers = append(s.Callers, a.recent[len(a.recent)-1-i])
	}
	return s, nil
}

// planLines are the commands of a plan.
func planLines(p netsetup.Plan) []string {
	text := strings.TrimSpace(p.String())
	if text == "" { // nothing is intercepted
		return []string{}
	}
	return strings.Split(text, "\n")
}

// repairsOf is what a status says of the holder's repairs.
func repairsOf(r *holder.Repairs) *control.Repairs {
	if r == nil {
		return nil
	}
	return &control.Repairs{Count: r.Count, Last: r.Last, Missing: r.Missing, Fought: r.Over, Error: r.Error, Hint: r.Hint, Next: r.Next}
}

// zoneStates are the bridges that are configured and there.
func (a *agent) zoneStates() []control.Zone {
	states := []control.Zone{}
	for _, z := range a.zones.list() {
		state := control.Zone{Name: z.Name, Network: z.Network, Problem: z.Problem}
		for _, subnet := range z.Subnets {
			state.Subnets = append(state.Subnets, subnet.String())
		}
		states = append(states, state)
	}
	return states
}

// notes are what a person should know of this machine: where it cannot keep somebody out.
func (a *agent) notes() []string {
	notes := []string{}
	doubt := a.keeper.cgroups.Doubt()
	if doubt == "" && a.keeper.untold.Load() {
		doubt = "the kernel does not say which control group a socket is of"
	}
	if doubt != "" {
		notes = append(notes, "containers on this network cannot all be told from your own programs: "+doubt)
	}
	if a.env != nil { // whoever takes its port later has no secret that a client would believe in
		return notes
	}
	port := int(a.offer().Plan.Backend.Port())
	if start, err := netsetup.UnprivilegedPortStart(); err == nil && port >= start {
		notes = append(notes, fmt.Sprintf("any local user can listen on port %d when azimds is gone: net.ipv4.ip_unprivileged_port_start is %d",
			port, start))
	}
	return notes
}

func selectorText(s token.Selector) string {
	if s == (token.Selector{}) {
		return ""
	}
	return string(s.Kind) + "=" + s.Value
}
