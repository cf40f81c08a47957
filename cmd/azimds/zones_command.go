package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"azimds/config"
	"azimds/imds/control"
	"azimds/imds/policy"
	"azimds/netsetup"
	"azimds/netsetup/engine"
)

// zoneListing is what azimds zones prints, also as JSON. Lists are never null.
type zoneListing struct {
	Running bool         `json:"running"` // an agent runs, and Served is what it does; else what one would do
	Zones   []listedZone `json:"zones"`
	Unseen  string       `json:"unseen,omitempty"` // why networks and containers may be missing
}

// listedZone is a bridge of this machine.
type listedZone struct {
	Bridge  string         `json:"bridge"`
	Network string         `json:"network,omitempty"` // of a container engine
	Engine  string         `json:"engine,omitempty"`  // docker or podman
	Subnets []string       `json:"subnets"`
	Served  bool           `json:"served"`
	Problem string         `json:"problem,omitempty"` // why it is not, where it is configured
	Members []listedMember `json:"members"`
}

// listedMember is a container.
type listedMember struct {
	Name    string `json:"name"`
	Address string `json:"address,omitempty"`
}

func newZonesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "zones",
		Short: "List bridges, the containers on them, and which are served",
		Long: `Zones lists the bridges of this network namespace, with the networks of Docker and Podman that they
belong to and the containers on them, and says which are served: by the agent that runs, else by one
that would run with this configuration.`,
		Args: cobra.NoArgs,
	}
	addKeys(cmd, func(k config.Key) bool { return k.Name == "zones" })
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := settings(cmd, true)
		if err != nil {
			return err
		}
		listing, err := listZones(cmd.Context(), c, engine.Usual())
		if err != nil {
			return err
		}
		if *asJSON {
			return printJSON(cmd.OutOrStdout(), listing)
		}
		return printZones(cmd.OutOrStdout(), listing)
	}
	return cmd
}

// listZones looks at the bridges, asks the engines, and asks the agent where one runs.
func listZones(ctx context.Context, c config.Config, engines engine.Places) (zoneListing, error) {
	bridges, err := netsetup.Bridges(ctx, []string{policy.Any})
	if err != nil {
		return zoneListing{}, err
	}
	networks, unseen := engines.Networks(ctx)
	served, err := servedZones(ctx)
	if err != nil {
		return zoneListing{}, err
	}
	l := zoneListing{Running: served != nil, Zones: []listedZone{}}
	if unseen != nil {
		l.Unseen = unseen.Error()
	}
	for _, b := range bridges {
		z := listedZone{Bridge: b.Name, Subnets: []string{}, Members: []listedMember{}}
		for _, subnet := range b.Subnets {
			z.Subnets = append(z.Subnets, subnet.String())
		}
		for _, n := range networks {
			if n.Bridge == b.Name {
				z.describe(n)
			}
		}
		if served != nil {
			z.as(*served)
		} else {
			z.wouldBe(c, b)
		}
		l.Zones = append(l.Zones, z)
	}
	return l, nil
}

// servedZones are the zones of the agent that runs; nil where none does, or it is somebody else's.
func servedZones(ctx context.Context) (*[]control.Zone, error) {
	client, err := agentClient()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	status, err := client.Status(ctx)
	if errors.Is(err, control.ErrNoAgent) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &status.Zones, nil
}

// describe adds what an engine says of the bridge.
func (z *listedZone) describe(n engine.Network) {
	z.Network, z.Engine = n.Name, n.Engine
	for _, m := range n.Members {
		member := listedMember{Name: m.Name}
		if m.Address.IsValid() {
			member.Address = m.Address.String()
		}
		z.Members = append(z.Members, member)
	}
	slices.SortFunc(z.Members, func(a, b listedMember) int { return cmp.Compare(a.Name, b.Name) })
}

// as says what an agent does with the bridge.
func (z *listedZone) as(served []control.Zone) {
	if i := slices.IndexFunc(served, func(s control.Zone) bool { return s.Name == z.Bridge }); i >= 0 {
		z.Served, z.Problem = served[i].Problem == "", served[i].Problem
	}
}

// wouldBe says what an agent would do with it.
func (z *listedZone) wouldBe(c config.Config, b netsetup.Bridge) {
	named := func(entry config.Zone) bool {
		return policy.InZone(entry.Bridge, z.Bridge) || z.Network != "" && entry.Bridge == policy.Network+z.Network
	}
	if slices.ContainsFunc(c.Zones, named) {
		z.Served, z.Problem = b.Problem == "", b.Problem
	}
}

// entry is what to write into zones to have the bridge served.
func (z *listedZone) entry() string {
	if z.Network != "" && z.Bridge != "docker0" {
		return policy.Network + z.Network
	}
	return z.Bridge
}

// printZones writes a listing for a terminal of 80 columns.
func printZones(w io.Writer, l zoneListing) error {
	var b strings.Builder
	for _, z := range l.Zones {
		name := z.Bridge
		if z.Network != "" {
			name += ", network " + z.Network + " of " + z.Engine
		}
		fmt.Fprintln(&b, printable(name))
		state := "not served"
		switch {
		case z.Problem != "":
			state = "NOT SERVED: " + z.Problem
		case z.Served && l.Running:
			state = "served"
		case z.Served:
			state = "would be served"
		}
		fmt.Fprintln(&b, strings.TrimRight(fmt.Sprintf("  %-15s %s", state, strings.Join(z.Subnets, ", ")), " "))
		for _, m := range z.Members {
			fmt.Fprintf(&b, "  %-15s %s\n", cmp.Or(m.Address, "no address"), printable(m.Name))
		}
		if !z.Served && z.Problem == "" {
			fmt.Fprintf(&b, "    zones: [%s]   # in /etc/azimds/config.yaml serves it\n", z.entry())
		}
	}
	switch {
	case len(l.Zones) == 0:
		fmt.Fprintln(&b, "there is no bridge in this network namespace")
	case !l.Running:
		fmt.Fprintln(&b, "no azimds runs in this network namespace: azimds run")
	}
	if l.Unseen != "" {
		fmt.Fprintf(&b, "networks and containers may be missing: %s\n  sudo azimds zones\n", printable(l.Unseen))
	}
	_, err := io.WriteString(w, b.String())
	return err
}
