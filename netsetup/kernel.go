package netsetup

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// kernel is all that an Interceptor touches.
type kernel struct {
	addresses addresses
	firewall  firewall
}

// addresses are the verbs needed of netlink, in the calling thread's network namespace. Add and Delete take an [address],
// a [localRoute] or a [policy]; deleting what is not there is no error.
type addresses interface {
	LinkUp(ctx context.Context, device string) (bool, error)
	Addresses(context.Context) ([]address, error)                // every IPv4 address of every device
	Routes(ctx context.Context, table int) ([]localRoute, error) // the routes of type local in a table
	Policies(context.Context) ([]policy, error)                  // every IPv4 policy rule
	Add(ctx context.Context, object any) error
	Delete(ctx context.Context, object any) error
}

// firewall are the verbs needed of iptables. A spec is a rule in the words of "iptables -S". Deleting what is
// not there is no error. All of them wrap [ErrNoIPTables] where there is no such program.
type firewall interface {
	Rules(ctx context.Context, c chain) (specs []string, exists bool, err error)
	Has(ctx context.Context, c chain, spec string) (bool, error) // as iptables -C answers; the rule's target must exist
	Insert(ctx context.Context, c chain, pos int, spec string) error
	Delete(ctx context.Context, c chain, spec string) error
	NewChain(ctx context.Context, c chain) error
	DeleteChain(ctx context.Context, c chain) error // fails when it holds rules or is jumped to
}

// ErrNoIPTables is wrapped when netfilter is needed and no iptables program is on this machine.
var ErrNoIPTables = errors.New("no iptables program")

// ErrLoopbackDown is wrapped when the device lo, which carries every mode's listener, is down.
var ErrLoopbackDown = errors.New("device lo is down")

// ForeignError says that something which is not ours stands where something of ours should. It was not touched.
type ForeignError struct {
	What []string // e.g. "address 169.254.169.254/32 of device eth0"
}

func (e *ForeignError) Error() string {
	return fmt.Sprintf("refusing to touch what is not ours: %s", strings.Join(e.What, "; "))
}
