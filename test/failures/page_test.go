package failures

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestPage wants every message that docs/troubleshooting.md lists to be one that was seen.
func TestPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	seen, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, table := range strings.Split(string(page), "| message |")[1:] {
		table, _, _ = strings.Cut(table, "\n\n")
		for _, row := range strings.Split(table, "\n")[2:] {
			message, _, ok := strings.Cut(strings.TrimPrefix(row, "| `"), "`")
			if !ok {
				t.Errorf("a row without a message: %q", row)
				continue
			}
			count++
			if !told(message).Match(seen) {
				t.Errorf("nothing said %q", message)
			}
		}
	}
	if count < 15 {
		t.Errorf("only %d messages", count)
	}
}

// told matches a message with something in the place of each "…", and of a process's number.
func told(message string) *regexp.Regexp {
	words := regexp.QuoteMeta(strings.ReplaceAll(message, "process N", "process PID"))
	return regexp.MustCompile("(?m)^azimds: (.*: )?" + strings.ReplaceAll(words, "…", ".*"))
}
