package main

import (
	"strings"
	"testing"
	"time"

	"azimds/imds/control"
)

// A quiet status has a line for each thing that is wrong, nothing where all is well, and nothing that could be taken for another line.
func TestPrintWrong(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.Local)
	for _, tt := range []struct {
		name   string
		status control.Status
		want   string
	}{
		{"well", control.Status{Notes: []string{"any user may listen on port 80"}, Counts: control.Counts{Refused: 3}}, ""},
		{"signed out", control.Status{Account: control.Account{Error: "nobody is signed in", Hint: "az login"}, Down: &control.Down{Reason: "the same"}},
			"account: nobody is signed in; run: az login\n"},
		{"no tokens", control.Status{Down: &control.Down{Reason: "Entra cannot be reached"}}, "no tokens: Entra cannot be reached\n"},
		{"paused", control.Status{Paused: now.Add(time.Minute)}, "paused: until 12:01:00\n"},
		{"drift", control.Status{Account: control.Account{Drift: "another account"}}, "drift: another account\n"},
		{"the network", control.Status{
			Residue: []string{"an address"}, Delta: []string{"a rule"}, Zones: []control.Zone{{Name: "br0", Problem: "it is gone"}, {Name: "br1"}},
			Repairs: &control.Repairs{Fought: []string{"a route"}, Error: "listing rules\nazimds: all is well"},
		}, "not served: br0: it is gone\nresidue: an address\nmissing: a rule\ncontested: a route\nnot mended: listing rules" + "\uFFFD" + "azimds: all is well\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			if err := printWrong(&out, tt.status, now); err != nil {
				t.Fatal(err)
			}
			if out.String() != tt.want {
				t.Errorf("said %q, want %q", &out, tt.want)
			}
			if healthy(tt.status) != (tt.want == "") {
				t.Errorf("healthy is %t", healthy(tt.status))
			}
		})
	}
}
