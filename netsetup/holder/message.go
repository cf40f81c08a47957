package holder

import (
	"net/netip"

	"azimds/netsetup"
)

// Kind names a message on a [Link].
type Kind string

// The messages, in the order of a session. Each is one JSON object in one datagram.
const (
	KindHello    Kind = "hello"    // server: configuration is valid, hand me the listeners
	KindOffer    Kind = "offer"    // holder: the listeners, as file descriptors, and what they are
	KindZone     Kind = "zone"     // holder: a bridge, with its listener where it is served; from now on at any time
	KindEndpoint Kind = "endpoint" // holder: the endpoint's listener, made anew; from now on at any time
	KindCheck    Kind = "check"    // holder: the next connection from this socket inode is mine; 0: none is any more
	KindExpect   Kind = "expect"   // server: let it come
	KindSeen     Kind = "seen"     // server: it came, and this is who the kernel says it was
	KindReady    Kind = "ready"    // holder: seen and answered; the interception works
	KindAsk      Kind = "ask"      // server: is this socket in the command's process tree; or: report
	KindFind     Kind = "find"     // server: whose is this client's socket, whom I may not look at; answered as an ask
	KindAnswer   Kind = "answer"   // holder: the answer to an ask, with its ID
	KindStop     Kind = "stop"     // server: take it down
	KindStopped  Kind = "stopped"  // holder: it is down
	KindFailed   Kind = "failed"   // holder: it cannot be done, and why
	KindGuest    Kind = "guest"    // holder: a guest, with where its connections go; without that it is gone. Server: I know
	KindWhose    Kind = "whose"    // server: which guest's is this socket; answered as an ask
)

// The messages between two holders, a host and its guest, over the host's guest socket. The host asks whose a socket is, too.
const (
	KindVisit   Kind = "visit"   // guest: let me be one; this is where my connections go
	KindHost    Kind = "host"    // host: you are, and this is what I have
	KindRefused Kind = "refused" // either: no, and why
	KindBequest Kind = "bequest" // host: I end; take the plan, the lock and the listener over
	KindTaken   Kind = "taken"   // guest: I have
	KindMove    Kind = "move"    // host: another guest has taken it over; be a guest of that one
	KindMoved   Kind = "moved"   // guest: I am
	KindAlone   Kind = "alone"   // host: nobody but you accepts any more
	KindLeave   Kind = "leave"   // host: I end, and another one follows at once
)

// Message is everything that crosses a [Link]; a kind uses the fields that it names.
type Message struct {
	Kind    Kind             `json:"kind"`
	Offer   *Offer           `json:"offer,omitempty"`
	Zone    *Zone            `json:"zone,omitempty"`
	Inode   uint64           `json:"inode,omitempty"`
	UID     uint32           `json:"uid,omitempty"`
	Client  netip.AddrPort   `json:"client,omitzero"`
	ID      uint64           `json:"id,omitempty"`
	InTree  bool             `json:"in_tree,omitempty"`
	Report  *netsetup.Report `json:"report,omitempty"`
	Repairs *Repairs         `json:"repairs,omitempty"`
	Process *Process         `json:"process,omitempty"`
	Failure *Failure         `json:"failure,omitempty"`
	Error   string           `json:"error,omitempty"`
	Guest   uint64           `json:"guest,omitempty"`
	Visit   *Visit           `json:"visit,omitempty"`
	Bequest *bequest         `json:"bequest,omitempty"`
}

// Process is who has a socket open.
type Process struct {
	PID        int    `json:"pid"`
	Executable string `json:"exe,omitempty"`
	Command    string `json:"command,omitempty"`
}

// Offer describes the listeners that travel with it: the endpoint's, then the control socket's, and where the connections of
// each guest go. A guest's server gets one end of a socket pair instead of the endpoint's listener: see [OpenListener].
type Offer struct {
	Plan   netsetup.Plan `json:"plan"`
	Reason string        `json:"reason"` // why this mode, one sentence
	Owner  Owner         `json:"owner"`
	Dir    string        `json:"dir"`              // the instance's state folder
	Tree   int           `json:"tree"`             // serve only descendants of this pid; 0 serves all of the owner's processes
	Holder int           `json:"holder"`           // pid
	Host   int           `json:"host,omitempty"`   // pid of the holder that this one is a guest of; 0: of none
	Guests []uint64      `json:"guests,omitempty"` // those that are there already
}

// Failure is why a session could not start or had to end, already in words: the types behind it do not cross the link.
type Failure struct {
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"` // a command to paste
	Exit    int    `json:"exit"`
}

func (f *Failure) Error() string { return f.Message }
