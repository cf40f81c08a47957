package azure

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"azimds/imds/token"
)

// TestHints holds the whole table as people read it, for a person's credential and for an application's.
func TestHints(t *testing.T) {
	var text strings.Builder
	person := Question{Tenant: "contoso.com", Resource: "https://vault.azure.net", Client: azClientID}
	app := person
	app.App, app.Client = true, clientID
	for _, h := range Hints() {
		fmt.Fprintf(&text, "AADSTS%d %s\n  person:      %s\n  application: %s\n", h.Code, h.Message, h.For(person), h.For(app))
	}
	if *update {
		if err := os.WriteFile("testdata/hints.golden", []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/hints.golden")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), text.String()); diff != "" {
		t.Errorf("hints differ (-want +got):\n%s", diff)
	}
}

const (
	troubleshooting = "../../../docs/troubleshooting.md"
	tableBegins     = "<!-- refusals: generated, refresh with go test ./imds/token/azure -run TestTroubleshooting -update -->\n"
	tableEnds       = "<!-- end of refusals -->\n"
)

// TestTroubleshooting holds that docs/troubleshooting.md has the table as it is here.
func TestTroubleshooting(t *testing.T) {
	page, err := os.ReadFile(troubleshooting)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(page), tableBegins)
	got, after, closed := strings.Cut(rest, tableEnds)
	if !ok || !closed {
		t.Fatalf("%s has no part between %q and %q", troubleshooting, tableBegins, tableEnds)
	}
	want := hintTable()
	if *update {
		if err := os.WriteFile(troubleshooting, []byte(before+tableBegins+want+tableEnds+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-table +page), refresh with -update:\n%s", troubleshooting, diff)
	}
}

// hintTable writes the table in Markdown.
func hintTable() string {
	cell := func(command string) string { return "`" + strings.ReplaceAll(command, "|", `\|`) + "`" }
	q := Question{Tenant: "TENANT", Resource: "RESOURCE", Client: "CLIENT"}
	var b strings.Builder
	b.WriteString("\n| code | what it says | a person's sign-in: run | an application's: run |\n|---|---|---|---|\n")
	for _, h := range Hints() {
		q.App = false
		person := cell(h.For(q))
		q.App = true
		app := cell(h.For(q))
		if app == person {
			app = "the same"
		}
		fmt.Fprintf(&b, "| AADSTS%d | %s | %s | %s |\n", h.Code, h.Message, person, app)
	}
	return b.String() + "\n"
}

func TestHintsAreWellFormed(t *testing.T) {
	seen := map[int]bool{}
	for _, h := range Hints() {
		if seen[h.Code] {
			t.Errorf("%d is there twice", h.Code)
		}
		seen[h.Code] = true
		if h.Message == "" || h.Command == "" || strings.HasSuffix(h.Message, ".") || h.Ended && !h.SignIn {
			t.Errorf("%+v", h)
		}
		// A value that came from elsewhere must stay one word of the shell's.
		command := h.For(Question{Tenant: tenantID, Resource: arm, Client: `x' "$(touch hacked)`, Authority: "login.example"})
		if strings.ContainsAny(command, "{}") {
			t.Errorf("%d: %q is not filled in", h.Code, command)
		}
		words, err := exec.Command("/bin/sh", "-c", `for w in "$@"; do :; done; set -- `+command+`; printf '%s\n' "$@"`).Output()
		if err != nil {
			t.Errorf("%d: %q: %v", h.Code, command, err)
		}
		if strings.Contains(h.Command, " {client}") && !slices.Contains(strings.Split(string(words), "\n"), `x' "$(touch hacked)`) {
			t.Errorf("%d: the client id is not one word of %q", h.Code, command)
		}
	}
	if _, err := os.Stat("hacked"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a value was run: %v", err)
	}
	for _, number := range []int{65001, 65002, 500011, 50076, 50079, 50173, 53003, 700082, 70043, 7000215, 90002, 7000222, 50034, 50126, 700016} {
		if !seen[number] {
			t.Errorf("%d is missing", number)
		}
	}
}

func TestHinted(t *testing.T) {
	refusal := &token.EntraError{Code: "invalid_grant", ErrorCodes: []int{1, 50076}}
	for _, test := range []struct {
		name   string
		e      *token.EntraError
		app    bool
		signIn bool
		hint   bool
	}{
		{"person", refusal, false, true, true},
		{"application", refusal, true, false, true},
		{"no code", &token.EntraError{Code: "invalid_grant"}, false, false, false},
		{"unknown code", &token.EntraError{Code: "invalid_grant", ErrorCodes: []int{1}}, false, false, true},
		{"resource", &token.EntraError{ErrorCodes: []int{500011}}, false, false, true},
	} {
		err := hinted(test.e, Question{App: test.app, Resource: arm})
		_, told := errors.AsType[*token.Error](err)
		passed, ok := errors.AsType[*token.EntraError](err)
		if hint, ok := errors.AsType[*token.Error](err); ok && (hint.Message == "" || hint.Command == "") {
			t.Errorf("%s: the hint is %+v", test.name, hint)
		}
		if !ok || passed != test.e || told != test.hint || errors.Is(err, token.ErrSignInRequired) != test.signIn {
			t.Errorf("%s: got %+v", test.name, err)
		}
	}
}
