package holder

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLookupOwner(t *testing.T) {
	tests := []struct {
		name, operand string
		want          Owner
		err           string
	}{
		{"by name", "root", Owner{Name: "root", Home: "/root"}, ""},
		{"by number", "0", Owner{Name: "root", Home: "/root"}, ""},
		{"number of nobody's", "3999999999", Owner{UID: 3999999999, GID: 3999999999, Name: "3999999999"}, ""},
		{"no such name", "no-such-user", Owner{}, `looking up user "no-such-user"`},
		{"nothing", "", Owner{}, `looking up user ""`},
		{"negative", "-1", Owner{}, `looking up user "-1"`},
		{"no number", "4294967295", Owner{}, "looking up uid 4294967295: it is nobody's number"},
		{"beyond", "4294967296", Owner{}, `looking up user "4294967296"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := LookupOwner(tt.operand)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("LookupOwner returned %v, %v, want an error with %q", got, err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got.Groups = nil // the machine's matter
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("owner (-want +got):\n%s", diff)
			}
		})
	}
}
