package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"
)

// serveWatch writes each activity from now on as a line of JSON, until the client leaves or serving ends. A client that does
// not read makes nobody wait but this goroutine: what it misses is counted, and said to it in a line of its own.
func serveWatch(serving context.Context, w http.ResponseWriter, r *http.Request, agent Agent, log *slog.Logger) {
	watcher, err := agent.Watch()
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	defer watcher.Close()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(serving, cancel)()
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := http.NewResponseController(w)
	if err := errors.Join(out.SetReadDeadline(time.Time{}), out.Flush()); err != nil { // the end of a request is no end of a watcher
		log.Debug("answering on the control socket", "error", err)
		return
	}
	for encoder := json.NewEncoder(w); ; {
		all, missed, err := watcher.Next(ctx)
		if err != nil {
			return
		}
		if err := errors.Join(encode(encoder, all, missed), out.Flush()); err != nil {
			log.Debug("answering a watcher", "error", err)
			return
		}
	}
}

func encode(encoder *json.Encoder, all []Activity, missed uint64) error {
	for _, a := range all {
		if err := encoder.Encode(a); err != nil {
			return err
		}
	}
	if missed == 0 {
		return nil
	}
	return encoder.Encode(Watched{Missed: missed})
}

// watchLimit is how long an agent may take to begin: where a holder waits for a server, nobody answers.
const watchLimit = 5 * time.Second

// longestLine bounds one line of an activity, in bytes.
const longestLine = 1 << 20

// Watch calls f with each activity from now on, and the line of JSON that it came in, until the agent ends, ctx does, or f
// returns an error, which it returns then. The error wraps [context.DeadlineExceeded] when there is no agent behind the socket.
func (c *Client) Watch(ctx context.Context, f func(w Watched, line []byte) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	late := time.AfterFunc(watchLimit, func() { cancel(context.DeadlineExceeded) })
	resp, err := c.do(ctx, http.MethodGet, "/watch", nil)
	late.Stop()
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, longestLine)
	for lines.Scan() {
		var w Watched
		if err := json.Unmarshal(lines.Bytes(), &w); err != nil {
			return fmt.Errorf("decoding the agent's line: %w", err)
		}
		if err := f(w, lines.Bytes()); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("watching the agent: %w", err)
	}
	return nil
}
