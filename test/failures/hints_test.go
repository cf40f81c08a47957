package failures

import (
	"slices"
	"strings"
	"testing"
	"time"

	"azimds/imds/token/azure"
)

// TestHintCommands runs every command of the table of Entra's refusals, as it is filled in for a person's credential and for an
// application's. Which of them mend what, TestMessages shows.
func TestHintCommands(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.signIn()
	w.write("certificate.pem", keyPair(t, -time.Hour, time.Hour), 0o600)
	var commands []string
	for _, h := range azure.Hints() {
		for _, q := range []azure.Question{
			{Tenant: w.authority.Tenant(), Resource: vault, Client: publicApp},
			{Tenant: w.authority.Tenant(), Resource: vault, Client: appClient, App: true},
		} {
			if command := h.For(q); !slices.Contains(commands, command) {
				commands = append(commands, command)
			}
		}
	}
	if len(commands) < 20 {
		t.Fatalf("only %d commands", len(commands))
	}
	for _, command := range commands {
		var env []string
		address, opens := strings.CutPrefix(command, "xdg-open ")
		if opens {
			env = append(env, "BROWSER=/bin/echo") // which says what it was to open
		}
		stdout, stderr, code := w.run(patUID, command, env...)
		if code != 0 {
			t.Errorf("%s\nended with %d:\n%s%s", command, code, stdout, stderr)
		}
		if got := strings.TrimSpace(stdout); opens && got != strings.Trim(address, "'") {
			t.Errorf("%s\nopened %q", command, got)
		}
	}
	t.Logf("ran %d commands", len(commands))
}
