package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestWatch wants each activity to arrive as it was, one on a line, from when a client watches until the agent ends.
func TestWatch(t *testing.T) {
	uid := uint32(0)
	sent := []Activity{
		{
			Time: expires, Zone: "local", UID: &uid, User: "root", PID: 7, Executable: "/usr/bin/curl", Unit: "a.service", Route: "token", Status: 200,
			Identity: "client_id=x", Resource: "https://vault.azure.net", Outcome: OutcomeToken, Cache: "hit", DurationUS: 17,
		},
		{Zone: "docker0", Address: "172.17.0.2", Outcome: OutcomeRefused, Reason: "no\nsuch luck", Allow: "zones: [docker0]"},
		{},
	}
	var agent fakeAgent
	agent.watched = func() {
		for _, a := range sent {
			agent.hub.Publish(a)
		}
	}
	s := start(t, myself(), &agent)
	var got []Activity
	ended := make(chan error, 1)
	err := NewClient(s.path).Watch(t.Context(), func(w Watched, line []byte) error {
		if again, err := json.Marshal(w); err != nil || string(again) != string(line) {
			t.Errorf("the line is %s, and the value %s, %v", line, again, err)
		}
		got = append(got, w.Activity)
		if len(got) == len(sent) {
			go func() { ended <- s.stop() }() // which waits for this very request
		}
		return nil
	})
	if err != nil {
		t.Fatalf("Watch returned %v at the agent's end", err)
	}
	if err := <-ended; err != nil {
		t.Errorf("Serve returned %v", err)
	}
	if diff := cmp.Diff(sent, got); diff != "" {
		t.Errorf("activities (-want +got):\n%s", diff)
	}
}

// An activity that says little is a short line.
func TestActivityLeavesOutWhatIsEmpty(t *testing.T) {
	text, err := json.Marshal(Activity{Outcome: OutcomeRefused})
	if err != nil || string(text) != `{"outcome":"refused"}` {
		t.Errorf("JSON: %s, %v", text, err)
	}
}

// A quiet agent is watched longer than a request may take to arrive.
func TestWatchIsPatient(t *testing.T) {
	t.Parallel()
	watching := make(chan struct{})
	agent := fakeAgent{watched: func() { close(watching) }}
	s := start(t, myself(), &agent)
	go func() {
		<-watching
		<-time.After(readLimit + time.Second)
		agent.hub.Publish(Activity{Route: "late"})
	}()
	nobody := errors.New("enough")
	err := NewClient(s.path).Watch(t.Context(), func(w Watched, _ []byte) error {
		if w.Route != "late" {
			t.Errorf("the line is %+v", w)
		}
		return nobody
	})
	if !errors.Is(err, nobody) {
		t.Errorf("Watch returned %v", err)
	}
}

// Nobody is waited for who never begins.
func TestWatchWithoutAnAgent(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "control.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	err = NewClient(path).Watch(t.Context(), func(Watched, []byte) error { return nil })
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Watch returned %v, want %v", err, context.DeadlineExceeded)
	}
}

// A client that leaves gives its place to another.
func TestWatchersAreBounded(t *testing.T) {
	watching := make(chan struct{}, maxWatchers)
	agent := fakeAgent{watched: func() { watching <- struct{}{} }}
	s := start(t, myself(), &agent)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, maxWatchers)
	watch := func(ctx context.Context) error {
		return NewClient(s.path).Watch(ctx, func(Watched, []byte) error { return nil })
	}
	for range maxWatchers {
		go func() { ended <- watch(ctx) }()
		<-watching
	}
	const refused = `asking the agent: it answered "too many watch already": the agent refused`
	if err := watch(t.Context()); err == nil || err.Error() != refused {
		t.Errorf("one more: %v, want %s", err, refused)
	}
	cancel()
	for range maxWatchers {
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Watch returned %v", err)
		}
	}
	for { // the server notices each end by itself
		agent.hub.mu.Lock()
		left := len(agent.hub.watchers)
		agent.hub.mu.Unlock()
		if left == 0 {
			break
		}
		<-time.After(time.Millisecond)
	}
	if err := s.stop(); err != nil {
		t.Errorf("Serve returned %v", err)
	}
}

// A watcher that does not read misses something, and nobody waits for it: neither who publishes nor the end.
func TestWatcherThatDoesNotRead(t *testing.T) {
	watching := make(chan struct{})
	agent := fakeAgent{watched: func() { close(watching) }}
	s := start(t, myself(), &agent)
	conn, err := net.Dial("unix", s.path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("GET /watch HTTP/1.0\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	<-watching
	const activities = 4096
	for range activities {
		agent.hub.Publish(Activity{Reason: strings.Repeat("x", 1<<10)})
	}
	seen, missed := 0, uint64(0)
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		var w Watched
		if !strings.HasPrefix(lines.Text(), "{") {
			continue // HTTP's head
		}
		if err := json.Unmarshal(lines.Bytes(), &w); err != nil {
			t.Fatal(err)
		}
		missed += w.Missed
		if w.Reason != "" {
			seen++
		}
		if uint64(seen)+missed == activities {
			break
		}
	}
	if missed == 0 || uint64(seen)+missed != activities {
		t.Errorf("of %d activities %d were seen and %d missed, %v", activities, seen, missed, lines.Err())
	}
	for range activities {
		agent.hub.Publish(Activity{Reason: strings.Repeat("x", 1<<10)})
	}
	if err := s.stop(); err != nil {
		t.Errorf("Serve returned %v", err)
	}
}
