package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"azimds/config"
	"azimds/imds/control"
	"azimds/imds/token"
	"azimds/imds/token/azure"
	"azimds/netsetup"
)

// have adds variables to the environment.
func have(entries ...string) func(*testing.T, *patient) {
	return func(_ *testing.T, p *patient) { p.environ = append(p.environ, entries...) }
}

// lines makes the file that sessions get their environment from.
func lines(text ...string) func(*testing.T, *patient) {
	return func(t *testing.T, p *patient) { p.write(t, environmentFile, strings.Join(text, "\n")+"\n") }
}

// fails is a choice that ends with an error.
func fails(err error) func(*testing.T, *patient) {
	return func(_ *testing.T, p *patient) { p.choose = func(context.Context) error { return err } }
}

// answers is an agent that runs.
func answers(s control.Status) func(*testing.T, *patient) {
	return func(_ *testing.T, p *patient) {
		p.agent = func(context.Context) (control.Status, error) { return s, nil }
	}
}

// silent is an agent that cannot be asked.
func silent(err error) func(*testing.T, *patient) {
	return func(_ *testing.T, p *patient) {
		p.agent = func(context.Context) (control.Status, error) {
			return control.Status{}, fmt.Errorf(`asking the agent at "/run/azimds/1/default/control.sock": %w`, err)
		}
	}
}

// asked is a machine with a credential.
func asked(c config.Credential, then func(*testing.T, *patient)) func(*testing.T, *patient) {
	return func(t *testing.T, p *patient) {
		p.config.Credential = c
		then(t, p)
	}
}

func noAz(_ *testing.T, p *patient) {
	p.findAz = func() (string, error) {
		return "", &token.Error{Kind: token.ErrSignInRequired, Message: "the Azure CLI (az) is not there", Command: azure.InstallAz}
	}
}

// ran is a machine whose az ends so.
func ran(err error) func(*testing.T, *patient) {
	return asked(config.CredentialAzureCLI, func(_ *testing.T, p *patient) {
		p.runAz = func(context.Context, string) (time.Duration, error) { return 1234 * time.Millisecond, err }
	})
}

// signedIn is a machine whose az is signed in so.
func signedIn(a azure.Account, err error) func(*testing.T, *patient) {
	return func(_ *testing.T, p *patient) { p.account = func() (azure.Account, error) { return a, err } }
}

// ahead is a machine whose clock is ahead of Entra's, or which cannot tell.
func ahead(by time.Duration, err error) func(*testing.T, *patient) {
	return asked(config.CredentialDeviceCode, func(_ *testing.T, p *patient) {
		p.skew = func(context.Context) (time.Duration, error) { return by, err }
	})
}

// served is a machine with a bridge that is configured.
func served(c ...netsetup.Closed) func(*testing.T, *patient) {
	return func(_ *testing.T, p *patient) {
		p.config.Zones = []config.Zone{{Bridge: "br0"}}
		p.closed = func(_ context.Context, names []string, m netsetup.Mode, port uint16) ([]netsetup.Closed, error) {
			if !slices.Equal(names, []string{"br0"}) || m != netsetup.IPTables || port != 0 {
				return nil, fmt.Errorf("asked about %q in mode %s by port %d", names, m, port)
			}
			return c, nil
		}
	}
}

// doctorTest is a machine and what is to be found on it.
type doctorTest struct {
	name   string
	given  func(*testing.T, *patient)
	found  []string                   // ids
	unseen []string                   // what could not be seen
	pasted bool                       // the commands, run in a shell, mend it
	mended func(*testing.T, *patient) // what the commands do, where they cannot be run
}

func doctorTests() []doctorTest {
	signIn := &token.Error{Kind: token.ErrSignInRequired, Message: "nobody is signed in to the Azure CLI", Command: "az login"}
	metadata := fmt.Errorf("dialling: %w", netsetup.ErrMetadataService)
	denied := fmt.Errorf("listing rules: %w", fs.ErrPermission)
	jump := "iptables -t nat -D OUTPUT -m owner --uid-owner 1000 -j AZIMDS"
	return slices.Concat(variableTests(), []doctorTest{
		{name: "nothing", given: func(*testing.T, *patient) {}},
		{name: "configuration", found: []string{"configuration"}, unseen: []string{"whether the interception can be made"},
			given: func(_ *testing.T, p *patient) {
				p.mistake = &config.Mendable{Err: errors.New(`mode is "nat"`), With: "azimds config init"}
			},
			mended: func(_ *testing.T, p *patient) { p.mistake = nil }},
		{name: "arc", found: []string{"arc-agent"},
			given: func(t *testing.T, p *patient) {
				p.write(t, arcAgent, "")
				p.write(t, "/etc/debian_version", "13.1\n")
			},
			mended: func(t *testing.T, p *patient) { p.remove(t, arcAgent) }},
		{name: "no az", given: asked(config.CredentialAzureCLI, noAz), found: []string{"az-missing"}},
		{name: "no az, and none needed", given: noAz},
		{name: "az of a python that is gone", found: []string{"az-broken"},
			given: asked(config.CredentialAzureCLI, func(t *testing.T, p *patient) {
				p.write(t, "/usr/bin/az", "#!/opt/venv/bin/python3\nimport azure.cli\n")
			}),
			mended: func(t *testing.T, p *patient) { p.write(t, "/usr/bin/az", "#!/bin/bash\n") }},
		{name: "az that ends badly", found: []string{"az-broken"},
			given: ran(&azError{"ModuleNotFoundError: No module named 'azure'", errors.New("exit status 1")}), mended: ran(nil)},
		{name: "az that wants a sign-in", found: []string{"az-signed-out"},
			given: ran(&azError{"ERROR: Please run 'az login' to setup account.", errors.New("exit status 1")}), mended: ran(nil)},
		{name: "az that does not end", found: []string{"az-timeout"},
			given: ran(fmt.Errorf("running az account show: %w", context.DeadlineExceeded)), mended: ran(nil)},
		{name: "az for a person", found: []string{"az"}, given: ran(nil)},
		{name: "az for an application", found: []string{"az"}, given: asked(config.CredentialAzureCLI, signedIn(
			azure.Account{Name: "11111111-2222-3333-4444-555555555555", Tenant: "contoso.example", App: true}, nil))},
		{name: "signed out", found: []string{"az-signed-out"}, mended: signedIn(azure.Account{Name: "pat@contoso.example"}, nil),
			given: asked(config.CredentialAzureCLI, signedIn(azure.Account{}, signIn))},
		{name: "signed in as a managed identity", found: []string{"az-managed-identity"}, mended: signedIn(azure.Account{}, nil),
			given: asked(config.CredentialAzureCLI, signedIn(azure.Account{}, azure.ErrManagedIdentity))},
		{name: "a metadata service", given: fails(metadata), found: []string{"interception"}, mended: fails(nil)},
		{name: "no iptables, and port 80 taken", found: []string{"interception"}, mended: fails(nil),
			given: fails(errors.Join(netsetup.ErrNoIPTables, netsetup.ErrIPTables))},
		{name: "somebody else's address", found: []string{"interception"},
			given: fails(&netsetup.ForeignError{
				What: []string{"address 169.254.169.254/32 of device eth0"}, Remove: []string{"ip address delete 169.254.169.254/32 dev eth0"},
			})},
		{name: "not root", unseen: []string{"whether a dead agent left rules of iptables", "whether the interception can be made",
			"whether both back ends of iptables have rules"},
			given: func(t *testing.T, p *patient) {
				p.asRoot = false
				p.residue = func(context.Context) ([]string, error) { return nil, denied }
				fails(denied)(t, p)
			},
			mended: func(t *testing.T, p *patient) { p.asRoot = true; well(t).lend(p) }},
		{name: "not root, and a metadata service", found: []string{"interception"}, unseen: []string{"whether both back ends of iptables have rules"},
			given: func(t *testing.T, p *patient) {
				p.asRoot = false
				fails(metadata)(t, p)
			}},
		{name: "through sudo",
			unseen: []string{"the variables of pat (uid 1000)", "whether pat (uid 1000) is signed in to the Azure CLI"},
			given: asked(config.CredentialAzureCLI, func(t *testing.T, p *patient) {
				p.theirs = true
				have("IDENTITY_ENDPOINT=http://sudo", "DOCKER_CONTEXT=desktop-linux")(t, p)
			}),
			mended: func(_ *testing.T, p *patient) { p.theirs = false; p.environ = nil }},
		{name: "a dead agent", found: []string{"residue"}, unseen: []string{"whether the interception can be made"},
			given: func(_ *testing.T, p *patient) {
				p.residue = func(context.Context) ([]string, error) { return []string{jump, "iptables -t nat -X AZIMDS"}, nil }
			},
			mended: func(t *testing.T, p *patient) { well(t).lend(p) }},
		{name: "an agent", given: answers(control.Status{})},
		{name: "an agent whose rules are damaged", found: []string{"residue", "missing"}, mended: answers(control.Status{}),
			given: answers(control.Status{Residue: []string{jump}, Delta: []string{"ip address add 169.254.169.254/32 dev lo"}})},
		{name: "an agent whose rules are removed again and again", found: []string{"contested"},
			mended: answers(control.Status{Repairs: &control.Repairs{Count: 7, Missing: []string{jump}}}),
			given:  answers(control.Status{Repairs: &control.Repairs{Count: 6, Fought: []string{jump}}})},
		{name: "an agent that cannot repair", found: []string{"not-mended"}, mended: answers(control.Status{}),
			given: answers(control.Status{Repairs: &control.Repairs{Error: "refusing to touch what is not ours: address 169.254.169.254/32 of device eth0"}})},
		{name: "an agent without tokens", found: []string{"no-tokens"}, mended: answers(control.Status{}),
			given: answers(control.Status{Account: control.Account{Error: "nobody is signed in to the Azure CLI", Hint: "az login"}})},
		{name: "an agent whose tokens ended", found: []string{"no-tokens"},
			given: answers(control.Status{Down: &control.Down{Since: time.Unix(0, 0), Reason: "cannot reach login.microsoftonline.com"}})},
		{name: "an agent that pauses", found: []string{"paused"}, mended: answers(control.Status{}),
			given: answers(control.Status{Paused: time.Date(2026, 1, 2, 15, 4, 5, 0, time.Local)})},
		{name: "an agent with a zone", found: []string{"zone"}, mended: answers(control.Status{}),
			given: answers(control.Status{Zones: []control.Zone{
				{Name: "br-1", Problem: "port eth0 may lead out of this machine"}, {Name: "br-2"},
			}})},
		{name: "no server", given: silent(context.DeadlineExceeded), found: []string{"no-server"}, mended: answers(control.Status{})},
		{name: "an agent of somebody else", given: silent(fs.ErrPermission), unseen: []string{"the agent that runs here"}},
		{name: "ports for everybody", found: []string{"unprivileged-ports"},
			given:  func(_ *testing.T, p *patient) { p.start = func() (int, error) { return 0, nil } },
			mended: func(_ *testing.T, p *patient) { p.start = func() (int, error) { return 1024, nil } }},
		{name: "ports for everybody above 80, in mode loopback", given: func(_ *testing.T, p *patient) {
			p.start, p.config.Mode = func() (int, error) { return 81, nil }, config.ModeLoopback
		}},
		{name: "control groups of version 1", found: []string{"cgroup"},
			given: func(t *testing.T, p *patient) {
				p.write(t, "/proc/self/mounts", "cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\n")
			},
			mended: func(t *testing.T, p *patient) { p.write(t, "/proc/self/mounts", "c /sys/fs/cgroup cgroup2 rw 0 0\n") }},
		{name: "a container", found: []string{"network-namespace"},
			given: func(_ *testing.T, p *patient) { p.onHost = func() (bool, error) { return false, nil } }},
		{name: "wsl", found: []string{"wsl"},
			given: func(t *testing.T, p *patient) {
				p.write(t, "/proc/sys/kernel/osrelease", "6.6.87.2-microsoft-standard-WSL2\n")
			}},
		{name: "without proc", unseen: []string{
			"whether control groups of version 2 are in use alone", "whether this is WSL, or the machine of Docker Desktop",
		},
			given: func(t *testing.T, p *patient) {
				p.remove(t, "/proc/self/mounts")
				p.remove(t, "/proc/sys/kernel/osrelease")
			}},
		{name: "information, a notice and a problem", found: []string{"arc-agent", "client-id-variable", "az"},
			given: func(t *testing.T, p *patient) {
				ran(nil)(t, p)
				have("AZURE_CLIENT_ID=11111111-2222-3333-4444-555555555555")(t, p)
				p.write(t, arcAgent, "")
			}},
	}, networkTests(), engineTests())
}

// lend gives another machine what this one looks at as root.
func (p *patient) lend(to *patient) { to.residue, to.choose = p.residue, p.choose }
