package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/sys/unix"

	"azimds/imds/token"
)

// Limits of a control connection: for a request to arrive, for those under way at the end, and of a form, in bytes. The
// answer has none: a token may have to be fetched, which takes as long as the credential's own limit.
const (
	readLimit  = 5 * time.Second
	drainLimit = time.Second
	maxBody    = 64 << 10
)

// Agent is what a control socket controls.
type Agent interface {
	Status(ctx context.Context) (Status, error)
	// Token gets a token for the process pid of the owner's, if the agent serves it.
	Token(ctx context.Context, pid int, r token.Request) (token.Token, error)
	// Refresh drops the cached tokens for resource, all of them for "", and says how many.
	Refresh(resource string) int
	// Pause gives no tokens for a time, 0 to give them again, and says until when; the zero time when they are given.
	Pause(length time.Duration) time.Time
	// Stop takes the agent down and returns when the interception is gone.
	Stop(ctx context.Context) error
	// Variables are what selects the agent's endpoint, where requests are not intercepted.
	Variables() (VariablesReply, error)
	// Watch has a watcher get each activity from now on.
	Watch() (*Watcher, error)
}

// TokenReply answers a token request. It goes to the owner only.
type TokenReply struct {
	AccessToken string    `json:"access_token,omitempty"`
	ExpiresOn   time.Time `json:"expires_on,omitzero"`
	Error       string    `json:"error,omitempty"`
	Hint        string    `json:"hint,omitempty"`
}

// RefreshReply answers a refresh.
type RefreshReply struct {
	Dropped int `json:"dropped"`
}

// PauseReply answers a pause.
type PauseReply struct {
	Until time.Time `json:"until,omitzero"`
}

// Serve answers on ln until ctx ends. Peers other than owner and root are hung up on; root may look, watch and stop, and
// gets no token unless root is the owner.
func Serve(ctx context.Context, ln *net.UnixListener, owner uint32, agent Agent, log *slog.Logger) error {
	srv := &http.Server{
		Handler:           http.MaxBytesHandler(handler(ctx, owner, agent, log), maxBody),
		ReadHeaderTimeout: readLimit,
		ReadTimeout:       readLimit,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if known, ok := c.(*peerConn); ok {
				return context.WithValue(ctx, peerKey{}, known.peer)
			}
			return ctx
		},
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(&ownersOnly{ln, owner, log}) }()
	select {
	case err := <-failed:
		return errors.Join(fmt.Errorf("serving the control socket: %w", err), srv.Close())
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainLimit)
	defer cancel()
	err := srv.Shutdown(drain)
	if errors.Is(err, context.DeadlineExceeded) {
		err = srv.Close()
	}
	if served := <-failed; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// handler routes requests to agent. Requests have contexts of their own: the end of serving leaves them a moment, but for
// those that would go on for ever.
func handler(serving context.Context, owner uint32, agent Agent, log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) {
		status, err := agent.Status(r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		reply(w, log, status)
	})
	mux.HandleFunc("GET /watch", func(w http.ResponseWriter, r *http.Request) { serveWatch(serving, w, r, agent, log) })
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		peer, ok := r.Context().Value(peerKey{}).(*unix.Ucred)
		if !ok || peer.Uid != owner {
			reply(w, log, TokenReply{Error: fmt.Sprintf("tokens are for uid %d alone", owner)})
			return
		}
		t, err := agent.Token(r.Context(), int(peer.Pid), token.Request{Resource: r.FormValue("resource")})
		if err != nil {
			message, hint := Explain(err)
			reply(w, log, TokenReply{Error: message, Hint: hint})
			return
		}
		reply(w, log, TokenReply{AccessToken: t.Value.Reveal(), ExpiresOn: t.ExpiresOn})
	})
	mux.HandleFunc("POST /variables", func(w http.ResponseWriter, r *http.Request) {
		reply(w, log, variables(r, owner, agent))
	})
	mux.HandleFunc("POST /refresh", func(w http.ResponseWriter, r *http.Request) {
		reply(w, log, RefreshReply{Dropped: agent.Refresh(r.FormValue("resource"))})
	})
	mux.HandleFunc("POST /pause", func(w http.ResponseWriter, r *http.Request) {
		length, err := time.ParseDuration(r.FormValue("for"))
		if err != nil || length < 0 {
			http.Error(w, "for is no time", http.StatusBadRequest)
			return
		}
		reply(w, log, PauseReply{Until: agent.Pause(length)})
	})
	mux.HandleFunc("POST /stop", func(w http.ResponseWriter, r *http.Request) {
		if err := agent.Stop(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	return mux
}

// Explain says an error in one sentence, with the command that mends it where there is one.
func Explain(err error) (message, hint string) {
	if e, ok := errors.AsType[*token.Error](err); ok {
		return e.Message, e.Command
	}
	if errors.Is(err, token.ErrUnsupportedResource) {
		return err.Error(), "azimds token https://management.azure.com/"
	}
	return err.Error(), ""
}

func reply(w http.ResponseWriter, log *slog.Logger, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		log.Debug("answering on the control socket", "error", err)
	}
}

// ownersOnly accepts connections of one uid and of root.
type ownersOnly struct {
	*net.UnixListener
	owner uint32
	log   *slog.Logger
}

// peerKey is the context's key for who is at the other end.
type peerKey struct{}

// peerConn is a connection of a known process's.
type peerConn struct {
	net.Conn
	peer *unix.Ucred
}

func (l *ownersOnly) Accept() (net.Conn, error) {
	for {
		conn, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		peer, err := peerOf(conn)
		switch {
		case err != nil:
			l.log.Warn("refused a control connection", "error", err)
		case peer.Uid == l.owner, peer.Uid == 0:
			return &peerConn{conn, peer}, nil
		default:
			l.log.Warn("refused a control connection", "uid", peer.Uid)
		}
		if err := conn.Close(); err != nil {
			l.log.Debug("closing a control connection", "error", err)
		}
	}
}

// peerOf says who opened a connection: SO_PEERCRED, unix(7).
func peerOf(conn *net.UnixConn) (*unix.Ucred, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("reading the peer's credentials: %w", err)
	}
	var cred *unix.Ucred
	var sockErr error
	err = raw.Control(func(fd uintptr) { cred, sockErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err = errors.Join(err, sockErr); err != nil {
		return nil, fmt.Errorf("reading the peer's credentials: %w", err)
	}
	return cred, nil
}
