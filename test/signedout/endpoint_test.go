//go:build signedouttable

package signedout

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"azimds/test/netns"
)

// imdsToken is the endpoint's token.
const imdsToken = "imds-token"

// hint is what a person has to get to see, marked so that it is found again in an SDK's error.
const hint = "azimds: nobody is signed in; run az login"

// reply is the answer to one request.
type reply struct {
	status     int    // 0: no answer
	close      bool   // with status 0: the connection ends with a FIN, otherwise with a RST
	text       bool   // the body is not JSON
	body       string // sent as it is; without one, 200 is a token
	retryAfter int    // seconds, 0 for none
}

// script is one way to behave.
type script struct {
	name    string
	meaning string
	absent  bool    // nothing has the address
	shut    bool    // the listening socket is shut down: connections are refused
	drop    bool    // each connection is reset as soon as it is accepted
	bare    *reply  // to probes that name no resource, where it is another one
	probe   reply   // to requests without the Metadata header: probes
	token   []reply // to requests with it, one after the other; the last one stays
	patient bool    // an SDK retries for a minute or more: its programs all run at once
	last    bool    // worth seeing what a chain says when no credential in it has a token
}

// endpoint plays a script on 169.254.169.254:80 of one namespace.
type endpoint struct {
	script script

	mu     sync.Mutex
	probes int // requests without the Metadata header
	tokens int // requests with it
}

// start listens in ns until the returned function is called.
func (e *endpoint) start(ns *netns.NS) (stop func(), err error) {
	var ln net.Listener
	err = ns.Do(func() (err error) {
		ln, err = net.Listen("tcp4", "169.254.169.254:80")
		return err
	})
	if err != nil {
		return nil, err
	}
	if e.script.shut {
		if err := shut(ln.(*net.TCPListener)); err != nil {
			return nil, err
		}
		return func() { ln.Close() }, nil
	}
	s := &http.Server{Handler: e, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError), ReadHeaderTimeout: time.Minute}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(&listener{ln, e}) // ends with stop
	}()
	return func() { s.Close(); <-done }, nil
}

// shut makes the kernel refuse connections, as if nothing listened, while the socket stays bound: listen(2) opens it again.
func shut(ln *net.TCPListener) error {
	raw, err := ln.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = unix.Shutdown(int(fd), unix.SHUT_RD) }); err != nil {
		return err
	}
	return inner
}

type listener struct {
	net.Listener
	e *endpoint
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if !l.e.script.drop {
			return c, nil
		}
		reset(c)
	}
}

func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // it ends either way
	}
	c.Close()
}

// next is the answer to r, as the script has it.
func (e *endpoint) next(r *http.Request) reply {
	e.mu.Lock()
	defer e.mu.Unlock()
	if r.Header.Get("Metadata") != "" {
		e.tokens++
		return e.script.token[min(e.tokens, len(e.script.token))-1]
	}
	e.probes++
	if e.script.bare != nil && !r.URL.Query().Has("resource") {
		return *e.script.bare
	}
	return e.script.probe
}

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer := e.next(r)
	if answer.status == 0 {
		c, _, err := http.NewResponseController(w).Hijack()
		switch {
		case err != nil:
		case answer.close:
			c.Close()
		default:
			reset(c)
		}
		return
	}
	body := answer.body
	if answer.status == http.StatusOK && body == "" {
		body = fmt.Sprintf(`{"access_token":"`+imdsToken+`","expires_in":"3600","expires_on":"%d","resource":%q,"token_type":"Bearer"}`,
			time.Now().Add(time.Hour).Unix(), r.FormValue("resource"))
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	if answer.text {
		w.Header().Set("Content-Type", "text/plain")
	}
	if answer.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(answer.retryAfter))
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(answer.status)
	_, _ = io.WriteString(w, body) // a client that left is none of ours
}
