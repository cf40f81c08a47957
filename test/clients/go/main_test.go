package main

import (
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	const scope = "https://vault.azure.net/.default"
	for _, tt := range []struct {
		name string
		args []string
		want order
		ok   bool
	}{
		{"managed", []string{"managed", scope}, order{kind: "managed", scope: scope, count: 1}, true},
		{"all", []string{"default", scope, "--count", "2", "--client-id", "id"}, order{"default", scope, "id", 2}, true},
		{"no scope", []string{"managed"}, order{}, false},
		{"unknown kind", []string{"other", scope}, order{}, false},
		{"count of none", []string{"managed", scope, "--count", "0"}, order{}, false},
		{"unknown flag", []string{"managed", scope, "--nope"}, order{}, false},
		{"one too many", []string{"managed", scope, "more"}, order{}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parse(tt.args, io.Discard)
			if (err == nil) != tt.ok {
				t.Errorf("parse(%q) error = %v, want one: %v", tt.args, err, !tt.ok)
			}
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(order{})); diff != "" {
				t.Errorf("parse(%q) (-want +got):\n%s", tt.args, diff)
			}
		})
	}
}
