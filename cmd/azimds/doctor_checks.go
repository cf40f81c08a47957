package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"azimds/config"
	"azimds/imds/caller"
	"azimds/imds/control"
	"azimds/netsetup"
)

// lastResort is the command for what only root sees.
const lastResort = "sudo azimds doctor"

// checkConfiguration says what is wrong with the configuration.
func (p patient) checkConfiguration(d *diagnosis) {
	if p.mistake == nil {
		return
	}
	told := explain(p.mistake)
	d.found(kindConfiguration, told.Hint, "%s", told.Message)
}

// arcAgent is the program by which SDKs know a machine of Azure Arc: azidentity (managed_identity_client.go), MSAL for Python,
// JavaScript and .NET, and azure_identity for Rust.
const arcAgent = "/opt/azcmagent/bin/himds"

// checkArc looks for an agent of Azure Arc.
func (p patient) checkArc(d *diagnosis) {
	_, err := os.Stat(filepath.Join(p.root, arcAgent))
	switch {
	case err == nil:
		mend := "sudo dnf remove azcmagent"
		if _, err := os.Stat(filepath.Join(p.root, "/etc/debian_version")); err == nil {
			mend = "sudo apt-get remove azcmagent"
		}
		d.found(kindArc, mend+"   # where this machine need not be in Azure Arc", "%s is there", arcAgent)
	case !errors.Is(err, fs.ErrNotExist):
		d.missed("whether an agent of Azure Arc is installed", fmt.Sprintf("%s cannot be looked at.", arcAgent), lastResort)
	}
}

// checkAgent asks the agent that runs here. Where there is none, it looks at what one would need.
func (p patient) checkAgent(ctx context.Context, d *diagnosis) {
	status, err := p.agent(ctx)
	switch {
	case err == nil:
		p.checkStatus(ctx, d, status)
	case errors.Is(err, control.ErrNoAgent):
		p.checkCLI(ctx, d)
		if !alone(p.config) {
			p.checkBridges(ctx, d, control.Status{})
			p.checkNetwork(ctx, d)
		}
	case errors.Is(err, context.DeadlineExceeded): // as under azimds net up without a server
		told := explain(err)
		d.found(kindNoServer, told.Hint, "%s", told.Message)
	case errors.Is(err, fs.ErrPermission):
		d.missed("the agent that runs here", explain(err).Message+".", lastResort)
	default:
		told := explain(err)
		d.missed("the agent that runs here", told.Message+".", told.Hint)
	}
}

// fightFinder shows what else changes the network: the programs that do, and the changes as they happen.
const fightFinder = "systemctl --type=service --state=running | grep -E 'firewalld|nftables|ufw|docker|network|Network'\nsudo ip monitor address link rule route"

// checkStatus says of a running agent what status does.
func (p patient) checkStatus(ctx context.Context, d *diagnosis, s control.Status) {
	const again = "azimds stop && azimds run"
	for _, what := range s.Residue {
		d.found(kindResidue, again, "the agent's network has too much; it would be removed by: %s", what)
	}
	for _, what := range s.Delta {
		d.found(kindMissing, again, "the agent's network lacks what this makes: %s", what)
	}
	if s.Repairs != nil {
		for _, what := range s.Repairs.Fought {
			d.found(kindContested, fightFinder, "something removes again and again what this makes: %s", what)
		}
		if s.Repairs.Error != "" {
			d.found(kindUnmended, cmp.Or(s.Repairs.Hint, again), "the agent cannot put back what is missing: %s", s.Repairs.Error)
		}
	}
	for _, z := range s.Zones {
		if z.Problem == "" {
			continue
		}
		mend, err := p.bridge(ctx, z.Name)
		if err != nil || mend == "" {
			mend = "ip -br link show " + shellWord(z.Name)
		} else {
			mend = "sudo " + mend
		}
		d.found(kindZone, mend, "bridge %s is not served: %s", z.Name, z.Problem)
	}
	p.checkBridges(ctx, d, s)
	if !s.Paused.IsZero() {
		d.found(kindPaused, "azimds pause off", "no tokens are given until %s", s.Paused.Local().Format(time.DateTime))
	}
	switch {
	case s.Account.Error != "":
		d.found(kindNoTokens, cmp.Or(s.Account.Hint, "azimds status"), "%s", s.Account.Error)
	case s.Down != nil:
		d.found(kindNoTokens, cmp.Or(s.Down.Hint, "azimds status"), "%s", s.Down.Reason)
	}
}

// checkNetwork looks at what a dead agent left, and whether the interception can be made. Where there is a residue the latter
// cannot be told: a start removes it first.
func (p patient) checkNetwork(ctx context.Context, d *diagnosis) {
	residue, err := p.residue(ctx)
	if len(residue) > 0 {
		d.found(kindResidue, "sudo azimds cleanup", "a dead agent left it; it would be removed by: %s", strings.Join(residue, "; "))
	}
	const left = "whether a dead agent left rules of iptables"
	switch {
	case err != nil && p.asRoot:
		d.missed(left, explain(err).Message, "sudo azimds cleanup")
	case err != nil:
		d.missed(left, "Only root can list them.", lastResort)
	}
	const can = "whether the interception can be made"
	switch {
	case p.mistake != nil:
		d.missed(can, "There is no configuration to go by.", "")
		return
	case len(residue) > 0:
		d.missed(can, "What is left is in the way of the look.", "")
		return
	}
	err = p.choose(ctx)
	switch {
	case err == nil:
	case p.asRoot, errors.Is(err, netsetup.ErrMetadataService), errors.Is(err, netsetup.ErrLoopbackDown):
		told := explain(err)
		d.found(kindInterception, cmp.Or(told.Hint, "sudo azimds net up --dry-run"), "%s", told.Message)
	default:
		d.missed(can, "Only root can look at the firewall and at port 80.", lastResort)
	}
}

// checkMachine looks at what this machine lacks to keep others out, and at what it is.
func (p patient) checkMachine(d *diagnosis) {
	if !alone(p.config) {
		p.checkPorts(d)
	}
	const groups = "whether control groups of version 2 are in use alone"
	if found, err := caller.OpenCgroups(filepath.Join(p.root, "proc")); err != nil {
		d.missed(groups, err.Error(), lastResort)
	} else if doubt := found.Doubt(); doubt != "" {
		d.found(kindCgroup, `echo 'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX systemd.unified_cgroup_hierarchy=1"' `+
			"| sudo tee -a /etc/default/grub\nsudo update-grub   # Debian and Ubuntu; takes effect with the next start of the machine",
			"%s", doubt)
	}
	if host, err := p.onHost(); err != nil {
		d.missed("whether this is the host's network namespace", err.Error(), lastResort)
	} else if !host {
		d.found(kindNamespace, "azimds run   # on the host, for the host's programs", "this network namespace is not the host's")
	}
}

// checkPorts looks whether the port of azimds is root's alone: of 169.254.169.254, or in mode iptables one below 1024.
func (p patient) checkPorts(d *diagnosis) {
	start, err := p.start()
	if err != nil {
		d.missed("which ports any user may listen on", err.Error(), "sysctl net.ipv4.ip_unprivileged_port_start")
		return
	}
	highest := 1023
	if p.config.Mode == config.ModeLoopback || p.config.Mode == config.ModeDummy {
		highest = int(netsetup.Endpoint.Port())
	}
	if start <= highest {
		d.found(kindPorts, "sudo sysctl net.ipv4.ip_unprivileged_port_start=1024",
			"net.ipv4.ip_unprivileged_port_start is %d: any user can listen on port %d", start, max(start, int(netsetup.Endpoint.Port())))
	}
}
