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

// addresses are the verbs needed of netlink, in the calling thread's network namespace. Add and Delete take a [link], an
// [upLink], an [address], a [localRoute] or a [policy]; deleting what is not there is no error. Adding a link wraps
// [ErrNoDummy] where the kernel does not know its kind.
type addresses interface {
	Links(context.Context) ([]linkState, error)                  // every device
	Addresses(context.Context) ([]address, error)                // every IPv4 address of every device
	Routes(ctx context.Context, table int) ([]localRoute, error) // the routes of type local in a table
	Policies(context.Context) ([]policy, error)                  // every IPv4 policy rule
	Add(ctx context.Context, object any) error
	Delete(ctx context.Context, object any) error
}

// firewall are the verbs needed of iptables. A spec is a rule in the words of "iptables -S". Deleting what is
// not there is no error. All of them wrap [ErrNoIPTables] where there is no such program, and [ErrNoNetfilter] where it says
// that it has nothing to work on.
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

// ErrNoNetfilter is wrapped when netfilter is needed and there is an iptables program, but the kernel lacks what it drives.
var ErrNoNetfilter = errors.New("the kernel has no netfilter for iptables")

// ErrIPTables is wrapped when there is an iptables program that does not work: it may not, or it is another one's.
var ErrIPTables = errors.New("iptables does not work")

// noFirewall tells that there are no rules because there is nowhere to put one.
func noFirewall(err error) bool {
	return errors.Is(err, ErrNoIPTables) || errors.Is(err, ErrNoNetfilter)
}

// ErrNoDummy is wrapped when mode dummy is wanted and the kernel has no links of type dummy: its module is not there, or
// nothing may load it.
var ErrNoDummy = errors.New("the kernel has no module dummy")

// ErrLoopbackDown is wrapped when the device lo, which carries every mode's connections, is down.
var ErrLoopbackDown = errors.New("device lo is down")

// ForeignError says that something which is not ours stands where something of ours should. It was not touched.
type ForeignError struct {
	What   []string // e.g. "address 169.254.169.254/32 of device eth0"
	Remove []string // the command that removes each, for whoever knows that nobody needs it
}

func (e *ForeignError) Error() string {
	return fmt.Sprintf("refusing to touch what is not ours: %s", strings.Join(e.What, "; "))
}

// foreign is something that is not ours.
type foreign struct{ what, remove string }

// foreignError is nil where there is none.
func foreignError(found []foreign) error {
	if len(found) == 0 {
		return nil
	}
	e := new(ForeignError)
	for _, f := range found {
		e.What, e.Remove = append(e.What, f.what), append(e.Remove, f.remove)
	}
	return e
}
