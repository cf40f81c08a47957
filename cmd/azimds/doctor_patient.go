package main

import (
	"context"
	"os"
	"time"

	"github.com/spf13/cobra"

	"azimds/config"
	"azimds/imds/control"
	"azimds/imds/token/azure"
	"azimds/netsetup"
)

// patient is the machine that doctor looks at, as this process sees it.
type patient struct {
	root    string   // the folder that is taken for /
	environ []string // the environment of this process
	owner   string   // whose programs are to be served
	theirs  bool     // the environment and the home are not the owner's: sudo has started this process
	asRoot  bool     // the firewall can be read

	home    string // the owner's
	uid     uint32 // the owner's
	offline bool   // other machines are not to be asked

	config   config.Config
	mistake  error // why there is no configuration
	findAz   func() (string, error)
	account  func() (azure.Account, error)                               // as whom az would ask
	runAz    func(ctx context.Context, az string) (time.Duration, error) // one run of az
	skew     func(context.Context) (time.Duration, error)                // by how much the clock is ahead of Entra's
	agent    func(context.Context) (control.Status, error)
	residue  func(context.Context) ([]string, error)                                           // what a dead agent left; also beside an error
	choose   func(context.Context) error                                                       // why the interception cannot be made
	barriers func(uid uint32) ([]netsetup.Barrier, error)                                      // what keeps the owner's programs from the address by routing
	backends func(context.Context) (netsetup.Backends, error)                                  // of iptables
	closed   func(context.Context, []string, netsetup.Mode, uint16) ([]netsetup.Closed, error) // bridges that a firewall closes
	bridge   func(context.Context, string) (string, error)                                     // the command after which a bridge can be served
	start    func() (int, error)                                                               // the first port that anybody may listen on
	onHost   func() (bool, error)                                                              // whether this is the host's network namespace
}

// thisMachine is the machine on which this process runs. What is wrong with the configuration is for doctor to say.
func thisMachine(cmd *cobra.Command) patient {
	p := patient{
		root: "/", environ: os.Environ(), asRoot: os.Geteuid() == 0,
		findAz: func() (string, error) { return azure.FindAz(os.Getenv) },
		agent:  askStatus, residue: leftBehind, start: netsetup.UnprivilegedPortStart, onHost: netsetup.OnHost,
		barriers: netsetup.Barriers, backends: netsetup.ListBackends, closed: netsetup.ListClosed, bridge: netsetup.MendBridge,
	}
	p.config, p.mistake = settings(cmd, false)
	owner, err := ownerFor(p.config.User)
	if err != nil && p.mistake == nil {
		p.mistake = err
	}
	p.owner, p.theirs = owner.String(), err == nil && owner.UID != uint32(os.Getuid())
	p.home, p.uid = owner.Home, owner.UID
	if !p.theirs {
		p.home = os.Getenv("HOME")
	}
	p.account = func() (azure.Account, error) {
		az, err := newCLI(p.config)
		if err != nil {
			return azure.Account{}, err
		}
		return az.account()
	}
	p.runAz = func(ctx context.Context, az string) (time.Duration, error) {
		return runAz(ctx, az, p.config.AzureCLI.Timeout)
	}
	p.skew = func(ctx context.Context) (time.Duration, error) { return skew(ctx, p.config) }
	p.choose = func(ctx context.Context) error {
		want, err := wanted(p.config)
		if err == nil {
			_, _, err = netsetup.Choose(ctx, want)
		}
		return err
	}
	return p
}

// askStatus asks the agent of this network namespace.
func askStatus(ctx context.Context) (control.Status, error) {
	client, err := agentClient()
	if err != nil {
		return control.Status{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	return client.Status(ctx)
}

// leftBehind is what a dead agent left, each as the command that removes it.
func leftBehind(ctx context.Context) ([]string, error) {
	report, err := netsetup.NewHost(netsetup.Options{}).Check(ctx, netsetup.Plan{})
	return report.Residue, err
}
