package e2e

import (
	"encoding/base64"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"azimds/test/netns"
)

var (
	counters   = regexp.MustCompile(`\[\d+:\d+\]`)
	emptyTable = regexp.MustCompile(`(?m)^\*\w+\n(:[^\n]*\n)*COMMIT\n`)
	comment    = regexp.MustCompile(`(?m)^#.*\n`)
)

// state is what interception could change in ns: links, addresses, routes of every table, policy rules, and iptables
// without comments, counters and tables in which nothing is.
func state(t testing.TB, ns *netns.NS) string {
	t.Helper()
	var b strings.Builder
	for _, command := range []string{
		"ip -o link", "ip -o address", "ip route show table all", "ip -6 route show table all", "ip rule", "iptables-save",
	} {
		words := strings.Fields(command)
		out := ns.Run(t, words[0], words[1:]...)
		if words[0] == "iptables-save" {
			out = comment.ReplaceAllString(out, "")
			out = counters.ReplaceAllString(out, "[0:0]")
			out = emptyTable.ReplaceAllString(out, "")
		}
		b.WriteString("# " + command + "\n" + out)
	}
	return b.String()
}

func same(t testing.TB, before, after string) {
	t.Helper()
	if diff := cmp.Diff(strings.Split(before, "\n"), strings.Split(after, "\n")); diff != "" {
		t.Errorf("what was before and is now (-before +now):\n%s", diff)
	}
}

func decodeSegment(into []byte, segment string) (int, error) {
	return base64.RawURLEncoding.Decode(into, []byte(segment))
}
