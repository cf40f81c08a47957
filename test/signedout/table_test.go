package signedout

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// document is the file with the table, between two marks.
const (
	document  = "../../docs/signed-out.md"
	tableFrom = "<!-- table: written by go test ./test/signedout -run TestMatrix -update -->\n"
	tableTo   = "<!-- end of table -->\n"
)

// slowChain marks a chain that took a second or more. The document says below the table why.
const slowChain = " †"

// explained are the SDKs whose slowness the document explains.
var explained = map[string]bool{"java": true}

// text is the cell in the document: "az, 12 ms (probe, 403)".
func (c cell) text(r result) string {
	text := r.outcome + ", " + short(r.took)
	switch {
	case c.patient():
		text += " (asks again)"
	default:
		text += " (" + strings.Join(r.answers, ", ") + ")"
	}
	if c.how.kind != "managed" && r.took >= time.Second {
		text += slowChain
	}
	return text
}

func short(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", max(d.Milliseconds(), 1))
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

var duration = regexp.MustCompile(`, [0-9.]+ (ms|s)`)

// timeless is a cell of the document without what differs from run to run.
func timeless(text string) string {
	return strings.TrimSuffix(duration.ReplaceAllString(text, ""), slowChain)
}

// writeTable writes the document's table: for each state, a row for each SDK and a column for each way to ask.
func writeTable(t *testing.T, clients []sdk, results map[string]result) {
	t.Helper()
	var b strings.Builder
	for _, s := range states {
		fmt.Fprintf(&b, "\n### %s\n\n%s.\n\n| |", s.name, s.meaning)
		for _, how := range ways {
			fmt.Fprintf(&b, " %s |", how.name)
		}
		b.WriteString("\n|---|" + strings.Repeat("---|", len(ways)) + "\n")
		for _, client := range clients {
			fmt.Fprintf(&b, "| %s |", client.name)
			for _, how := range ways {
				c, text := cell{client, how, s}, "–"
				if r, ok := results[c.name()]; ok {
					text = c.text(r)
				}
				if strings.HasSuffix(text, slowChain) && !explained[client.name] {
					t.Errorf("%s took %s: a second or more, and the document does not say why", c.name(), text)
				}
				fmt.Fprintf(&b, " %s |", text)
			}
			b.WriteString("\n")
		}
	}
	before, _, after := readDocument(t)
	must(t, os.WriteFile(document, []byte(before+tableFrom+b.String()+"\n"+tableTo+after), 0o644))
}

func readDocument(t *testing.T) (before, table, after string) {
	t.Helper()
	text, err := os.ReadFile(document)
	must(t, err)
	before, rest, ok := strings.Cut(string(text), tableFrom)
	table, after, closed := strings.Cut(rest, tableTo)
	if !ok || !closed {
		t.Fatalf("%s has no %q … %q", document, tableFrom, tableTo)
	}
	return before, table, after
}

// readTable is the document's table: the cells of each state's SDK, by "state/sdk/way".
func readTable(t *testing.T) map[string]string {
	t.Helper()
	_, table, _ := readDocument(t)
	cells := map[string]string{}
	state := ""
	for line := range strings.Lines(table) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "### "); ok {
			state = name
		}
		row := strings.Split(line, "|")
		if len(row) != len(ways)+3 || strings.HasPrefix(line, "| |") || strings.HasPrefix(line, "|---") {
			continue
		}
		for i, how := range ways {
			if text := strings.TrimSpace(row[i+2]); text != "–" {
				cells[state+"/"+strings.TrimSpace(row[1])+"/"+how.name] = text
			}
		}
	}
	return cells
}

// compareTable wants the document to say what came of the cells that were run.
func compareTable(t *testing.T, results map[string]result) {
	t.Helper()
	written := readTable(t)
	clients := map[string]cell{}
	for _, c := range cells(sdks(t)) {
		clients[c.name()] = c
	}
	for name, r := range results {
		if want := timeless(clients[name].text(r)); timeless(written[name]) != want {
			t.Errorf("%s says of %q: %q, want %q; write it anew with -update", document, name, written[name], want)
		}
	}
}

// TestDocument wants every cell of the matrix in the document and no other, and every chain's below a second or explained.
func TestDocument(t *testing.T) {
	written := readTable(t)
	for _, c := range cells(sdks(t)) {
		text, ok := written[c.name()]
		delete(written, c.name())
		switch {
		case !ok:
			t.Errorf("%s does not have %q", document, c.name())
		case c.how.kind != "managed" && strings.Contains(text, " s (") && (!strings.HasSuffix(text, slowChain) || !explained[c.sdk.name]):
			t.Errorf("%s says of %q: %q, and not why", document, c.name(), text)
		}
	}
	for name := range written {
		t.Errorf("%s has %q, which is not tested", document, name)
	}
}
