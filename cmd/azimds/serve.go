package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"azimds/config"
	"azimds/imds"
	"azimds/imds/caller"
	"azimds/imds/control"
	"azimds/netsetup/holder"
	"azimds/systemd"
)

// releaseLimit is how long a server waits for its holder to take the interception down, which gives itself 15 s.
const releaseLimit = 20 * time.Second

// lostLimit is how long requests under way may take when the interception is lost.
const lostLimit = 300 * time.Millisecond

func newServe() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve on listeners handed over by azimds net up, without privilege",
		Long: `Serve is the unprivileged half of azimds alone. It asks the holder of this network namespace
(azimds net up) for its listeners, and answers on them as the user that the holder serves.`,
		Args: cobra.NoArgs,
	}
	addSettings(cmd)
	var o serveOptions
	cmd.Flags().IntVar(&o.linkFD, "link-fd", 0, "")
	cmd.Flags().IntVar(&o.tetherFD, "tether-fd", 0, "")
	cmd.Flags().BoolVar(&o.quiet, "quiet", false, "")
	cmd.Flags().DurationVar(&o.wait, "wait", 0, "how long to wait for azimds net up")
	cmd.Flags().BoolVar(&o.variables, "tell-variables", false, "")
	hide(cmd, "link-fd", "tether-fd", "quiet", "tell-variables")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return serve(cmd, o) }
	return cmd
}

type serveOptions struct {
	linkFD, tetherFD int  // open files of the process that started this one; 0 for none
	quiet            bool // print nothing on standard output
	variables        bool // tell the process that started this one the variables that select the endpoint
	wait             time.Duration
}

// serve gives up every privilege, checks the configuration, and only then asks for the listeners.
func serve(cmd *cobra.Command, o serveOptions) error {
	if err := holder.Confine(); err != nil {
		return err
	}
	read := func() (config.Config, error) { return settings(cmd, false) }
	c, err := read()
	if err != nil {
		return err
	}
	if alone(c) && o.linkFD == 0 {
		return &config.Mendable{Err: errNoServe, With: runEndpoint(c.Endpoint.Kind)}
	}
	lines := openLogs(cmd.ErrOrStderr())
	defer lines.Close()
	variables := toolVariables()
	credential, err := openCredential(c, lines)
	if err != nil {
		return err
	}
	credential.start()
	link, err := openServerLink(cmd.Context(), o, lines.logger(c.Log.Format, c.Log.Level))
	if err != nil {
		credential.close()
	}
	if errors.Is(err, errStoppedEarly) {
		return nil
	}
	if err != nil {
		return err
	}
	defer link.Close()
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if o.tetherFD != 0 {
		signal.Ignore(os.Interrupt) // the process that started this one decides
	}
	level := new(slog.LevelVar)
	level.Set(c.Log.Level)
	s := &server{
		config: c, credential: credential, link: link, quiet: o.quiet, tells: o.variables, settings: read, variables: variables,
		out: cmd.OutOrStdout(), stderr: lines, log: lines.logger(c.Log.Format, level), level: level, terminal: openTerminal(),
	}
	var stopHangups func()
	s.hangups, stopHangups = hangups()
	defer stopHangups()
	if o.tetherFD != 0 {
		s.tether = os.NewFile(uintptr(o.tetherFD), "tether")
		syscall.CloseOnExec(o.tetherFD)
		defer s.tether.Close()
	}
	return s.run(ctx)
}

// openServerLink takes over the link that this process was started with, or asks the holder of this namespace for one.
func openServerLink(ctx context.Context, o serveOptions, log *slog.Logger) (*holder.Link, error) {
	if o.linkFD != 0 {
		syscall.CloseOnExec(o.linkFD)
		return holder.OpenLink(os.NewFile(uintptr(o.linkFD), "link"))
	}
	path, err := holder.AttachSocket()
	if err != nil {
		return nil, err
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
	defer stop()
	var say sync.Once
	for end := time.After(o.wait); ; {
		link, err := holder.DialLink(path)
		if !errors.Is(err, holder.ErrNoHolder) || o.wait == 0 {
			return link, err
		}
		say.Do(func() { log.Info("waiting for azimds net up") })
		select {
		case <-ctx.Done():
			return nil, errStoppedEarly
		case <-end:
			return nil, err
		case <-time.After(holderNap):
		}
	}
}

// holderNap is the pause between two looks for a holder, which starts in some 100 ms.
const holderNap = 100 * time.Millisecond

// server is the unprivileged process: the metadata endpoint, the control socket and the link to the holder.
type server struct {
	config     config.Config // of the start
	credential *credential   // of the start
	settings   func() (config.Config, error)
	variables  environment // before the credential was opened
	link       *holder.Link
	tether     *os.File // to the process that started this one; nil under a service manager
	hangups    <-chan os.Signal
	terminal   terminal
	quiet      bool
	tells      bool // the variables that select the endpoint
	out        io.Writer
	stderr     io.Writer
	log        *slog.Logger
	level      *slog.LevelVar // of log
}

// run says hello, takes the listeners and serves until the interception has been taken down, or is lost.
func (s *server) run(ctx context.Context) error {
	cut := s.watchTether()
	if err := s.link.Send(holder.Message{Kind: holder.KindHello}, os.Stderr); err != nil {
		return unlessCut(cut, err)
	}
	offer, listener, controlLn, outlets, err := s.takeOffer()
	if errors.Is(err, errStoppedEarly) {
		return nil
	}
	if err != nil {
		return unlessCut(cut, err)
	}
	defer listener.Close()
	defer controlLn.Close()
	if err := holder.Confined(offer.Owner); err != nil {
		return fmt.Errorf("refusing to serve with more privilege than a server may have: %w", err)
	}
	a, err := newAgent(s, offer)
	if err != nil {
		return err
	}
	defer a.keeper.close()
	a.guests.known = outlets
	defer a.guests.close()
	metadata, resolver, err := s.metadata(a)
	if err != nil {
		return err
	}
	defer resolver.Close()

	serving, drain := context.WithCancel(context.WithoutCancel(ctx))
	defer drain()
	group, failing := errgroup.WithContext(serving)
	a.supply.Load().start(failing)
	defer func() { a.supply.Load().close() }()
	served, err := s.serving(a, metadata)
	if err != nil {
		return err
	}
	a.zones = newZones(failing, served, s.log)
	a.zones.moves = a.env != nil
	accepting, quit := context.WithCancel(failing)
	defer quit()
	a.endpoint = &endpoint{ctx: accepting, quit: quit, group: group, serve: served.Serve, log: s.log}
	a.endpoint.begin(listener)
	a.control = func(ln *net.UnixListener) {
		group.Go(func() error { return control.Serve(failing, ln, offer.Owner.UID, a, s.log) })
	}
	a.control(controlLn)
	group.Go(func() error {
		defer a.zones.wait()
		defer drain()
		return a.followHolder()
	})
	group.Go(func() error { return s.awaitEnd(ctx, failing, a, cut) })
	group.Go(func() error {
		a.followHangups(failing)
		return nil
	})
	if s.tether == nil { // or else the service is the process that started this one
		group.Go(func() error { return systemd.Watchdog(failing, a.living) })
	}
	ended := make(chan error, 1)
	go func() { ended <- group.Wait() }()
	select {
	case err := <-ended:
		return err
	case <-a.lost: // nothing is intercepted any more: nobody is worth a full drain
	}
	if a.env != nil { // there is no janitor then
		if err := holder.RemoveAlone(offer.Dir); err != nil {
			s.log.Warn("removing the state folder", "error", err)
		}
	}
	select {
	case err := <-ended:
		return err
	case <-time.After(lostLimit):
		return errHolderGone
	}
}

// metadata assembles the metadata server.
func (s *server) metadata(a *agent) (*imds.Server, *caller.Resolver, error) {
	resolver := caller.NewResolver()
	m, err := imds.New(imds.Options{
		Dialed:    a.dialed,
		Callers:   resolver,
		Admit:     a.admit,
		PassOn:    a.passOn,
		Screen:    a.screen,
		Describe:  a.keeper.describe,
		Allow:     a.keeper.allow,
		Owner:     a.keeper.ownersConnection,
		Available: a.available,
		Ours:      a.ours,
		Source:    lending{a},
		Issuer:    func() http.Handler { return a.supply.Load().credential.issuer },
		Log:       s.log,
		Observe:   a.observe,
		Ebbed:     ebbing(giveBack),
		Limits:    imds.Limits{Connections: s.config.Limits.Connections},
	})
	return m, resolver, err
}

// takeOffer waits for the holder's answer to the hello. A holder that could not start says why.
func (s *server) takeOffer() (*holder.Offer, net.Listener, *net.UnixListener, map[uint64]*holder.Outlet, error) {
	m, files, err := s.link.Receive()
	defer func() {
		for _, f := range files {
			f.Close() // the listeners are duplicates
		}
	}()
	switch {
	case errors.Is(err, io.EOF):
		err = errHolderGone
	case err != nil:
	case m.Kind == holder.KindStopped && m.Error == "":
		err = errStoppedEarly
	case m.Kind == holder.KindFailed && m.Failure != nil:
		err = m.Failure
	case m.Kind != holder.KindOffer || m.Offer == nil || len(files) != 2+len(m.Offer.Guests):
		err = fmt.Errorf("waiting for the listeners: the holder sent %q with %d files", m.Kind, len(files))
	}
	if err != nil {
		return nil, nil, nil, nil, err
	}
	endpoint, err := holder.OpenListener(files[0])
	if err != nil {
		return nil, nil, nil, nil, fmt.Errorf("opening the endpoint's listener: %w", err)
	}
	controlLn, err := openControl(files[1])
	if err != nil {
		return nil, nil, nil, nil, errors.Join(err, endpoint.Close())
	}
	outlets, err := openOutlets(m.Offer.Guests, files[2:])
	if err != nil {
		return nil, nil, nil, nil, errors.Join(err, endpoint.Close(), controlLn.Close())
	}
	return m.Offer, endpoint, controlLn, outlets, nil
}

// openControl opens the listener of the control socket, which is the holder's. The file stays the caller's to close.
func openControl(file *os.File) (*net.UnixListener, error) {
	ln, err := net.FileListener(file)
	if err != nil {
		return nil, fmt.Errorf("opening the control listener: %w", err)
	}
	controlLn, ok := ln.(*net.UnixListener)
	if !ok {
		return nil, errors.Join(errors.New("opening the control listener: it is no unix socket"), ln.Close())
	}
	controlLn.SetUnlinkOnClose(false)
	return controlLn, nil
}

// watchTether returns what is closed when the process that started this one wants it to end, or has ended.
func (s *server) watchTether() <-chan struct{} {
	cut := make(chan struct{})
	if s.tether != nil {
		go func() { // ends with the tether, which run's caller closes
			defer close(cut)
			if _, err := io.Copy(io.Discard, s.tether); err != nil {
				s.log.Debug("reading the tether", "error", err)
			}
		}()
	}
	return cut
}

// unlessCut is why the start failed, unless it was called off: the holder, which ends at the same time, may be quicker.
func unlessCut(cut <-chan struct{}, err error) error {
	if errors.As(err, new(*holder.Failure)) {
		return err
	}
	select {
	case <-cut:
		return nil
	case <-time.After(lostLimit):
		return err
	}
}

// awaitEnd asks the holder to stop when ctx ends, or the tether is cut.
func (s *server) awaitEnd(ctx, serving context.Context, a *agent, cut <-chan struct{}) error {
	select {
	case <-ctx.Done():
	case <-cut:
	case <-a.told:
	case <-serving.Done():
		return nil
	}
	if s.tether == nil {
		if err := systemd.Stopping(); err != nil {
			s.log.Warn("stopping", "error", err)
		}
		a.endpoint.end() // the interception stays: who has connected is answered as long as the holder can be asked about them
	}
	a.release()
	select {
	case <-serving.Done():
		return nil
	case <-time.After(releaseLimit):
		return errHolderSilent
	}
}

// errHolderSilent says that the process that holds the interception was asked to end and did not.
var errHolderSilent = errors.New("stopping: the holder does not answer")

// errStoppedEarly says that the agent was stopped before there was anything to serve on.
var errStoppedEarly = errors.New("stopped before the start was over")

// errHolderGone says that the process that holds the interception has ended: its janitor takes it down.
var errHolderGone = errors.New("the process that holds the interception has ended")
