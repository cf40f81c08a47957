package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"azimds/config"
	"azimds/imds"
	"azimds/imds/caller"
	"azimds/imds/control"
	"azimds/imds/token"
	"azimds/imds/token/signin"
)

// flightMargin is what a question to the credential may take beyond its runs of a tool: the wait for one that answers another.
const flightMargin = 30 * time.Second

// notifyLimit bounds one run of the command that notifies a person.
const notifyLimit = 30 * time.Second

// supply is a credential in use: its tokens are kept, and whether there are any is watched. A configuration that is read
// anew makes a new one.
type supply struct {
	config     config.Config
	credential *credential
	tokens     *token.Cache
	source     *token.Monitor // in front of tokens
	log        *slog.Logger
	children   *atomic.Int64 // programs that were started and may be running: see askedByOwnChild
	lost       chan error    // holds one: an episode without tokens has begun

	stop    context.CancelFunc
	running sync.WaitGroup
}

// newSupply puts a credential that has been started to use; start begins, close ends. It takes the credential over.
func newSupply(c config.Config, credential *credential, log *slog.Logger, children *atomic.Int64) *supply {
	s := &supply{config: c, credential: credential, log: log, children: children, lost: make(chan error, 1)}
	runs := 1
	if c.Credential == config.CredentialAuto {
		runs = 2 // az, then azd
	}
	source := credential.source
	if credential.tool {
		source = counted{source, children}
	}
	s.tokens = token.Cached(source, token.CacheOptions{
		FlightTimeout: time.Duration(runs)*c.AzureCLI.Timeout + flightMargin,
		Stale: func(e token.Entry) {
			log.Info("the credential has no newer token than the one that was to be passed by", "resource", e.Resource)
		},
	})
	s.source = token.Monitored(s.tokens, token.MonitorOptions{
		Check: func(ctx context.Context) error {
			if account := credential.account(ctx); account.Error != "" {
				return &token.Error{Kind: token.ErrSignInRequired, Message: account.Error, Command: account.Hint}
			}
			if credential.reach != nil {
				return credential.reach(ctx)
			}
			return nil
		},
		Fell: func(err error) {
			select {
			case s.lost <- err:
			default: // nobody has looked at the last one yet
			}
		},
		Rose: func() { log.Info("tokens can be had again") },
	})
	return s
}

// start watches the sign-in and the source until ctx ends, or close.
func (s *supply) start(ctx context.Context) {
	ctx, s.stop = context.WithCancel(ctx)
	s.running.Go(func() { s.source.Run(ctx) })
	s.running.Go(func() { s.followEpisodes(ctx) })
	if len(s.credential.files) > 0 {
		s.running.Go(func() {
			signin.Watch(ctx, s.log, s.credential.files, func(c signin.Change) {
				if c == signin.Switched {
					s.log.Info("the sign-in changed", "dropped", s.drop(""))
				}
				s.source.Recheck()
			})
		})
	}
}

// close ends what start began, and the questions under way.
func (s *supply) close() {
	s.stop()
	s.tokens.Close()
	s.credential.close()
	s.running.Wait()
}

// drop forgets the tokens for a resource, or all of them for "", and says how many.
func (s *supply) drop(resource string) int {
	return s.tokens.Drop(func(e token.Entry) bool { return resource == "" || e.Resource == resource })
}

// followEpisodes says once an episode that there is no token to be had: in the log, and by the command configured. It also
// passes on what the credential itself noticed.
func (s *supply) followEpisodes(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.credential.changed:
			s.source.Recheck()
		case err := <-s.lost:
			reason, hint := control.Explain(err)
			s.log.Warn("no token can be had", "reason", reason, "hint", hint)
			if s.config.Notify != "" {
				s.notify(ctx, reason, hint)
			}
		}
	}
}

// notify runs the command that tells a person. It gets no input, and what it prints is logged when it fails.
func (s *supply) notify(ctx context.Context, reason, hint string) {
	ctx, cancel := context.WithTimeout(ctx, notifyLimit)
	defer cancel()
	s.children.Add(1)
	defer s.children.Add(-1)
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", s.config.Notify)
	cmd.Env = append(withoutSecrets(s.config, os.Environ()), "AZIMDS_REASON="+reason, "AZIMDS_HINT="+hint)
	cmd.WaitDelay = time.Second // what it left running may hold its output
	if out, err := cmd.CombinedOutput(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		s.log.Warn("notifying", "error", err, "output", shortened(out))
	}
}

// shortened is the end of what a program said, on one line.
func shortened(out []byte) string {
	const most = 200
	text := strings.Join(strings.Fields(string(out)), " ")
	return strings.ToValidUTF8(text[max(0, len(text)-most):], "")
}

// counted counts the questions that are put to a source meanwhile.
type counted struct {
	token.Source
	open *atomic.Int64
}

// Token implements [token.Source].
func (c counted) Token(ctx context.Context, r token.Request) (token.Token, error) {
	c.open.Add(1)
	defer c.open.Add(-1)
	return c.Source.Token(ctx, r)
}

// errAskedByOwnChild refuses a program that the agent itself started to get a token, or what that started. Its words are
// recognised where they come back through the program's standard error.
var errAskedByOwnChild = &token.Error{
	Kind: token.ErrSignInRequired,
	Message: "a program that azimds started for a token asked 169.254.169.254 for it, and would be asked of azimds itself; " +
		"sign in as a person or a service principal",
	Command: "az login",
}

// lending is the [token.Source] of the metadata endpoint: the supply in use, for everybody but the agent's own children.
type lending struct{ *agent }

// Token implements [token.Source]. A question to a supply that is replaced meanwhile is put to the next.
func (l lending) Token(ctx context.Context, r token.Request) (token.Token, error) {
	if l.askedByOwnChild(ctx) {
		return token.Token{}, errAskedByOwnChild
	}
	return l.fromSupply(ctx, r)
}

// fromSupply asks the supply in use, unless there is a pause. A question to one that is replaced meanwhile is put to the next.
func (a *agent) fromSupply(ctx context.Context, r token.Request) (token.Token, error) {
	if until := a.paused(); !until.IsZero() {
		return token.Token{}, errPaused(until)
	}
	for {
		s := a.supply.Load()
		t, err := s.source.Token(ctx, r)
		if err == nil || ctx.Err() != nil || a.supply.Load() == s {
			return t, err
		}
	}
}

// askedByOwnChild tells whether the socket that a request came from belongs to this process or to one that it started. While
// none is running, nothing is looked for. Where that cannot be told, the request is as good as any of the owner's.
func (a *agent) askedByOwnChild(ctx context.Context) bool {
	who, ok := imds.CallerOf(ctx)
	if !ok || a.children.Load() == 0 {
		return false
	}
	pid, ours, err := caller.InTree("/proc", who.Inode, os.Getpid())
	if err != nil {
		a.log.Debug("looking for the caller among our own children", "error", err)
	}
	if ours {
		a.log.Warn("refused a program that azimds itself started", "pid", pid)
	}
	return ours
}
