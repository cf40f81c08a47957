package main

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"azimds/config"
	"azimds/imds/control"
	"azimds/netsetup"
)

// checkRoutes looks for routes and rules that refuse the address. Where the address is on a device, the kernel does not come to them.
func (p patient) checkRoutes(d *diagnosis) {
	if p.config.Mode == config.ModeLoopback || p.config.Mode == config.ModeDummy {
		return
	}
	found, err := p.barriers(p.uid)
	if err != nil {
		d.missed("whether a route refuses 169.254.169.254", explain(err).Message, lastResort)
		return
	}
	for _, b := range found {
		d.found(kindRoute, withSudo(b.Remove), "169.254.169.254 is refused by the %s", b.What)
	}
}

// checkBackends looks whether both back ends of iptables have rules.
func (p patient) checkBackends(ctx context.Context, d *diagnosis) {
	const what = "whether both back ends of iptables have rules"
	if !p.asRoot {
		d.missed(what, "Only root can list them.", lastResort)
		return
	}
	found, err := p.backends(ctx)
	if err != nil {
		d.missed(what, explain(err).Message, "sudo iptables -S")
		return
	}
	if found.Other != "" {
		commands := make([]string, len(found.Move))
		for i, command := range found.Move {
			commands[i] = withSudo(command)
		}
		commands[0] += "   # shows them; the rest moves them"
		d.found(kindBackends, strings.Join(commands, "\n"), "%s and %s both have rules; azimds uses %s and does not see those of %s",
			found.Uses, found.Other, found.Uses, found.Other)
	}
}

// checkBridges looks whether a firewall drops what the containers of a bridge that is configured send to an agent, which may run.
func (p patient) checkBridges(ctx context.Context, d *diagnosis, s control.Status) {
	var names []string
	for _, z := range p.config.Zones {
		if !strings.HasPrefix(z.Bridge, config.NetworkPrefix) { // an agent that runs knows its bridge
			names = append(names, z.Bridge)
		}
	}
	for _, z := range s.Zones {
		names = append(names, z.Name)
	}
	if len(names) == 0 {
		return
	}
	const what = "whether a firewall drops what containers ask"
	if !p.asRoot {
		d.missed(what, "Only root can look at the firewall.", lastResort)
		return
	}
	mode, port := inboundBy(p.config.Mode, s)
	found, err := p.closed(ctx, names, mode, port)
	if err != nil {
		d.missed(what, explain(err).Message, "sudo iptables -S INPUT")
		return
	}
	for _, c := range found {
		by := c.By
		if c.Manager != "" {
			by = fmt.Sprintf("%s (%s)", c.Manager, c.By)
		}
		if c.Unclear {
			d.missed(fmt.Sprintf("whether %s lets containers of bridge %s in", by, c.Bridge),
				fmt.Sprintf("A rule has words that doctor does not know. Unless it lets them in, %s drops them.", c.Rule), listing(c))
			continue
		}
		d.found(kindBridge, withSudo(c.Open), "%s drops what containers of bridge %s ask 169.254.169.254: %s", by, c.Bridge, c.Rule)
	}
}

// withSudo has each program of a command run by root.
func withSudo(command string) string {
	return "sudo " + strings.NewReplacer(" || ", " || sudo ", " | ", " | sudo ", "$(", "$(sudo ").Replace(command)
}

// listing is the command that shows all rules of a firewall.
func listing(c netsetup.Closed) string {
	if strings.HasPrefix(c.By, "nft") {
		return "sudo nft list ruleset"
	}
	return "sudo " + c.By + " -S"
}

// redirected is the port in a rule that redirects.
var redirected = regexp.MustCompile(`--to-ports (\d+)`)

// inboundBy is the mode and the port by which containers come in: those of the agent, or else those that one would begin with.
func inboundBy(m config.Mode, s control.Status) (netsetup.Mode, uint16) {
	mode := netsetup.Mode(s.Mode)
	if mode == "" {
		mode = netsetup.Mode(m)
	}
	if mode == netsetup.Auto {
		mode = netsetup.IPTables
	}
	for _, line := range s.Plan {
		if port := redirected.FindStringSubmatch(line); port != nil {
			if n, err := strconv.ParseUint(port[1], 10, 16); err == nil {
				return mode, uint16(n)
			}
		}
	}
	return mode, 0
}
