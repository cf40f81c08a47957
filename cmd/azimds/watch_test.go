package main

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"azimds/imds"
	"azimds/imds/caller"
	"azimds/imds/control"
	"azimds/imds/token"
)

func TestActivity(t *testing.T) {
	at, uid := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), uint32(0)
	root := caller.Caller{UID: 0, Inode: 7}
	for _, tt := range []struct {
		name  string
		event imds.Event
		want  control.Activity
	}{
		{
			"token", imds.Event{
				At: at, Caller: root, Route: "token", Status: 200, Resource: "https://vault.azure.net", Duration: 1500 * time.Microsecond,
				Identity: token.Selector{Kind: token.ClientID, Value: "x"}, Given: true, Stored: true,
				Detail: caller.Detail{User: "root", Process: caller.Process{PID: 12, Executable: "/usr/bin/curl"}, Unit: "a.service", Container: "c"},
			},
			control.Activity{
				Time: at, Zone: "local", UID: &uid, User: "root", Route: "token", Status: 200, Resource: "https://vault.azure.net", DurationUS: 1500,
				Identity: "client_id=x", Outcome: control.OutcomeToken, Cache: "hit", PID: 12, Executable: "/usr/bin/curl", Unit: "a.service",
				Container: "c",
			},
		},
		{
			"failure", imds.Event{At: at, Caller: root, Route: "token", Status: 403, Resource: "x", Reason: "nobody is signed in"},
			control.Activity{
				Time: at, Zone: "local", UID: &uid, Route: "token", Status: 403, Resource: "x", Reason: "nobody is signed in", Outcome: control.OutcomeFailed,
			},
		},
		{
			"behind a bridge", imds.Event{At: at, Caller: caller.Caller{Bridge: "docker0", Address: netip.MustParseAddr("172.17.0.2")}, Reason: "no", Allow: "x"},
			control.Activity{Time: at, Zone: "docker0", Address: "172.17.0.2", Reason: "no", Allow: "x", Outcome: control.OutcomeRefused},
		},
		{
			"something else", imds.Event{At: at, Caller: root, Route: "info", Status: 200},
			control.Activity{Time: at, Zone: "local", UID: &uid, Route: "info", Status: 200, Outcome: control.OutcomeAnswered},
		},
		{
			"nobody", imds.Event{At: at, Reason: "no socket"},
			control.Activity{Time: at, Zone: "local", Reason: "no socket", Outcome: control.OutcomeRefused},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, activity(tt.event)); diff != "" {
				t.Errorf("activity (-want +got):\n%s", diff)
			}
		})
	}
}

func TestActivityTexts(t *testing.T) {
	at, uid := time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local), uint32(1000)
	for _, tt := range []struct {
		name          string
		activity      control.Activity
		watch, status string
	}{
		{
			"token",
			control.Activity{
				Time: at, Zone: "local", UID: &uid, User: "pat", Executable: "/usr/bin/python3.11", Route: "token", Status: 200,
				Resource: "https://vault.azure.net", Outcome: "token", Cache: "hit",
			},
			"03:04:05 local   1000(pat)   python3.11 token    https://vault.azure.net cached",
			"03:04:05 local 1000(pat) python3.11 token https://vault.azure.net cached",
		},
		{
			"bridge",
			control.Activity{
				Time: at, Zone: "docker0", Address: "172.17.0.2", Route: "token", Status: 400, Identity: "client_id=x", Outcome: "denied",
				Reason: "rule 2",
			},
			"03:04:05 docker0 172.17.0.2  -          denied   (client_id=x)  rule 2",
			"03:04:05 docker0 172.17.0.2 denied (client_id=x): rule 2",
		},
		{
			"refused",
			control.Activity{
				Time: at, Zone: "local", UID: &uid, Executable: "/usr/bin/curl", Container: "web", Outcome: "refused",
				Reason: "uid 1000 is not the owner, pat (uid 1001)", Allow: "callers.users: [eve]",
			},
			"03:04:05 local   1000        curl in web refused\n" +
				"         uid 1000 is not the owner, pat (uid 1001)\n" +
				"         to allow it:  callers.users: [eve]",
			"03:04:05 local 1000 curl in web refused: uid 1000 is not the owner, pat (uid 1001)",
		},
		{
			"nobody, and a terminal's commands",
			control.Activity{Time: at, Route: "info", Status: 200, Outcome: "answered", Executable: "/x\x1b[2J", Resource: "a\r\nb\u009b1m"},
			"03:04:05 -       unknown     x\ufffd[2J      answered a\ufffd\ufffdb\ufffd1m",
			"03:04:05 unknown x\ufffd[2J answered a\ufffd\ufffdb\ufffd1m",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.watch, watchText(tt.activity)); diff != "" {
				t.Errorf("watch (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.status, statusText(tt.activity)); diff != "" {
				t.Errorf("status (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPrintActivity(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local)
	lines := []control.Watched{{Activity: control.Activity{Time: at, Outcome: "refused"}}, {Missed: 3}}
	for _, tt := range []struct {
		name, want string
		asJSON     bool
	}{
		{name: "text", want: "03:04:05 -       unknown     -          refused\n         3 missed: they were not read in time\n"},
		{name: "JSON", want: `{"time":"` + at.Format(time.RFC3339) + `","outcome":"refused"}` + "\n" + `{"missed":3}` + "\n", asJSON: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			show := printActivity(&out, tt.asJSON)
			for _, w := range lines {
				line, err := json.Marshal(w)
				if err == nil {
					err = show(w, line)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(tt.want, out.String()); diff != "" {
				t.Errorf("printed (-want +got):\n%s", diff)
			}
		})
	}
}

func TestStatusShowsZonesAndNotes(t *testing.T) {
	s := control.Status{
		Zones: []control.Zone{{Name: "local"}, {Name: "docker0", Subnets: []string{"172.17.0.0/16", "10.0.0.0/8"}}, {Name: "br0", Problem: "eth0 is a port of it"}},
		Notes: []string{"one", "two"},
	}
	if healthy(s) {
		t.Error("a zone that is not served is healthy")
	}
	if s.Zones = s.Zones[:2]; !healthy(s) {
		t.Error("zones that are served, and notes, are not healthy")
	}
	var out bytes.Buffer
	if err := printStatus(&out, s, time.Now()); err != nil {
		t.Fatal(err)
	}
	const want = "zones       local\n            docker0: 172.17.0.0/16, 10.0.0.0/8\nnotes       one\n            two\n"
	if !bytes.Contains(out.Bytes(), []byte(want)) {
		t.Errorf("the status says:\n%s\nwanted:\n%s", &out, want)
	}
	if got, want := zoneText(control.Zone{Name: "br0", Problem: "eth0 is a port of it"}), "br0: NOT SERVED: eth0 is a port of it"; got != want {
		t.Errorf("zone %q, want %q", got, want)
	}
}

// A status says what was repaired; what cannot be, or has to be again and again, is not healthy.
func TestStatusShowsRepairs(t *testing.T) {
	now := time.Date(2026, 1, 2, 15, 4, 5, 0, time.Local)
	repaired := control.Repairs{Count: 2, Last: now.Add(-time.Minute), Missing: []string{"ip rule add", "ip route add"}}
	contested, failing := repaired, control.Repairs{Error: "no iptables program", Next: now.Add(time.Second)}
	contested.Fought, contested.Next = []string{"ip rule add"}, now.Add(time.Minute)
	const was = "repaired    2 times, last 1m0s ago: ip rule add; ip route add\n"
	for _, tt := range []struct {
		name    string
		repairs *control.Repairs
		healthy bool
		want    string
	}{
		{"nothing", nil, true, ""},
		{"repaired", &repaired, true, was},
		{"contested", &contested, false, was + "contested   something removes it again and again: ip rule add; tried again at 15:05:05\n"},
		{"failing", &failing, false, "not mended  no iptables program; tried again at 15:04:06\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := control.Status{Repairs: tt.repairs}
			if healthy(s) != tt.healthy {
				t.Errorf("healthy: %v", !tt.healthy)
			}
			var out bytes.Buffer
			if err := printStatus(&out, s, now); err != nil {
				t.Fatal(err)
			}
			_, said, _ := strings.Cut(out.String(), "account     ")
			_, said, _ = strings.Cut(said, "\n")
			said, _, _ = strings.Cut(said, "requests ")
			if diff := cmp.Diff(tt.want, said); diff != "" {
				t.Errorf("printed (-want +got):\n%s", diff)
			}
		})
	}
}

// Nothing that an agent says steers the terminal of who asks, which may be root's.
func TestStatusIsPrintable(t *testing.T) {
	const odd = "a\x1b[2Jb\u009b2J\u202e\rc"
	var out bytes.Buffer
	s := control.Status{
		Reason: odd, Source: odd, Zones: []control.Zone{{Name: odd, Problem: odd}}, Notes: []string{odd}, Residue: []string{odd}, Delta: []string{odd},
		Account: control.Account{Error: odd, Tenant: odd, Drift: odd}, Cached: []control.Cached{{Resource: odd, Identity: odd, Error: odd}},
		Callers: []control.Activity{{User: odd, Resource: odd, Reason: odd}}, Others: []string{odd}, Down: &control.Down{Reason: odd, Hint: odd},
		Repairs: &control.Repairs{Count: 1, Missing: []string{odd}, Fought: []string{odd}, Error: odd},
	}
	if err := printStatus(&out, s, time.Now()); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out.String()) {
		if strings.ContainsFunc(strings.TrimSuffix(line, "\n"), func(r rune) bool { return r != utf8.RuneError && !unicode.IsPrint(r) }) {
			t.Errorf("printed %q", line)
		}
	}
}
