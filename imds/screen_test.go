package imds_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"azimds/imds"
	"azimds/imds/caller"
	"azimds/imds/policy"
	"azimds/imds/token"
)

// python is what is found out about a caller in these tests.
var python = caller.Detail{
	User: "pat", Cgroup: "user.slice/a.scope", Unit: "a.scope", Container: "web",
	Process: caller.Process{PID: 4711, Executable: "/usr/bin/python3", Command: "python3"},
}

// Who is turned away after a closer look is reset before a byte of it is read, and is said all about; the owner gets a token from
// the same server.
func TestScreen(t *testing.T) {
	read, seen := make(chan struct{}, 10), make(chan struct{}, 10)
	a := start(t, func(o *imds.Options) {
		observe := o.Observe
		o.Observe = func(e imds.Event) { observe(e); seen <- struct{}{} }
		o.Screen = func(_ <-chan struct{}, c caller.Caller) (caller.Detail, error) {
			if c.UID == 1002 {
				return python, &policy.Refusal{Reason: "python is a relay", Allow: "callers.relays: [python]"}
			}
			return caller.Detail{User: "owner"}, nil
		}
		o.Describe = func(caller.Caller) caller.Detail {
			t.Error("more is looked for about who is known")
			return caller.Detail{}
		}
		o.Allow = func(_ caller.Caller, _ caller.Detail, r token.Request) (token.Request, error) {
			read <- struct{}{}
			return r, nil
		}
	})
	if !a.reset(t, 2) {
		t.Error("a caller that was screened out got a reply")
	}
	<-seen // the connection ends before that
	if len(read) != 0 {
		t.Error("its request was read")
	}
	if got := a.status(t, get()); got != "200" {
		t.Errorf("status %s", got)
	}
	events := a.seen()
	if len(events) != 2 {
		t.Fatalf("events %+v", events)
	}
	want := imds.Event{
		At: time.Unix(now, 0), Caller: caller.Caller{UID: 1002, Inode: 1, Cgroup: 2}, Detail: python,
		Reason: "python is a relay", Allow: "callers.relays: [python]",
	}
	if diff := cmp.Diff(want, events[0], cmpopts.EquateComparable(netip.Addr{}), cmpopts.IgnoreFields(caller.Caller{}, "Client")); diff != "" || events[0].Outcome() != imds.Refused {
		t.Errorf("event (-want +got):\n%s", diff)
	}
	if events[1].Detail.User != "owner" || events[1].Outcome() != imds.Given {
		t.Errorf("event %+v", events[1])
	}
	const line = `level=WARN msg="caller refused" client=127.0.0.2:PORT outcome=refused zone=local uid=1002 user=pat pid=4711 ` +
		`exe=/usr/bin/python3 container=web unit=a.scope reason="python is a relay" allow="callers.relays: [python]"`
	if !strings.Contains(withoutPort(a.String()), line) {
		t.Errorf("log:\n%s\nwant in it:\n%s", a, line)
	}
}

// withoutPort is a log with the ports of refused clients taken out.
func withoutPort(log string) string {
	before, after, found := strings.Cut(log, "client=127.0.0.2:")
	if !found {
		return log
	}
	_, after, _ = strings.Cut(after, " ")
	return before + "client=127.0.0.2:PORT " + after
}

// Of who is refused before its process was looked for, that is looked for then, as often as a line may be loud.
func TestScreenedOutIsDescribed(t *testing.T) {
	a := start(t, func(o *imds.Options) {
		o.Screen = func(<-chan struct{}, caller.Caller) (caller.Detail, error) {
			return caller.Detail{User: "pat"}, errors.New("is nobody")
		}
		o.Describe = func(caller.Caller) caller.Detail { return python }
	})
	for range 21 {
		if !a.reset(t, 2) {
			t.Fatal("got a reply")
		}
	}
	a.stop()
	if err := <-a.served; err != nil {
		t.Error(err)
	}
	described := 0
	for _, e := range a.seen() {
		if e.Detail == python {
			described++
		}
	}
	if described != 20 || len(a.seen()) != 21 {
		t.Errorf("of %d refusals %d are described, want 20", len(a.seen()), described)
	}
}

// A client that connects and closes takes its process with it. That nobody was found then is nothing to speak of; while it is
// there, it is.
func TestWhoLeavesWhileScreenedIsSilent(t *testing.T) {
	closed := make(chan struct{})
	a := start(t, func(o *imds.Options) {
		o.Screen = func(_ <-chan struct{}, c caller.Caller) (caller.Detail, error) {
			if c.UID == 1009 {
				<-closed
			}
			return caller.Detail{}, fmt.Errorf("%w: no program was found", caller.ErrUnknown)
		}
	})
	if err := a.dial(t, 9).Close(); err != nil {
		t.Fatal(err)
	}
	close(closed)
	if !a.reset(t, 2) {
		t.Error("an unknown program got a reply")
	}
	a.stop()
	if err := <-a.served; err != nil {
		t.Error(err)
	}
	if events := a.seen(); len(events) != 1 || events[0].Caller.UID != 1002 {
		t.Errorf("events %+v", events)
	}
	if log := a.String(); strings.Count(log, "level=WARN") != 1 || !strings.Contains(log, `msg="client left"`) {
		t.Errorf("log:\n%s", log)
	}
}

// What policy says is told to the client in words that no SDK asks again after, and to the log by the caller's name.
func TestAllow(t *testing.T) {
	a := start(t, func(o *imds.Options) {
		o.Screen = func(<-chan struct{}, caller.Caller) (caller.Detail, error) { return python, nil }
		o.Allow = func(c caller.Caller, d caller.Detail, r token.Request) (token.Request, error) {
			if c.UID != 1001 || d != python {
				t.Errorf("policy was asked about %+v, %+v", c, d)
			}
			denial := &policy.Denial{Reason: "resource is not allowed", By: "policy[0] (work)"}
			switch r.Resource {
			case "https://denied.test":
				return r, denial
			case "https://often.test":
				denial.Reason, denial.Wait = "too many requests", 1500*time.Millisecond
				return r, denial
			case "https://broken.test":
				return r, errors.New("internal detail")
			}
			r.Identity = token.Selector{Kind: token.ClientID, Value: "chosen"}
			return r, nil
		}
	})
	asking := func(resource string) string {
		return request("GET /metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://"+resource+" HTTP/1.1",
			"Host: 169.254.169.254", "Metadata: true")
	}
	tests := []struct {
		name, raw, status, header, body string
		outcome                         imds.Outcome
		reason                          string
	}{
		{"denied", asking("denied.test"), "400", "", `{"error":"invalid_request","error_description":"Identity not found. azimds: resource is ` +
			`not allowed, by policy[0] (work); run: azimds policy explain"}`, imds.Denied,
			"resource is not allowed, by policy[0] (work); run: azimds policy explain"},
		{"too often", asking("often.test"), "429", "Retry-After: 2", `{"error":"invalid_request","error_description":"Temporarily throttled, too many requests"}`,
			imds.Denied, "too many requests, by policy[0] (work); run: azimds policy explain"},
		{"policy fails", asking("broken.test"), "500", "", `{"error":"server_error","error_description":"azimds: internal error, its log says more"}`,
			imds.Failed, "internal detail"},
		{"allowed, with an identity", asking("vault.azure.net"), "200", "", `"client_id":"chosen"`, imds.Given, ""},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			reply, err := a.send(t, tt.raw)
			if err != nil {
				t.Fatal(err)
			}
			if statusOf(reply) != tt.status || !strings.Contains(reply, tt.header) || !strings.Contains(reply, tt.body) ||
				strings.Contains(reply, "unreachable") {
				t.Errorf("reply %s", reply)
			}
			events := a.seen()
			if len(events) != i+1 {
				t.Fatalf("%d events", len(events))
			}
			if e := events[i]; e.Outcome() != tt.outcome || e.Reason != tt.reason || e.Detail != python || e.Resource == "" {
				t.Errorf("event %+v (%s)", e, e.Outcome())
			}
		})
	}
	if n := len(a.world.requests()); n != 1 {
		t.Errorf("the source was asked %d times", n)
	}
}

// A chain that has just probed is told the same by policy as who asks alone: elsewhere it would get what is not for it here, and
// nobody who reads the log would learn why.
func TestChainIsDeniedAsAnybody(t *testing.T) {
	a := start(t, func(o *imds.Options) {
		o.Allow = func(_ caller.Caller, _ caller.Detail, r token.Request) (token.Request, error) {
			return r, &policy.Denial{Reason: "too many requests", By: "policy[0]", Wait: time.Second}
		}
	})
	c := a.dial(t, 1)
	if _, err := io.WriteString(c, request("GET /metadata/identity/oauth2/token HTTP/1.1", "Host: 169.254.169.254")); err != nil {
		t.Fatal(err)
	}
	if got := statusOfNext(t, c); got != http.StatusBadRequest {
		t.Errorf("probe: status %d", got)
	}
	reply, err := a.send(t, get())
	if err != nil {
		t.Fatal(err)
	}
	if statusOf(reply) != "429" || strings.Contains(reply, "unreachable") {
		t.Errorf("reply %s", reply)
	}
	if events := a.seen(); len(events) != 2 || events[1].Outcome() != imds.Denied {
		t.Errorf("events %+v", events)
	}
}
