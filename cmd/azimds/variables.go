package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"azimds/imds"
	"azimds/imds/control"
	"azimds/imds/token"
	"azimds/netsetup"
)

// variablesLine begins the line by which a server tells its tether the variables that select its endpoint.
const variablesLine = "variables "

// errAlone says that there is nothing to intercept.
var errAlone = errors.New("endpoint.kind is set, and with an endpoint that variables select nothing is intercepted")

// errNoServe says that a server of an endpoint is started by another command.
var errNoServe = errors.New("serve has no listeners for an endpoint that variables select; azimds run has")

// metadataServer serves processes of this network namespace, and what is behind bridges.
type metadataServer interface {
	zoneServer
	Serve(ctx context.Context, ln net.Listener) error
}

// envServer serves an endpoint that variables select in the place of the metadata service.
type envServer struct {
	*imds.Server
	env *imds.EnvEndpoint
}

// Serve implements metadataServer.
func (e envServer) Serve(ctx context.Context, ln net.Listener) error {
	return e.ServeEnv(ctx, ln, e.env, nil)
}

// ServeZone implements [zoneServer].
func (e envServer) ServeZone(ctx context.Context, ln net.Listener, z *imds.Zone) error {
	return e.ServeEnv(ctx, ln, e.env, z)
}

// serving is what is served on the listeners of this offer.
func (s *server) serving(a *agent, metadata *imds.Server) (metadataServer, error) {
	if a.offer.Plan.Mode != netsetup.None {
		return metadata, nil
	}
	var err error
	if a.env, err = imds.NewEnvEndpoint(imds.EndpointKind(s.config.Endpoint.Kind)); err != nil {
		return nil, err
	}
	return envServer{metadata, a.env}, nil
}

// tellVariables tells the process that started this one, where it wants to know, the variables for its own children.
func (a *agent) tellVariables() error {
	if !a.tells || a.env == nil {
		return nil
	}
	variables, err := a.env.Variables(a.offer.Plan.Endpoint.String(), imds.DefaultIdentity)
	if err != nil {
		return err
	}
	line, err := json.Marshal(revealed(variables))
	if err == nil {
		_, err = fmt.Fprintf(a.tether, "%s%s\n", variablesLine, line)
	}
	if err != nil {
		return fmt.Errorf("telling the variables: %w", err)
	}
	return nil
}

// revealed are variables as they are sent to who may know them: whoever started the server, and its owner on the control socket.
func revealed(variables []imds.Variable) []control.Variable {
	var all []control.Variable
	for _, v := range variables {
		all = append(all, control.Variable{Name: v.Name, Value: v.Value.Reveal()})
	}
	return all
}

// parseVariables reads what tellVariables told.
func parseVariables(line string) ([]imds.Variable, error) {
	var told []control.Variable
	if err := json.Unmarshal([]byte(line), &told); err != nil {
		return nil, fmt.Errorf("reading the variables: %w", errors.New("they are no JSON")) // whose text would be in err
	}
	return hidden(told), nil
}

// hidden are variables that were sent, from where on they are not shown.
func hidden(told []control.Variable) []imds.Variable {
	var all []imds.Variable
	for _, v := range told {
		all = append(all, imds.Variable{Name: v.Name, Value: token.NewSecret(v.Value)})
	}
	return all
}

// selected is environ for a program that is to find an endpoint: with its variables, and without those that would lead elsewhere.
// What a proxy is used for, it is not used for on this machine.
func selected(environ []string, variables []imds.Variable) []string {
	kept := slices.DeleteFunc(slices.Clone(environ), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return slices.Contains(imds.Selecting(), name)
	})
	for _, v := range variables {
		kept = append(kept, v.Name+"="+v.Value.Reveal())
	}
	return kept
}
