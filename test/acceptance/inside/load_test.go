//go:build azimdsvm

package inside

import (
	"bufio"
	"strings"
	"syscall"
	"testing"
)

// TestUnderLoad restarts either service, and upgrades the package, while eight clients ask: no connection is refused and no request
// fails.
func TestUnderLoad(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(t *testing.T)
	}{
		{"server", func(t *testing.T) { run(t, "systemctl", "restart", serverUnit) }},
		{"holder", func(t *testing.T) { run(t, "systemctl", "restart", holderUnit) }},
		{"upgrade", upgrade},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server, holder := property(t, serverUnit, "MainPID"), property(t, holderUnit, "MainPID")
			ended := underLoad(t)
			tt.do(t)
			awaitServices(t)
			if said := ended(); !strings.HasSuffix(said, ", 0 failed\n") {
				t.Errorf("the clients said:\n%s%s", said, journal(t))
			}
			if server == property(t, serverUnit, "MainPID") && holder == property(t, holderUnit, "MainPID") {
				t.Error("neither service is another process")
			}
			refused(t)
		})
	}
}

func upgrade(t *testing.T) {
	was := version(t)
	install(t, newer)
	if is := version(t); is == was {
		t.Errorf("the version was %q and is %q", was, is)
	}
}

// underLoad starts the owner's clients, and returns once each has its first token. What it returns ends them, and returns what they
// said.
func underLoad(t *testing.T) (ended func() string) {
	t.Helper()
	cmd := commandAs(t.Context(), owner, dir+"load")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "under load" {
		said.WriteString(lines.Text() + "\n")
	}
	return func() string {
		t.Helper()
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() {
			said.WriteString(lines.Text() + "\n")
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("the clients ended with: %v", err)
		}
		t.Log(said.String())
		return said.String()
	}
}
