package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"azimds/config"
)

// TestHoldArgs holds that a holder behind sudo reads the settings that the process which starts it has, and no more of them.
func TestHoldArgs(t *testing.T) {
	c := config.Default()
	c.Mode, c.User, c.Tenant, c.Log.Format = config.ModeIPTables, "alice", "contoso.com", config.FormatJSON
	c.Callers = config.Callers{Users: []string{"bob", "1001"}, Containers: []string{config.Any}}
	c.Zones = []config.Zone{{Bridge: "docker0"}, {Bridge: "br-*", Resources: []string{"https://*.vault.azure.net"}}}
	c.Policy = []config.Rule{{Users: []string{"bob"}, Deny: true}}
	args := holdArgs(c)
	for _, arg := range args {
		if strings.HasPrefix(arg, "--user=") || strings.Contains(arg, "contoso") || strings.Contains(arg, "deny") {
			t.Errorf("the holder is told %s", arg)
		}
	}
	var got config.Config
	hold := newHold()
	hold.RunE = func(cmd *cobra.Command, _ []string) error {
		loaded, err := config.Load(config.Sources{Flags: given(cmd), RootOnly: true})
		got = loaded.Config
		return err
	}
	hold.SetArgs(args)
	if err := hold.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := c
	want.User, want.Tenant, want.Policy = "", "", nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("settings of the holder (-want +got):\n%s", diff)
	}
}

// TestPassOnLists holds that another azimds is given the lists that this one was given.
func TestPassOnLists(t *testing.T) {
	for _, tt := range []struct {
		name       string
		args, want []string
		err        string
	}{
		{"once", []string{"--allow-users", "bob,1001"}, []string{"--allow-users=bob,1001"}, ""},
		{"twice", []string{"--zones=docker0", "--zones", "br-*"}, []string{"--zones=docker0,br-*"}, ""},
		{"none", []string{"--zones="}, []string{"--zones="}, ""},
		{"YAML", []string{"--zones", "[{bridge: a}]"}, []string{"--zones=[{bridge: a}]"}, ""},
		{"YAML and more", []string{"--zones", "[a]", "--zones=b"}, nil,
			`invalid argument "b" for "--zones" flag: give it once where it is YAML`},
		{"yes or no", []string{"--allow-any-local"}, []string{"--allow-any-local=true"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := &cobra.Command{}
			addSettings(cmd)
			if err := cmd.ParseFlags(tt.args); err != nil || tt.err != "" {
				if err == nil || err.Error() != tt.err {
					t.Errorf("err = %v, want %s", err, tt.err)
				}
				return
			}
			if got := passOn(cmd); !slices.Equal(got, tt.want) {
				t.Errorf("passed on %q, want %q", got, tt.want)
			}
		})
	}
}

// TestNeedRestart lists the keys of lists, too: a configuration that is read anew is compared by what it holds.
func TestNeedRestart(t *testing.T) {
	old := config.Default()
	old.Zones = []config.Zone{{Bridge: "docker0"}}
	c := old
	c.Zones = []config.Zone{{Bridge: "docker0"}}
	if got := needRestart(old, c); got != nil {
		t.Errorf("nothing changed, and %q need a start", got)
	}
	c.Zones = append(c.Zones, config.Zone{Bridge: "br-*"})
	c.Policy = []config.Rule{{Deny: true}}
	c.Callers.Users = []string{"bob"}
	c.Limits.Rate = 5
	c.Tenant = "contoso.com"
	if diff := cmp.Diff([]string{"callers.users", "zones"}, needRestart(old, c)); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}
