package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"azimds/config"
	"azimds/imds"
	"azimds/imds/caller"
	"azimds/netsetup"
	"azimds/netsetup/engine"
	"azimds/netsetup/holder"
)

// exemptGroup is the supplementary group whose members the interception passes by. Root gives it to the server alone: it
// is how the agent itself reaches a real metadata service. It is in a range that nobody hands out (Debian policy 9.2.2,
// systemd's UIDS-GIDS) and that user namespaces of 65536 ids have. It is no boundary: who gets into it only passes by.
const exemptGroup = 65530

// stopLimit bounds a stop: releaseLimit, the drain of 5 s, and what is left to two processes to end.
const stopLimit = 30 * time.Second

// launch is an agent that this process started: a server, and a holder that is this process itself when it is root and was
// started through sudo otherwise.
type launch struct {
	owner  holder.Owner
	groups groupIDs
	server *exec.Cmd
	tether *os.File // the server reports on it, and stops when it ends
	ready  chan struct{}
	// variables select the server's endpoint, where it was to tell them; read after ready.
	variables []imds.Variable
	ended     chan struct{} // closed when server and holder have ended
	err       error         // why; read after ended
	cancel    context.CancelFunc
}

// launchOptions say how to launch.
type launchOptions struct {
	config config.Config
	args   []string // settings for the server
	quiet  bool     // print nothing on standard output
	name   string   // of the instance, where nothing is intercepted
	// variables has the server tell those that select its endpoint.
	variables bool
	tree      int // serve only descendants of this process; 0 serves all of the owner's
	log       *slog.Logger
	// environ is this process's environment before it was scrubbed: for the server, and for a command.
	environ []string
}

// start starts the server and the holder. It returns when both are under way; ready and ended tell how it goes on.
func start(ctx context.Context, o launchOptions) (*launch, error) {
	owner, err := ownerFor(o.config.User)
	if err != nil {
		return nil, err
	}
	if os.Geteuid() != 0 && owner.UID != uint32(os.Getuid()) {
		return nil, fmt.Errorf("serving %s: %w", owner, errNeedRoot)
	}
	var want netsetup.Want
	if !alone(o.config) {
		if want, err = wanted(o.config); err != nil {
			return nil, err
		}
	}
	groups, err := readGroupIDs()
	if err != nil {
		return nil, err
	}
	holderEnd, serverEnd, err := holder.Pair()
	if err != nil {
		return nil, err
	}
	defer serverEnd.Close()
	if err := keepFiles(owner); err != nil {
		return nil, errors.Join(err, holderEnd.Close())
	}
	ctx, cancel := context.WithCancel(ctx)
	l := &launch{owner: owner, groups: groups, ready: make(chan struct{}), ended: make(chan struct{}), cancel: cancel}
	if err := l.startServer(serverEnd, o); err != nil {
		cancel()
		return nil, errors.Join(err, holderEnd.Close())
	}
	held := make(chan error, 1)
	switch {
	case alone(o.config):
		go func() { held <- holdAlone(ctx, holderEnd, l.aloneOptions(o)) }()
	case os.Geteuid() == 0:
		go func() { held <- hold(ctx, holderEnd, l.holderOptions(o, want)) }()
	default:
		go func() { held <- sudoHold(holderEnd, o) }()
	}
	go l.follow(held)
	return l, nil
}

// startServer starts the server as the owner, in a session of its own: a terminal's Ctrl-C is for this process.
func (l *launch) startServer(link *os.File, o launchOptions) error {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("making a socket pair: %w", err)
	}
	l.tether = os.NewFile(uintptr(fds[0]), "tether")
	theirs := os.NewFile(uintptr(fds[1]), "tether")
	defer theirs.Close()
	args := append([]string{"serve", "--link-fd=3", "--tether-fd=4"}, o.args...)
	if o.quiet {
		args = append(args, "--quiet")
	}
	if o.variables {
		args = append(args, "--tell-variables")
	}
	l.server = exec.Command("/proc/self/exe", args...)
	l.server.Args[0] = "azimds"
	l.server.Stdout, l.server.Stderr = os.Stdout, os.Stderr
	l.server.ExtraFiles = []*os.File{link, theirs}
	l.server.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if os.Geteuid() == 0 {
		l.server.SysProcAttr.Credential = l.groups.credential(l.owner, exemptGroup)
	}
	l.server.Env = serverEnviron(l.owner, o.config, o.environ)
	if err := l.server.Start(); err != nil {
		return errors.Join(fmt.Errorf("starting the server as %s: %w", l.owner, err), l.tether.Close())
	}
	return nil
}

func (l *launch) holderOptions(o launchOptions, want netsetup.Want) holder.Options {
	server := l.server.Process.Pid
	return holder.Options{
		Want:        want,
		Owner:       l.owner,
		ExemptGroup: l.groups.exemption(),
		Tree:        o.tree,
		Janitor:     []string{"/proc/self/exe", "janitor"},
		JanitorLog:  os.Stderr,
		Explain:     explain,
		InTree:      inTree(o.tree, server),
		Networks:    engine.Usual().Networks,
		Mine:        inTree(o.tree),
		Find:        findProcess(),
		Log:         o.log,
		After:       stopHere,
	}
}

// inTree asks /proc whether a socket belongs to the command's process tree.
func inTree(tree int, except ...int) func(uint64) (bool, error) {
	return func(inode uint64) (bool, error) {
		_, ok, err := caller.InTree("/proc", inode, tree, except...)
		return ok, err
	}
}

// findProcess says who has a client's socket open, to a server that may not look at everybody's processes. Of other sockets it says
// nothing: the server is the owner's, who must not learn of other users' programs what the system keeps from them. What it keeps
// between two questions ends with this process.
func findProcess() func(inode uint64, uid uint32, client netip.AddrPort) (holder.Process, bool) {
	find := findDialer()
	return func(inode uint64, uid uint32, client netip.AddrPort) (holder.Process, bool) {
		return find(inode, uid, client, netsetup.Endpoint)
	}
}

// hold is the holder in this process.
func hold(ctx context.Context, end *os.File, o holder.Options) error {
	link, err := holder.OpenLink(end)
	if err != nil {
		return err
	}
	return holder.Run(ctx, link, o)
}

// scrub keeps what a person can set from the programs that this process starts as root.
func scrub() error {
	if os.Geteuid() != 0 {
		return nil
	}
	return netsetup.ScrubEnvironment()
}

// keepFiles keeps the files that this process was started with from processes of another user: they may be root's.
func keepFiles(owner holder.Owner) error {
	if owner.UID == uint32(os.Getuid()) {
		return nil
	}
	if err := unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("keeping open files from processes of %s: %w", owner, err)
	}
	return nil
}

// sudoHold starts the holder through sudo, with the link as its standard input: sudo closes every other file. It returns
// when sudo has: the holder has then gone on by itself, and its life hangs on the link.
func sudoHold(end *os.File, o launchOptions) error {
	defer end.Close()
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	args := []string{"-p", "azimds needs root for the network part. Password for %p: ", "--", self, "hold",
		"--tree=" + strconv.Itoa(o.tree)}
	args = append(args, holdArgs(o.config)...)
	sudo := exec.Command("sudo", args...)
	sudo.Stdin, sudo.Stdout, sudo.Stderr = end, os.Stderr, os.Stderr
	if err := sudo.Run(); err != nil {
		if errors.As(err, new(*exec.ExitError)) {
			err = errors.Join(errSudo, err)
		}
		return fmt.Errorf("starting the network part through sudo: %w", err)
	}
	return nil
}

// follow waits for both processes, and for the server's word that it is ready.
func (l *launch) follow(held <-chan error) {
	defer close(l.ended)
	go l.report()
	holderErr := <-held
	if holderErr != nil && os.Geteuid() != 0 {
		l.stop() // sudo said no: nobody will answer the server
	}
	serverErr := l.server.Wait()
	l.cancel()
	var exit *exec.ExitError
	switch {
	case errors.As(serverErr, &exit) && exit.Exited():
		l.err = exitError(exit.ExitCode()) // it has said why
		if os.Geteuid() != 0 && holderErr != nil {
			l.err = holderErr
		}
	case serverErr != nil:
		l.err = fmt.Errorf("running the server: %w", serverErr)
	case holderErr != nil:
		l.err = holderErr
	}
}

// report closes ready when the server says so.
func (l *launch) report() {
	lines := bufio.NewReader(l.tether)
	line, err := lines.ReadString('\n')
	if told, is := strings.CutPrefix(line, variablesLine); is && err == nil {
		if l.variables, err = parseVariables(told); err == nil {
			line, err = lines.ReadString('\n')
		}
	}
	if err == nil && line == readyLine {
		close(l.ready)
	} else if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrClosed) {
		slog.Debug("reading the tether", "error", err)
	}
}

// stop has both processes end; it does not wait.
func (l *launch) stop() {
	l.cancel()
	if raw, err := l.tether.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_WR) })
	}
}

// reload has the server read its configuration anew.
func (l *launch) reload() {
	if err := l.server.Process.Signal(syscall.SIGHUP); err != nil && !errors.Is(err, os.ErrProcessDone) {
		slog.Warn("passing on SIGHUP", "error", err)
	}
}

// wait stops the agent and waits until it has ended. A server that does not end in time is killed.
func (l *launch) wait() error {
	l.stop()
	select {
	case <-l.ended:
	case <-time.After(stopLimit):
		if err := l.server.Process.Kill(); err != nil {
			return fmt.Errorf("ending the server: %w", err)
		}
		<-l.ended
	}
	return l.err
}

func levelName(l slog.Level) string { return strings.ToLower(l.String()) }
