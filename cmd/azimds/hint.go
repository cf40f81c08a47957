package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"strings"

	"azimds/imds/control"
	"azimds/imds/token"
	"azimds/netsetup"
	"azimds/netsetup/holder"
)

// Exit codes, as the reference lists them.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
	exitFound  = 3   // status found something wrong
	exitOurs   = 125 // exec: azimds itself failed, as env(1) and docker-run(1) have it
	exitCannot = 126 // exec: the command cannot be executed
	exitNoSuch = 127 // exec: there is no such command
)

// explain turns an error into what a person reads: one sentence, and the command that mends it. It is the only place with
// prose that says "run this".
func explain(err error) holder.Failure {
	f := holder.Failure{Message: err.Error(), Exit: exitFailed}
	if e, ok := errors.AsType[exitError](err); ok {
		return holder.Failure{Exit: int(e)}
	}
	if e, ok := errors.AsType[*holder.Failure](err); ok {
		return *e
	}
	if e, ok := errors.AsType[*usageError](err); ok {
		f.Hint, f.Exit = e.command+" --help", exitUsage
		return f
	}
	if e, ok := errors.AsType[*configError](err); ok {
		f.Message, f.Exit = e.Error(), exitUsage
		return f
	}
	if e, ok := errors.AsType[*detachError](err); ok {
		f.Exit = e.exit
		return f
	}
	if e, ok := errors.AsType[*token.Error](err); ok {
		f.Message, f.Hint = e.Message, e.Command
		return f
	}
	explainNetwork(err, &f)
	explainAgent(err, &f)
	return f
}

// explainNetwork speaks about what keeps the interception from being made.
func explainNetwork(err error, f *holder.Failure) {
	if e, ok := errors.AsType[*netsetup.InUseError](err); ok {
		f.Message = e.Error()
		f.Hint = "azimds run --mode iptables   # works beside a server on port 80"
	}
	if e, ok := errors.AsType[*netsetup.ForeignError](err); ok {
		f.Message = e.Error()
	}
	switch {
	case errors.Is(err, netsetup.ErrMetadataService):
		f.Message = "a metadata service answers at 169.254.169.254 already: this looks like a cloud VM, and azimds does not take its place unasked"
		f.Hint = "azimds run --shadow-metadata"
	case errors.Is(err, netsetup.ErrNoIPTables):
		f.Message = "mode iptables needs the program iptables, and it was not found in /usr/sbin, /sbin, /usr/bin or /bin, nor as root's own in PATH"
		f.Hint = "azimds run --mode loopback   # or install it: apt-get install iptables"
	case errors.Is(err, netsetup.ErrLoopbackDown):
		f.Message = "the loopback device is down, so nothing can reach 169.254.169.254 here"
		f.Hint = "ip link set lo up"
	}
}

// explainAgent speaks about agents: one too many, none, somebody else's.
func explainAgent(err error, f *holder.Failure) {
	if e, ok := errors.AsType[*holder.LockedError](err); ok {
		f.Message = fmt.Sprintf("another azimds, process %d, intercepts in this network namespace already", e.PID)
		f.Hint = "azimds stop   # or: azimds status"
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded) && strings.Contains(err.Error(), "asking the agent"):
		f.Message = "the agent does not answer; under azimds net up that means that no server runs"
		f.Hint = "azimds serve"
	case errors.Is(err, errUserToken):
		f.Hint = "azimds run --credential emulated   # a managed identity's claims, for tests; for Azure use an application's credential"
	case errors.Is(err, control.ErrNoAgent):
		f.Message = "no azimds runs in this network namespace"
		f.Hint = "azimds run"
	case errors.Is(err, holder.ErrNoHolder):
		f.Message = "nothing holds an interception in this network namespace for a server"
		f.Hint = "sudo azimds net up   # or all in one: azimds run"
	case errors.Is(err, exec.ErrNotFound) && strings.Contains(err.Error(), "sudo"):
		f.Message = "the network part needs root, and sudo was not found"
		f.Hint = "run azimds as root, with --user for whose programs it serves"
	case errors.Is(err, fs.ErrPermission) && strings.Contains(err.Error(), "asking the agent"):
		f.Message = "the azimds that runs here belongs to another user"
		f.Hint = "sudo azimds status"
	}
}

// errNeedRoot says that a command needs root.
var errNeedRoot = errors.New("this command changes the network and needs root; put sudo in front of it")

// configError is a configuration that cannot be used.
type configError struct{ err error }

func (e *configError) Error() string { return e.err.Error() }
func (e *configError) Unwrap() error { return e.err }
