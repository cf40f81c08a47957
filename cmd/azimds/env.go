package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"azimds/config"
	"azimds/imds/control"
	"azimds/imds/policy"
	"azimds/netsetup/holder"
)

// shells are in what forms the variables can be printed.
var shells = []string{"sh", "powershell", "docker", "compose"}

// dockersHost is the name by which Docker Desktop's containers know the machine that they run on.
const dockersHost = "host.docker.internal"

// errNoVariables says that requests to the running agent need no variables.
var errNoVariables = errors.New("the azimds that runs here answers at 169.254.169.254, which no variable selects")

// errNoEndpoint says that no agent has an endpoint that variables could select.
var errNoEndpoint = errors.New("no azimds of yours with an endpoint that variables select runs in this network namespace")

func newEnv() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "env",
		Short: "Print the lines that select the running agent's endpoint",
		Long: `Env prints the environment variables by which programs find the endpoint of azimds run --endpoint. Two of
them are an address and a secret; in Cloud Shell's one, the address is the secret. Both are new at each start.

For sh and powershell they are commands, for docker a file for docker run --env-file, and for compose a part of
a service. The latter two name the first bridge in zones that is served, or the machine that runs Docker Desktop.`,
		Example: `  eval "$(azimds env)"
  azimds env --shell powershell | Invoke-Expression
  azimds env --shell docker > azimds.env && docker run --env-file azimds.env IMAGE`,
		Args: cobra.NoArgs,
	}
	shell := cmd.Flags().String("shell", shells[0], "form of the lines: "+strings.Join(shells, ", "))
	zone := cmd.Flags().String("zone", "", "for whom: local, a bridge or network:NAME (default: see azimds env --help)")
	complete(cmd, "shell", cobra.FixedCompletions(shells, cobra.ShellCompDirectiveNoFileComp))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if !slices.Contains(shells, *shell) {
			return usage(cmd, fmt.Errorf("--shell is %q, must be one of %s", *shell, strings.Join(shells, ", ")))
		}
		client, err := clientOf(holder.AloneSocket, controlSocket)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), answerLimit)
		defer cancel()
		reply, err := client.Variables(ctx)
		switch {
		case errors.Is(err, control.ErrNoAgent):
			return errNoEndpoint
		case err != nil:
			return err
		case reply.Error != "":
			return errors.New(reply.Error)
		case len(reply.Places) == 0:
			return errNoVariables
		}
		place, err := placeFor(reply.Places, *shell, *zone)
		if err != nil {
			return usage(cmd, err)
		}
		return printVariables(cmd.OutOrStdout(), *shell, place.Variables, reply.Clear)
	}
	return cmd
}

// placeFor is the endpoint as the programs see it that the lines are for.
func placeFor(places []control.Place, shell, zone string) (control.Place, error) {
	inContainer := shell == "docker" || shell == "compose"
	if zone != "" {
		for _, p := range places {
			if p.Zone == zone || p.Network != "" && config.NetworkPrefix+p.Network == zone {
				return p, nil
			}
		}
		return control.Place{}, fmt.Errorf("--zone is %q, and no such zone is served", zone)
	}
	local := places[0]
	for _, p := range places {
		switch {
		case p.Zone == policy.Local:
			local = p
		case inContainer:
			return p, nil
		}
	}
	if inContainer {
		return renamed(local), nil
	}
	return local, nil
}

// renamed is the endpoint on 127.0.0.1 as a container of Docker Desktop's calls it.
func renamed(p control.Place) control.Place {
	_, port, err := net.SplitHostPort(p.Address)
	if err != nil {
		return p
	}
	p.Variables = slices.Clone(p.Variables)
	for i, v := range p.Variables {
		p.Variables[i].Value = strings.Replace(v.Value, "http://"+p.Address+"/", "http://"+net.JoinHostPort(dockersHost, port)+"/", 1)
	}
	return p
}

// printVariables prints variables in a form. Their values are addresses and secrets in letters that no form gives a meaning.
func printVariables(w io.Writer, shell string, variables []control.Variable, unset []string) error {
	var b strings.Builder
	switch shell {
	case "powershell":
		fmt.Fprintf(&b, "Remove-Item -ErrorAction Ignore %s\n", "Env:"+strings.Join(unset, ", Env:"))
	case "compose":
		b.WriteString("environment:\n")
	case "sh":
		fmt.Fprintf(&b, "unset %s\n", strings.Join(unset, " "))
	}
	line := map[string]string{"sh": "export %s='%s'\n", "powershell": "$env:%s = '%s'\n", "docker": "%s=%s\n", "compose": "  %s: \"%s\"\n"}[shell]
	for _, v := range variables {
		fmt.Fprintf(&b, line, v.Name, v.Value)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
