package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// ErrNoAgent says that nobody answers on the control socket.
var ErrNoAgent = errors.New("no agent is running")

// Client talks to the agent of this network namespace.
type Client struct {
	path string
	http http.Client
}

// NewClient returns a client for the control socket at path. It connects when it is used.
func NewClient(path string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
	return &Client{path: path, http: http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

// Status asks the agent for its status. The error wraps [ErrNoAgent] when there is none, and fs.ErrPermission when it is
// somebody else's.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	err := c.call(ctx, http.MethodGet, "/status", nil, &s)
	return s, err
}

// Token asks the agent for a token for resource.
func (c *Client) Token(ctx context.Context, resource string) (TokenReply, error) {
	var r TokenReply
	err := c.call(ctx, http.MethodPost, "/token", url.Values{"resource": {resource}}, &r)
	return r, err
}

// Refresh has the agent drop its cached tokens for resource, all of them for "", and returns how many it dropped.
func (c *Client) Refresh(ctx context.Context, resource string) (int, error) {
	var r RefreshReply
	err := c.call(ctx, http.MethodPost, "/refresh", url.Values{"resource": {resource}}, &r)
	return r.Dropped, err
}

// Pause has the agent give no tokens for a time, 0 to give them again, and returns until when; the zero time when they are given.
func (c *Client) Pause(ctx context.Context, length time.Duration) (time.Time, error) {
	var r PauseReply
	err := c.call(ctx, http.MethodPost, "/pause", url.Values{"for": {length.String()}}, &r)
	return r.Until, err
}

// Stop has the agent take its interception down.
func (c *Client) Stop(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/stop", nil, nil)
}

// maxReply bounds what is read of an answer, in bytes: root may ask, and the agent is another user's.
const maxReply = 4 << 20

func (c *Client) call(ctx context.Context, method, path string, form url.Values, into any) error {
	resp, err := c.do(ctx, method, path, form)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if into == nil {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxReply)).Decode(into); err != nil {
		return fmt.Errorf("decoding the agent's answer: %w", err)
	}
	return nil
}

// do asks the agent. The caller closes the answer's body.
func (c *Client) do(ctx context.Context, method, path string, form url.Values) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://azimds"+path, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, fmt.Errorf("asking the agent: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := c.http.Do(req)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("asking the agent at %q: %w", c.path, ErrNoAgent)
	case err != nil:
		return nil, fmt.Errorf("asking the agent at %q: %w", c.path, err)
	}
	if resp.StatusCode < http.StatusBadRequest {
		return resp, nil
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	return nil, fmt.Errorf("asking the agent: it answered %q: %w", strings.TrimSpace(string(text)), errors.Join(errRefused, err))
}

// errRefused says that the agent could not do what it was asked.
var errRefused = errors.New("the agent refused")
