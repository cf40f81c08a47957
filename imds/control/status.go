package control

import "time"

// Status is what an agent says of itself. It holds no token and no secret.
type Status struct {
	Version    string     `json:"version"`
	Since      time.Time  `json:"since"`
	Owner      Owner      `json:"owner"`
	Server     int        `json:"server_pid"`
	Holder     int        `json:"holder_pid"`
	Endpoint   string     `json:"endpoint"`
	Kind       string     `json:"endpoint_kind,omitempty"` // of one that variables select; "" where requests are intercepted
	Mode       string     `json:"mode"`
	Reason     string     `json:"mode_reason"`
	Plan       []string   `json:"plan"`
	Residue    []string   `json:"residue"`           // of ours in the kernel, and should not be
	Delta      []string   `json:"delta"`             // should be in the kernel, and is not
	Repairs    *Repairs   `json:"repairs,omitempty"` // nil where there was nothing to repair
	Others     []string   `json:"others"`            // who may ask besides the owner, as it is configured
	Zones      []Zone     `json:"zones"`
	Notes      []string   `json:"notes"` // what a person should know of this machine
	Tree       int        `json:"tree,omitempty"`
	Guests     int        `json:"guests,omitempty"`   // commands that have an agent of their own, whose clients come through this one
	Host       int        `json:"host_pid,omitempty"` // the holder of the agent through which this one's clients come; 0: they come by itself
	Credential string     `json:"credential"`
	Source     string     `json:"source"` // the credential in words; of one that chooses, what was chosen
	Emulated   bool       `json:"emulated,omitempty"`
	Account    Account    `json:"account"`
	Down       *Down      `json:"down,omitempty"`        // nil while tokens can be had
	Paused     time.Time  `json:"paused_until,omitzero"` // no tokens are given before
	Cached     []Cached   `json:"cached"`
	Counts     Counts     `json:"counts"`
	Callers    []Activity `json:"callers"` // the last ones, newest first
}

// Owner is whose programs are served.
type Owner struct {
	UID  uint32 `json:"uid"`
	Name string `json:"name"`
}

// Account is who is signed in, as the last token said.
type Account struct {
	Name   string `json:"name,omitempty"` // a user principal name, or an application's client id
	Tenant string `json:"tenant,omitempty"`
	Type   string `json:"type,omitempty"` // "user" or "app"
	Error  string `json:"error,omitempty"`
	Hint   string `json:"hint,omitempty"`

	SignedIn string `json:"signed_in_tenant,omitempty"` // the tenant that a tool is signed in to, where that is known
	Drift    string `json:"drift,omitempty"`            // in which way this is not the sign-in that azimds was installed with
}

// Cached is one token that is held, without the token.
type Cached struct {
	Identity string    `json:"identity,omitempty"` // kind=value, empty when a client named none
	Tenant   string    `json:"tenant,omitempty"`
	Resource string    `json:"resource"`
	Expires  time.Time `json:"expires"`
	Refresh  time.Time `json:"refresh,omitzero"` // when it is renewed in the background; zero when it is not in use
	Error    string    `json:"error,omitempty"`  // why it could not be renewed last time
}

// Down says since when and why no token can be had.
type Down struct {
	Since  time.Time `json:"since"`
	Reason string    `json:"reason"`
	Hint   string    `json:"hint,omitempty"`
}

// Repairs are what of the interception had to be put back since the holder started.
type Repairs struct {
	Count   int       `json:"count"`             // how many times
	Last    time.Time `json:"last,omitzero"`     // when it was, the last time
	Missing []string  `json:"missing,omitempty"` // and what
	Fought  []string  `json:"fought,omitempty"`  // what something removes again and again
	Error   string    `json:"error,omitempty"`   // why something cannot be put back now
	Hint    string    `json:"hint,omitempty"`    // a command that mends it
	Next    time.Time `json:"next,omitzero"`     // when that is tried again, where it is not at once
}

// Counts are since the start.
type Counts struct {
	Requests uint64 `json:"requests"`
	Tokens   uint64 `json:"tokens"`
	Failures uint64 `json:"failures"`
	Refused  uint64 `json:"refused"` // connections of callers who may not talk to the agent
}

// Zone is a bridge whose containers are served, or the local device.
type Zone struct {
	Name    string   `json:"name"`              // of the bridge
	Network string   `json:"network,omitempty"` // of a container engine, where that is configured
	Subnets []string `json:"subnets"`
	Problem string   `json:"problem,omitempty"` // why it is not served; "" when it is
}
