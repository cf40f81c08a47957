package control

import (
	"context"
	"fmt"
	"net/http"

	"golang.org/x/sys/unix"
)

// Variable is an environment variable that selects an agent's endpoint. Its value can be a secret.
type Variable struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Place is where an agent's endpoint is, and what selects it there.
type Place struct {
	Zone      string     `json:"zone"`              // "local", or a bridge's name
	Network   string     `json:"network,omitempty"` // of a container engine, where the bridge was named by that
	Address   string     `json:"address"`
	Variables []Variable `json:"variables"`
}

// VariablesReply answers who asks for the variables that select an agent's endpoint. It goes to the owner only.
type VariablesReply struct {
	Places []Place  `json:"places"` // none where requests are intercepted
	Clear  []string `json:"clear"`  // variables that must not be set beside them
	Error  string   `json:"error,omitempty"`
}

// Variables asks the agent for the variables that select its endpoint.
func (c *Client) Variables(ctx context.Context) (VariablesReply, error) {
	var r VariablesReply
	err := c.call(ctx, http.MethodPost, "/variables", nil, &r)
	return r, err
}

// variables answers the owner alone: who knows the variables can ask for tokens, as far as the endpoint lets them connect.
func variables(r *http.Request, owner uint32, agent Agent) VariablesReply {
	peer, ok := r.Context().Value(peerKey{}).(*unix.Ucred)
	if !ok || peer.Uid != owner {
		return VariablesReply{Error: fmt.Sprintf("the variables are for uid %d alone", owner)}
	}
	reply, err := agent.Variables()
	if err != nil {
		return VariablesReply{Error: err.Error()}
	}
	return reply
}
