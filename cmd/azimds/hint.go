package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"azimds/config"
	"azimds/imds/control"
	"azimds/imds/token"
	"azimds/netsetup"
	"azimds/netsetup/holder"
	"azimds/systemd"
)

// Exit codes, as the reference lists them.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
	exitFound  = 3   // status found something wrong, or doctor a problem
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
	if errors.As(err, new(*holder.SaidError)) { // the server speaks to the person
		return holder.Failure{Exit: exitFailed}
	}
	if e, ok := errors.AsType[*holder.Failure](err); ok {
		return *e
	}
	if e, ok := errors.AsType[*usageError](err); ok {
		f.Hint, f.Exit = e.command+" --help", exitUsage
		return f
	}
	if e, ok := errors.AsType[*configError](err); ok {
		f.Message, f.Hint, f.Exit = e.Error(), e.hint(), exitUsage
		return f
	}
	if e, ok := errors.AsType[*token.Error](err); ok {
		f.Message, f.Hint = e.Message, e.Command
		return f
	}
	f.Hint = strings.Join(config.Commands(err), "\n")
	explainNetwork(err, &f)
	explainAgent(err, &f)
	explainRoot(err, &f)
	return f
}

// explainNetwork speaks about what keeps the interception from being made.
func explainNetwork(err error, f *holder.Failure) {
	if e, ok := errors.AsType[*netsetup.InUseError](err); ok {
		f.Message = e.Error()
		f.Hint = "azimds run --mode iptables   # works beside a server on port 80"
		if errors.Is(err, netsetup.ErrNoIPTables) {
			f.Message += "; and mode iptables, which works beside it, needs the program iptables"
			f.Hint = "sudo apt-get install iptables"
		}
		return
	}
	if e, ok := errors.AsType[*netsetup.ForeignError](err); ok {
		f.Message = e.Error()
		commands := make([]string, len(e.Remove))
		for i, command := range e.Remove {
			commands[i] = "sudo " + command
		}
		f.Hint = strings.Join(commands, "\n")
	}
	switch {
	case errors.Is(err, netsetup.ErrMetadataService):
		f.Message = "a metadata service answers at 169.254.169.254 already: this looks like a cloud VM, and azimds does not take its place unasked"
		f.Hint = "azimds run --shadow-metadata"
	case errors.Is(err, netsetup.ErrNotPermitted):
		f.Message = "root may not change the network here: it has no CAP_NET_ADMIN, as in a container that was not given it"
		f.Hint = "docker run --cap-add NET_ADMIN …   # or without it: azimds exec --endpoint app-service -- COMMAND"
	case errors.Is(err, netsetup.ErrNoIPTables):
		f.Message = "mode iptables needs the program iptables, and it was not found in /usr/sbin, /sbin, /usr/bin or /bin, nor as root's own in PATH"
		f.Hint = "azimds run --mode loopback   # or install it: apt-get install iptables"
	case errors.Is(err, netsetup.ErrIPTables):
		f.Message = "mode iptables needs the program iptables, and it does not work here: " + lastWords(err)
		f.Hint = "azimds run --mode loopback"
	case errors.Is(err, netsetup.ErrNoNetfilter):
		f.Message = "mode iptables needs netfilter, and this kernel has none: " + lastWords(err)
		f.Hint = "azimds run --mode loopback"
	case errors.Is(err, netsetup.ErrNoDummy):
		f.Message = "mode dummy needs the kernel's module dummy, and this kernel has none"
		f.Hint = "azimds run --mode loopback   # or, where the module is installed: sudo modprobe dummy"
	case errors.Is(err, holder.ErrNotReached) && len(barriers()) > 0:
		f.Message, f.Hint = "the kernel does not route to 169.254.169.254, and mode iptables does not work so: it is refused by", ""
		for n, b := range barriers() {
			if n > 0 {
				f.Message, f.Hint = f.Message+", and by", f.Hint+"\n"
			}
			f.Message, f.Hint = f.Message+" the "+b.What, f.Hint+withSudo(b.Remove)
		}
	case errors.Is(err, holder.ErrNotReached):
		f.Message = "connections to 169.254.169.254 do not arrive here, does a firewall drop them? " + err.Error()
		f.Hint = "sudo iptables -S OUTPUT"
	case errors.Is(err, netsetup.ErrLoopbackDown):
		f.Message = "the loopback device is down, so nothing can reach 169.254.169.254 here"
		f.Hint = "sudo ip link set lo up"
	}
}

// runEndpoint is how an agent with an endpoint is started.
func runEndpoint(kind config.EndpointKind) string {
	return "azimds run --endpoint " + string(kind)
}

// explainAlone is explain for an agent that intercepts nothing, and has an endpoint.
func explainAlone(err error, kind config.EndpointKind) holder.Failure {
	f := explain(err)
	if e, ok := errors.AsType[*netsetup.InUseError](err); ok {
		f.Message, f.Hint = e.Error(), runEndpoint(kind)+" --endpoint-port 0   # one that is free; azimds env prints it"
	}
	if e, ok := errors.AsType[*holder.LockedError](err); ok {
		f.Message = "another azimds of yours, process " + strconv.Itoa(e.PID) + ", serves an endpoint in this network namespace already"
		f.Hint = "azimds stop   # or ask that one: azimds env"
	}
	return f
}

// barriers are what keeps the owner's programs from the address by routing. Where they cannot be listed, what failed is said as it is.
func barriers() []netsetup.Barrier {
	owner, err := ownerFor("")
	if err != nil {
		return nil
	}
	found, err := netsetup.Barriers(owner.UID)
	if err != nil {
		return nil
	}
	return found
}

// lastWords is what a program said itself, at the end of an error that says how it was started.
func lastWords(err error) string {
	words := err.Error()
	if at := strings.LastIndex(words, "exit status "); at >= 0 {
		_, words, _ = strings.Cut(words[at:], ": ")
	}
	return words
}

// explainAgent speaks about agents: one too many, none, somebody else's.
func explainAgent(err error, f *holder.Failure) {
	if e, ok := errors.AsType[*holder.LockedError](err); ok {
		f.Message = "another azimds, process " + strconv.Itoa(e.PID) + ", intercepts in this network namespace already"
		f.Hint = "azimds stop   # or: azimds status"
		switch {
		case e.Owner != nil:
			f.Message += ", for " + e.Owner.String() + ", and lets in nobody else's command"
			f.Hint = "sudo azimds stop   # or: sudo azimds status"
		case e.Mode != "":
			f.Message += ", in mode " + string(e.Mode) + ", which is also that of an azimds exec beside it"
			f.Hint = "azimds status   # and leave --mode away"
		case !agentAnswers():
			f.Hint = "sudo azimds net down"
		}
	}
	switch {
	case errors.Is(err, holder.ErrHostSilent):
		f.Hint = "azimds serve   # or take the interception down: sudo azimds net down"
	case errors.Is(err, context.DeadlineExceeded) && strings.Contains(err.Error(), "asking the agent"):
		f.Message = "the agent does not answer; under azimds net up that means that no server runs"
		f.Hint = "azimds serve   # or take the interception down: sudo azimds net down"
	case errors.Is(err, errNoVariables), errors.Is(err, errNoEndpoint):
		f.Hint = runEndpoint(config.EndpointAppService)
	case errors.Is(err, errHolderGone):
		f.Hint = "azimds run"
	case errors.Is(err, errHolderSilent), errors.Is(err, context.DeadlineExceeded) && strings.Contains(err.Error(), "waiting for the agent to end"):
		f.Hint = "sudo azimds net down"
	case errors.Is(err, errUserToken):
		f.Hint = "az ad sp create-for-rbac --name azimds   # an application to lend; or for tests: azimds run --credential emulated"
	case errors.Is(err, errFileExists):
		f.Hint = "azimds config init -   # prints it instead"
	case errors.Is(err, control.ErrNoAgent):
		f.Message = "no azimds runs in this network namespace"
		f.Hint = startHint()
	case errors.Is(err, holder.ErrNoHolder):
		f.Message = "nothing holds an interception in this network namespace for a server"
		f.Hint = "sudo azimds net up   # or all in one: azimds run"
	case errors.Is(err, fs.ErrPermission) && strings.Contains(err.Error(), "connecting to the holder"):
		f.Message = "the interception here is held for another user"
		f.Hint = commandLine("sudo", "-u", holdersUser(), "azimds")
	case errors.Is(err, fs.ErrPermission) && strings.Contains(err.Error(), "asking the agent"):
		f.Message = "the azimds that runs here belongs to another user"
		f.Hint = "sudo azimds status"
	}
}

// explainRoot speaks about what needs root.
func explainRoot(err error, f *holder.Failure) {
	switch {
	case errors.Is(err, errNeedRoot), errors.Is(err, errInstallNeedsRoot):
		f.Hint = commandLine("sudo", "azimds")
	case errors.Is(err, exec.ErrNotFound) && strings.Contains(err.Error(), "sudo"):
		f.Message = "the network part needs root, and sudo was not found"
		f.Hint = asRoot()
	case errors.Is(err, errSudo):
		f.Message = "sudo did not start the network part, which needs root"
		f.Hint = asRoot()
	}
}

// startHint is how an agent is started here.
func startHint() string {
	if _, err := os.Stat(systemd.ServerSettings); err == nil {
		return "sudo systemctl start azimds   # and why it does not run: journalctl -u azimds-net -u azimds"
	}
	return "azimds run"
}

// holdersUser is the user for whom an interception is held.
func holdersUser() string {
	uid := 0
	if path, err := holder.AttachSocket(); err == nil {
		if info, err := os.Stat(path); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				uid = int(st.Uid)
			}
		}
	}
	return userName(uid)
}

// agentAnswers tells whether whoever holds the interception has a server that can be asked to stop.
func agentAnswers() bool {
	client, err := agentClient()
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), answerLimit)
	defer cancel()
	_, err = client.Status(ctx)
	return !errors.Is(err, control.ErrNoAgent) && !errors.Is(err, context.DeadlineExceeded)
}

// commandLine is the command that was given, with other words in the place of the program.
func commandLine(words ...string) string {
	return shellWords(append(words, typed()...))
}

// typed are the arguments as a person gave them: "run --detach" starts this program anew with others.
func typed() []string {
	args := slices.Clone(os.Args[1:])
	for i, a := range args {
		if strings.HasPrefix(a, "--ready-fd=") {
			args[i] = "--detach"
		}
	}
	return args
}

func shellWords(words []string) string {
	for i, w := range words {
		words[i] = shellWord(w)
	}
	return strings.Join(words, " ")
}

// asRoot is the command that was given, for this user, with root's password instead of sudo.
func asRoot() string {
	words := append([]string{"azimds"}, typed()...)
	if len(words) > 1 {
		words = slices.Insert(words, 2, "--user", userName(os.Getuid()))
	}
	return "su -c " + shellWord(shellWords(words))
}

// shellWord writes a text as one word of a POSIX shell, as it is where nothing in it means anything there.
func shellWord(s string) string {
	plain := func(r rune) bool {
		return '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || strings.ContainsRune("._:/@=,-", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// errNeedRoot says that a command needs root.
var errNeedRoot = errors.New("this command changes the network and needs root")

// errSudo says that sudo did not do what it was asked to; it has said why.
var errSudo = errors.New("sudo refused")

// configError is a configuration that cannot be used.
type configError struct {
	err  error
	flag string // the command whose flags are meant, "azimds run"; "" for any
}

func (e *configError) Error() string { return e.err.Error() }
func (e *configError) Unwrap() error { return e.err }

// hint is the commands that mend it, a line each. Something that is not set anywhere is set in a configuration file.
func (e *configError) hint() string {
	if told, ok := errors.AsType[*token.Error](e.err); ok {
		return told.Command
	}
	commands := config.Commands(e.err)
	for i, command := range commands {
		if command == "--help" {
			commands[i] = strings.TrimSpace(e.flag + " --help")
		}
	}
	if len(commands) > 0 {
		return strings.Join(commands, "\n")
	}
	file := config.UserFile(os.Environ())
	if os.Geteuid() == 0 {
		file = config.SystemFile
	}
	if _, err := os.Stat(filepath.Clean(file)); err == nil {
		return `"${EDITOR:-vi}" ` + shellWord(file)
	}
	return "azimds config init"
}
