package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"azimds/imds"
	"azimds/imds/control"
	"azimds/imds/policy"
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
	if a.offer().Plan.Mode != netsetup.None {
		return metadata, nil
	}
	var err error
	if a.env, err = imds.NewEnvEndpoint(imds.EndpointKind(s.config.Endpoint.Kind)); err != nil {
		return nil, err
	}
	return envServer{metadata, a.env}, nil
}

// endpointKind is the kind of the endpoint that is served; "" where requests are intercepted.
func (a *agent) endpointKind() string {
	if a.env == nil {
		return ""
	}
	return string(a.env.Kind())
}

// Variables are what selects the endpoint on this machine, and behind each bridge that is served.
func (a *agent) Variables() (control.VariablesReply, error) {
	reply := control.VariablesReply{Places: []control.Place{}}
	if a.env == nil {
		return reply, nil
	}
	place := func(zone, network string, at netip.AddrPort) error {
		variables, err := a.env.Variables(at.String(), imds.DefaultIdentity)
		if err != nil {
			return err
		}
		set := func(name string) bool {
			return slices.ContainsFunc(variables, func(v imds.Variable) bool { return v.Name == name })
		}
		reply.Clear = slices.DeleteFunc(imds.Selecting(), set)
		reply.Places = append(reply.Places, control.Place{Zone: zone, Network: network, Address: at.String(), Variables: revealed(variables)})
		return nil
	}
	if err := place(policy.Local, "", a.offer().Plan.Endpoint); err != nil {
		return reply, err
	}
	for _, z := range a.zones.list() {
		if z.Problem != "" || len(z.Addresses) == 0 {
			continue
		}
		if err := place(z.Name, z.Network, netip.AddrPortFrom(z.Addresses[0], a.offer().Plan.Endpoint.Port())); err != nil {
			return reply, err
		}
	}
	return reply, nil
}

// tellVariables tells the process that started this one, where it wants to know, the variables for its own children.
func (a *agent) tellVariables() error {
	if !a.tells || a.env == nil {
		return nil
	}
	variables, err := a.env.Variables(a.offer().Plan.Endpoint.String(), imds.DefaultIdentity)
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

// selected is environ for a program that is to find an endpoint of this machine: with its variables, and without those that would
// lead elsewhere. A proxy is passed by.
func selected(environ []string, variables []imds.Variable) []string {
	kept := slices.DeleteFunc(slices.Clone(environ), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return slices.Contains(imds.Selecting(), name)
	})
	for _, v := range variables {
		kept = append(kept, v.Name+"="+v.Value.Reveal())
	}
	return passingProxies(kept)
}

// loopbackHost is where an endpoint is that variables select.
const loopbackHost = "127.0.0.1"

// passingProxies adds this machine to both spellings of NO_PROXY where a proxy is set: Go alone passes it by unasked. A spelling that
// is not set gets what the other has, as a client reads one of them.
func passingProxies(environ []string) []string {
	values := assigned(environ)
	if !slices.ContainsFunc(proxies, func(name string) bool { return values[name] != "" }) {
		return environ
	}
	for _, spelling := range [][2]string{{"NO_PROXY", "no_proxy"}, {"no_proxy", "NO_PROXY"}} {
		name := spelling[0]
		list := cmp.Or(values[name], values[spelling[1]])
		if slices.Contains(strings.Split(list, ","), loopbackHost) && values[name] != "" {
			continue
		}
		environ = slices.DeleteFunc(environ, func(entry string) bool { return strings.HasPrefix(entry, name+"=") })
		environ = append(environ, name+"="+strings.TrimPrefix(list+","+loopbackHost, ","))
	}
	return environ
}
